"""The same question asked twice: one cluster where no cluster is given, and a note in any case.

What is chosen on one copy has seen the other, so copies are not independent, whatever their ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from crosslatent.core.normal import unspaced


class Question(Protocol):
    """What tells whether two questions are the same; an `Item`, or a row of a run folder."""

    @property
    def lang(self) -> str:
        """Language of `main`."""

    @property
    def aux_lang(self) -> str:
        """Language of `aux`."""

    @property
    def main(self) -> str:
        """The prompt that gets answered."""

    @property
    def aux(self) -> str:
        """Its counterpart; empty if there is none yet."""

    @property
    def cluster(self) -> str:
        """What is independent."""

    @property
    def split(self) -> str | None:
        """Pilot, final or another; None without splits."""


AnyQuestion = TypeVar("AnyQuestion", bound=Question)


def one_cluster_each(questions: Sequence[Question], given: Sequence[bool]) -> list[str]:
    """The cluster of every question, the same for all that ask the same.

    Equal main prompts ask the same. So do questions in several languages with an equal counterpart,
    unless one language asks two different things with it. Clusters that were given apart stay so.

    Args:
        questions: in the order of the task, which decides the name that clusters get.
        given: whether the task's author gave the cluster, rather than it following from the place.

    Returns:
        Cluster names, shape (questions,); those of the questions where none asks the same.
    """
    fixed = {one.cluster for one, given_ in zip(questions, given, strict=True) if given_}
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for group in _groups(questions):
        first = root(group[0].cluster)
        for other in {root(one.cluster): None for one in group}:
            if other in fixed and first not in fixed:
                above[first] = first = other
            elif other != first and other not in fixed:
                above[other] = first
    return [root(one.cluster) for one in questions]


def notes(questions: Iterable[Question]) -> list[str]:
    """Sentences on prompts that are asked more than once by one pair of languages."""
    groups = [group for group in _copies(questions) if len(group) > 1]
    return [*_together(groups), *_apart(groups)]


def _together(groups: Sequence[list[Question]]) -> Iterator[str]:
    alike = [group for group in groups if len({one.cluster for one in group}) == 1]
    across = sum(len({one.split for one in group}) > 1 for group in alike)
    if not alike:
        return
    copies = sum(len(group) - 1 for group in alike)
    yield (
        f"{_count(copies, 'question repeats', 'questions repeat')} the main prompt of another one "
        f"(case, width and blanks aside), and {_count(across, 'prompt is', 'prompts are')} asked "
        "in more than one split; equal prompts are one fact (one cluster)."
    )


def _apart(groups: Sequence[list[Question]]) -> Iterator[str]:
    apart = [group for group in groups if len({one.cluster for one in group}) > 1]
    if not apart:
        return
    names = list(dict.fromkeys(one.cluster for one in apart[0]))
    across = sum(len({one.split for one in group}) > 1 for group in apart)
    yield (
        f"{_count(len(apart), 'main prompt is', 'main prompts are')} asked under different facts "
        f"(such as {names[0]!r} and {names[1]!r}), {across} of them in more than one split: "
        "intervals take these facts as independent, so give equal prompts one cluster."
    )


def _groups(questions: Sequence[AnyQuestion]) -> Iterator[list[AnyQuestion]]:
    """Questions that ask the same, in groups that may overlap."""
    by_main, by_aux = defaultdict[str, list[AnyQuestion]](list), defaultdict[str, list[int]](list)
    mains = [unspaced(one.main) for one in questions]
    for place, (one, main) in enumerate(zip(questions, mains, strict=True)):
        by_main[main].append(one)
        if one.aux:
            by_aux[unspaced(one.aux)].append(place)
    yield from by_main.values()
    for aux, places in by_aux.items():
        asked = {(questions[place].lang, mains[place]) for place in places}
        if len(asked) == len({lang for lang, _ in asked}):
            yield [*(questions[place] for place in places), *by_main.get(aux, ())]


def _copies(questions: Iterable[AnyQuestion]) -> Iterable[list[AnyQuestion]]:
    found = defaultdict[tuple[str, str, str], list[AnyQuestion]](list)
    for one in questions:
        found[one.lang, one.aux_lang, unspaced(one.main)].append(one)
    return found.values()


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
