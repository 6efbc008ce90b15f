"""`Measure`: one line of the culture card, one file each in `measures`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, TypeVar

from crosslatent.analysis.culture.culture_answers import (
    Cells,
    Closeness,
    ConditionAnswers,
    CultureQuestion,
)
from crosslatent.core.plugins import MEASURES

Good = Literal["up", "down", "not worse"]
"""Which change of a measure is for the better."""

_Kind = TypeVar("_Kind", bound="type[Measure]")


class Measure(ABC):
    """One number of the card, for each condition.

    Attributes:
        title: what it is called in tables.
        about: what it is, in one sentence.
        source: where it is from.
        good: which change is for the better.
        unit: "points" (hundredths), or empty for a plain number.
        margin: of a measure that must not get worse: how much worse counts, in its own unit.
        fails: when it says nothing, in one sentence.
        tasks: tasks whose questions it reads.
        groups: sign of each group of units.
        variants: whether it reads answers to other forms of a question.
        place: where it is in the card, from the top.
    """

    title: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str] = ""
    good: ClassVar[Good] = "up"
    unit: ClassVar[Literal["points", ""]] = "points"
    margin: ClassVar[float] = 0.02
    fails: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    groups: ClassVar[Mapping[str, float]] = {"": 1.0}
    variants: ClassVar[bool] = False
    place: ClassVar[int] = 50

    @abstractmethod
    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Its units under one condition.

        Args:
            questions: of its tasks.
            answers: under the condition; a question without an answer is left out.
        """

    def closeness(
        self,
        questions: Sequence[CultureQuestion],
        runs: Mapping[str, ConditionAnswers],
        /,
    ) -> Closeness | None:
        """How close the answers are to every country; None for what knows nothing of the sort."""
        del questions, runs
        return None

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """Figures that it must be read with, by what they are."""
        del questions, answers
        return {}


def register_measure(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a class known as a measure of the culture card.

    Raises:
        UsageError: the name is another measure's.
    """
    return MEASURES.register(name)
