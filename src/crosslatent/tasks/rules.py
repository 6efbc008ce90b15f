"""Answer rules: does an output answer the item, and which option does it name?

The rules are made after those of the authors of XTransplant (arXiv 2412.12686, released evaluation
scripts), for texts of any script: what counts as the same text is `crosslatent.core.normal`, and
what names an option is `crosslatent.tasks.naming`. `authors_option_or_label` is theirs to the
letter.

Case is that of Unicode, the same in every language: Turkish "I" and "ı" stay different letters,
and so do "İ" and "i".

A rule is one function ``(output, item) -> Verdict`` under `register_rule`, in this module or in a
package of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import update_wrapper

from crosslatent.core.answer_words import gives_answer, gives_as_released
from crosslatent.core.errors import TaskError
from crosslatent.core.languages import ENGLISH
from crosslatent.core.normal import answer_keys, fold
from crosslatent.core.plugins import Registry
from crosslatent.tasks.item import Item, has_answer
from crosslatent.tasks.naming import clash, labelled_options, named_options

LIKELIHOOD = "likelihood"
"""The option with the highest log-probability as a whole."""
LIKELIHOOD_MEAN = "likelihood_mean"
"""The option with the highest log-probability per token, so that long ones are no worse."""
LIKELIEST_START = "first_token"
"""The option with the likeliest first token, where every option has one of its own."""
PROBABILITY_RULES = (LIKELIEST_START, LIKELIHOOD, LIKELIHOOD_MEAN)
"""Rules that read probabilities and no output; `answering.scoring` applies them."""


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


class Rule:
    """A way to judge answers, as `register_rule` makes it of a function.

    Attributes:
        judge: output, item -> verdict.
        fits: whether the rule has what it needs to judge answers to an item.
    """

    def __init__(self, judge: Callable[[str, Item], Verdict], fits: Callable[[Item], bool]) -> None:
        """A rule with the name and the docstring of its function."""
        self.judge, self.fits = judge, fits
        update_wrapper(self, judge)

    def __call__(self, output: str, item: Item) -> Verdict:
        """As `judge`."""
        return self.judge(output, item)


RULES: Registry[Rule] = Registry(
    "answer rule",
    "tasks.rules",
    "tasks.rules:Rule",
    decorator="register_rule",
    reserved=PROBABILITY_RULES,
)
"""The rules by name; other packages name theirs as entry points of the group
``crosslatent.rules``."""


def register_rule(
    name: str, *, fits: Callable[[Item], bool] = has_answer
) -> Callable[[Callable[[str, Item], Verdict]], Rule]:
    """A decorator that makes a function ``(output, item) -> Verdict`` known as a rule.

    Args:
        name: as in a task's file.
        fits: whether the rule has what it needs to judge answers to an item; by default, whether
            the item has a gold answer.

    Raises:
        UsageError: the name is another rule's.
    """
    return lambda judge: RULES.register(name)(Rule(judge, fits))


def _has_labels(item: Item) -> bool:
    return bool(item.options and item.labels)


def _labels_differ(item: Item) -> bool:
    return _has_labels(item) and clash(item.options or (), item.labels) is None


@register_rule("option", fits=lambda item: item.options is not None)
def option(output: str, item: Item) -> Verdict:
    """Fixed options: right if the output names the gold option and no other one.

    An option such as "(1)", "(A)", "1" or "A" is named by "(k)" anywhere in the output, or by an
    output that is just k; "1." or a lone "A" within a sentence do not count (XCOPA's rule). So it
    is for the letters and numbers of every script. Letters must have the option's case, or
    "friend(s)" would name option (S). An option of any other form is named by its words, whole and
    in any case, outside a longer option.
    """
    return _verdict(item, named_options(output, item.options or ()))


@register_rule("option_or_label", fits=_labels_differ)
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


@register_rule("authors_option_or_label", fits=_has_labels)
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


@register_rule("contains")
def contains(output: str, item: Item) -> Verdict:
    """Open answers (XQuAD, MKQA): right if a gold answer appears in the output, in any case."""
    return _verdict_of_text(output, item, holds)


@register_rule("exact")
def exact(output: str, item: Item) -> Verdict:
    """Right if the output is a gold answer and nothing else; case and outer blanks aside."""
    return _verdict_of_text(output, item, lambda text, keys: fold(text) in set(keys))


def _is_weighed(item: Item) -> bool:
    return item.options is None and item.weights is not None and has_answer(item)


@register_rule("blend_simple", fits=_is_weighed)
def blend_simple(output: str, item: Item) -> Verdict:
    """Right if the output has a gold answer as whole words; case and marks, such as accents, aside.

    In languages without blanks between words an answer may be within others. For items whose gold
    answers have weights (BLEnD).
    """
    lang = item.aux_lang if item.lang == ENGLISH else item.lang
    return Verdict(gives_answer(output, item.golds, lang) if item.golds else None, None)


@register_rule("blend", fits=_is_weighed)
def blend(output: str, item: Item) -> Verdict:
    """BLEnD's rule as released (arXiv 2406.09948), without its ten lemmatisers.

    Right if the output contains a gold answer, also with hyphens for blanks or the reverse, or all
    of its words, without acute accents. An answer within another word counts: "tea" in "team".
    """
    if not item.golds:
        return Verdict(None, None)
    return Verdict(any(gives_as_released(output, gold) for gold in item.golds), None)


def holds(output: str, keys: Iterable[str]) -> bool:
    """Whether one of some answers, as `answer_keys` gives them, appears in an output."""
    text = fold(output)
    return any(key in text for key in keys)


def applicable_rules(item: Item) -> list[str]:
    """Names of the rules of this package that can judge answers to `item`.

    Those of others judge where they are asked for: what is installed changes no run without them.
    """
    return [name for name in RULES.own if RULES[name].fits(item)]


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


def _verdict_of_text(
    output: str, item: Item, is_right: Callable[[str, Iterable[str]], bool]
) -> Verdict:
    prediction = _only(named_options(output, item.options or ()))
    return Verdict(is_right(output, answer_keys(item.golds)) if item.golds else None, prediction)


def _only(named: list[str]) -> str | None:
    return named[0] if len(named) == 1 else None
