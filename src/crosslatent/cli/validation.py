"""What `crosslatent tasks validate` says of a task that could be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import TaskError
from crosslatent.core.specs import AsChat
from crosslatent.core.untrusted import ends_in_blank

if TYPE_CHECKING:
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task

STRONG_MAJORITY = 0.6
"""Share of one option above which always naming it is a strong rival."""


@dataclass(frozen=True, slots=True)
class Group:
    """The items of one pair of languages and split.

    Attributes:
        clusters: how many independent facts they ask.
        majority: the option that is right most often, and its share; None without options.
    """

    lang: str
    aux_lang: str
    split: str | None
    items: int
    clusters: int
    with_answer: int
    majority: str | None
    majority_share: float | None


@dataclass(frozen=True, slots=True)
class Findings:
    """A task that holds together, in numbers; `notes` say what deserves a look."""

    task: str
    rule: str
    items: int
    groups: list[Group]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def examine(task: Task, model: Model | None, *, chat: AsChat) -> Findings:
    """Look at every item of a task.

    Args:
        task: the task, as loaded.
        model: whose context every prompt must fit into; None to leave that out.
        chat: whether, and how, prompts go through the chat template.

    Raises:
        TaskError: a prompt does not fit into the model's context.
        ModelError: `chat`, but the tokenizer has no chat template.
    """
    if model is not None:
        # A counterpart that is still to be translated has no length yet.
        ready = tuple(item for item in task.items if item.aux)
        _check_lengths(replace(task, items=ready), model, chat=chat)
    groups: dict[tuple[str, str, str | None], list[Item]] = defaultdict(list)
    for item in task.items:
        groups[item.lang, item.aux_lang, item.split].append(item)
    found = [_group(*key, items) for key, items in groups.items()]
    return Findings(task.name, task.rule, len(task.items), found, list(_notes(task, found)))


def _check_lengths(task: Task, model: Model, *, chat: AsChat) -> None:
    from crosslatent.sweeps.tokens import PromptTokens

    tokens = PromptTokens(model, task.items, new_tokens=task.max_new_tokens, chat=chat)
    if tokens.failures:
        name, reason = next(iter(tokens.failures.items()))
        others = len(tokens.failures) - 1
        more = f" ({others} more items cannot be run either)" if others else ""
        raise TaskError(f"Item {name!r} of {task.name!r} cannot be run{more}: {reason}")


def _group(lang: str, aux_lang: str, split: str | None, items: Sequence[Item]) -> Group:
    golds = Counter(item.answer for item in items if item.options and item.answer is not None)
    majority, count = golds.most_common(1)[0] if golds else (None, 0)
    return Group(
        lang=lang,
        aux_lang=aux_lang,
        split=split,
        items=len(items),
        clusters=len({item.cluster for item in items}),
        with_answer=sum(item.answer is not None for item in items),
        majority=majority,
        majority_share=count / golds.total() if golds else None,
    )


def _notes(task: Task, groups: Sequence[Group]) -> Iterator[str]:
    lacking = sum(not item.aux for item in task.items)
    if lacking:
        yield f"{lacking} items have no counterpart yet: --aux auto translates them."
    yield from not_judged(task.items)
    from crosslatent.tasks.counterpart_checks import leaks, unlike_ends

    yield from unlike_ends(task.items)
    yield from blank_ends(task.items)
    yield from leaks(task.items)
    strong = [group for group in groups if (group.majority_share or 0) > STRONG_MAJORITY]
    for group in strong:
        yield (
            f"{group.majority} is right in {group.majority_share:.0%} of the questions in "
            f"{group.lang} (aux {group.aux_lang}{', ' + group.split if group.split else ''}): "
            "compare every figure with always naming it."
        )
    from crosslatent.core.normal import repeat_notes

    yield from repeat_notes(task.items)
    both = _in_several_splits(task)
    if both:
        yield (
            f"{both} facts are asked in more than one split: what is chosen on one of them has "
            "seen some of the other."
        )


def not_judged(items: Sequence[Item]) -> Iterator[str]:
    """What is said of open questions whose answer in the language of aux is not known."""
    silent = sum(item.answer is not None and item.as_aux().answer is None for item in items)
    if silent:
        yield (
            f"translate-test is not known for {silent} of {len(items)} items: they are open "
            "questions without a gold answer in the language of aux (aux_answer)."
        )


def blank_ends(items: Sequence[Item]) -> Iterator[str]:
    """A sentence on items whose prompts both end in a blank, if there are any."""
    found = [item for item in items if ends_in_blank(item.main) and ends_in_blank(item.aux)]
    if found:
        yield (
            f"{len(found)} items end in a blank in main and in aux (such as {found[0].id!r}); "
            "a transplant happens at the last tokens, which are then blanks, and models hardly go "
            "on after them: take the blanks away."
        )


def _in_several_splits(task: Task) -> int:
    splits: dict[str, set[str | None]] = defaultdict(set)
    for item in task.items:
        splits[item.cluster].add(item.split)
    return sum(len(found) > 1 for found in splits.values())
