"""Culturally sensitive questions that mostly need Western knowledge: a control of opposite sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import by_kind


@register_measure("sensitive")
class Sensitive(Measure):
    """Global-MMLU-Lite: accuracy on sensitive questions minus that on the others."""

    title = "Culturally sensitive minus other questions (control)"
    about = (
        "Global-MMLU-Lite: accuracy on culturally sensitive questions minus accuracy on others. "
        "Most of the former need Western knowledge (85 % by its makers [2nd]), so that a donor "
        "in a local language must not raise it."
    )
    source = "Global-MMLU, arXiv 2412.03304"
    good = "down"
    fails = "It is a control: a rise speaks against a cultural reading of the other measures."
    tasks = ("global-mmlu-lite",)
    groups: ClassVar[Mapping[str, float]] = {"sensitive": 1.0, "agnostic": -1.0}
    place = 42

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Right answers, by kind; without countries."""
        return by_kind(questions, answers, "sensitive", self.groups)
