"""Cultural knowledge: BLEnD's answers with their votes; right answers of other tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crosslatent.analysis.culture.country_answers import CountryAnswers
from crosslatent.analysis.culture.culture_answers import (
    Cells,
    Closeness,
    ConditionAnswers,
    CultureQuestion,
)
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cells_of, cluster_of, grade_of, named_nothing


@register_measure("knowledge")
class Knowledge(Measure):
    """Graded answers about a country."""

    title = "Cultural knowledge"
    about = (
        "BLEnD: votes of the answer that the output gives, relative to the most frequent answer; "
        "share of right answers of other tasks."
    )
    source = "BLEnD, arXiv 2406.09948"
    fails = "Answers in the right form are not knowledge: see outputs that name nothing."
    tasks = ("blend", "blend-mc", "culturalbench", "demo-culture")
    place = 20

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """The graded score of an answer, else whether it is right."""
        return cells_of(questions, answers.plain, grade_of)

    def closeness(
        self, questions: Sequence[CultureQuestion], runs: Mapping[str, ConditionAnswers], /
    ) -> Closeness | None:
        """Whether answers are those of each country that was asked the same."""
        asked = CountryAnswers(questions)
        if not asked.comparable:
            return None
        place = {name: k for k, name in enumerate(asked.countries)}
        return Closeness(
            asked.countries,
            np.array([place[one.country] for one in asked.questions], dtype=np.intp),
            tuple(map(cluster_of, asked.questions)),
            {name: asked.hits(run.plain) for name, run in runs.items()},
        )

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """What is no answer."""
        return named_nothing(questions, answers.plain)
