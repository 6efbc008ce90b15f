"""Regional questions against general ones of the same exams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import by_kind


@register_measure("regional")
class Regional(Measure):
    """INCLUDE: accuracy on regional questions minus that on general ones, over all languages."""

    title = "Regional minus general questions"
    about = "INCLUDE: accuracy on questions about a region minus accuracy on general ones."
    source = "INCLUDE, arXiv 2411.19799"
    fails = "About 50 general questions a language give intervals of 14 points; so they are pooled."
    tasks = ("include",)
    groups: ClassVar[Mapping[str, float]] = {"regional": 1.0, "agnostic": -1.0}
    place = 41

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Right answers, by kind; without countries."""
        return by_kind(questions, answers, "regional", self.groups)
