"""Answer rules: does an output answer the item, and which option does it name?

The rules are made after those of the authors of XTransplant (arXiv 2412.12686, released evaluation
scripts), for texts of any script: what counts as the same text is `crosslatent.core.normal`, and
what names an option is `crosslatent.tasks.naming`. `authors_option_or_label` is theirs to the
letter.

Case is that of Unicode, the same in every language: Turkish "I" and "ı" stay different letters,
and so do "İ" and "i".

To add a rule, write a function ``(output, item) -> Verdict`` and enter it in `_ALL`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from crosslatent.core.errors import TaskError
from crosslatent.core.normal import answer_keys, fold
from crosslatent.tasks.item import Item
from crosslatent.tasks.naming import clash, labelled_options, named_options


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of one output.

    Attributes:
        correct: None if the item has no gold answer.
        prediction: the option that the output names, exactly as the item spells it; None if it
            names none, or more than one, or if the item is open.
    """

    correct: bool | None
    prediction: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to judge answers.

    Attributes:
        name: as in a task's file.
        judge: output, item -> verdict.
        fits: whether the rule has what it needs to judge answers to an item.
    """

    name: str
    judge: Callable[[str, Item], Verdict]
    fits: Callable[[Item], bool]


def option(output: str, item: Item) -> Verdict:
    """Fixed options: right if the output names the gold option and no other one.

    An option such as "(1)", "(A)", "1" or "A" is named by "(k)" anywhere in the output, or by an
    output that is just k; "1." or a lone "A" within a sentence do not count (XCOPA's rule). So it
    is for the letters and numbers of every script. Letters must have the option's case, or
    "friend(s)" would name option (S). An option of any other form is named by its words, whole and
    in any case, outside a longer option.
    """
    return _verdict(item, named_options(output, item.options or ()))


def option_or_label(output: str, item: Item) -> Verdict:
    """Fixed options that have label words (after XNLI's rule): as `option`, or by the label.

    Labels count in any case, without the mark of their option ("(1) Neutral"), and as parts of
    words too ("Entail" in "entailment"), but not within a longer label of another option. A label
    that is a single letter or a number counts as such an option does.
    """
    options = item.options or ()
    if item.labels is None:
        return option(output, item)
    return _verdict(item, labelled_options(output, options, item.labels))


def authors_option_or_label(output: str, item: Item) -> Verdict:
    """XNLI's rule as in the authors' script, to the letter.

    Right if the output contains the gold option's "(k)" or label, or is just k, and contains no
    other option's "(k)" or label. Labels are matched by case, also within another option's label;
    full-width round brackets count as ASCII ones, and nothing else is normalised.
    """
    text = output.replace("\uff08", "(").replace("\uff09", ")")
    options = item.options or ()
    labels = options if item.labels is None else item.labels
    keys = [name.strip("()") for name in options]
    named = [
        name
        for name, key, label in zip(options, keys, labels, strict=True)
        if f"({key})" in text or text.strip() == key or label in text
    ]
    return _verdict(item, named)


def contains(output: str, item: Item) -> Verdict:
    """Open answers (XQuAD, MKQA): right if a gold answer appears in the output, in any case."""
    prediction = _only(named_options(output, item.options or ()))
    if not item.golds:
        return Verdict(None, prediction)
    return Verdict(holds(output, answer_keys(item.golds)), prediction)


def exact(output: str, item: Item) -> Verdict:
    """Right if the output is a gold answer and nothing else; case and outer blanks aside."""
    prediction = _only(named_options(output, item.options or ()))
    if not item.golds:
        return Verdict(None, prediction)
    return Verdict(fold(output) in answer_keys(item.golds), prediction)


def holds(output: str, keys: Iterable[str]) -> bool:
    """Whether one of some answers, as `answer_keys` gives them, appears in an output."""
    text = fold(output)
    return any(key in text for key in keys)


def _has_labels(item: Item) -> bool:
    return bool(item.options and item.labels)


_ALL = (
    Rule("option", option, lambda item: item.options is not None),
    Rule(
        "option_or_label",
        option_or_label,
        lambda item: _has_labels(item) and clash(item.options or (), item.labels) is None,
    ),
    Rule("authors_option_or_label", authors_option_or_label, _has_labels),
    Rule("contains", contains, lambda item: item.answer is not None),
    Rule("exact", exact, lambda item: item.answer is not None),
)

RULES: Mapping[str, Rule] = {rule.name: rule for rule in _ALL}


def applicable_rules(item: Item) -> list[str]:
    """Names of the rules that can judge answers to `item`."""
    return [rule.name for rule in _ALL if rule.fits(item)]


def check_rule(name: str) -> Rule:
    """Return the rule called `name`.

    Raises:
        TaskError: there is no such rule.
    """
    if name not in RULES:
        raise TaskError(f"Unknown answer rule {name!r}: use one of {', '.join(RULES)}.")
    return RULES[name]


def rule_for(items: Iterable[Item]) -> str:
    """The rule for items that come without one: ``option`` with options, else ``contains``.

    Raises:
        TaskError: some items have options and some have not.
    """
    with_options = {item.options is not None: item.id for item in items}
    if len(with_options) == 2:
        raise TaskError(
            f"Item {with_options[True]!r} has options and item {with_options[False]!r} has none: "
            "give options to all items or to none, since one rule judges them all."
        )
    return "option" if True in with_options else "contains"


def _verdict(item: Item, named: list[str]) -> Verdict:
    prediction = _only(named)
    correct = None if item.answer is None else prediction == item.answer
    return Verdict(correct, prediction)


def _only(named: list[str]) -> str | None:
    return named[0] if len(named) == 1 else None
