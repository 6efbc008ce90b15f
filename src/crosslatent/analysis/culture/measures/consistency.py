"""Consistent knowledge: a question is right only if each of its true-or-false lines is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cluster_of, made_of, share

HARD, EASY = "culturalbench-hard", "culturalbench"


@register_measure("consistency")
class Consistency(Measure):
    """CulturalBench Hard by question."""

    title = "Consistent knowledge"
    about = (
        "CulturalBench Hard: share of questions of which all true-or-false lines are answered "
        "right; coin flips reach 6 %."
    )
    source = "CulturalBench, arXiv 2410.02677"
    fails = "A model that always says false has three of four lines right: see the share of true."
    tasks = (HARD, EASY)
    place = 30

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Each question once: whether all of its lines are right."""
        lines: dict[str, list[tuple[str, bool | None]]] = {}
        for one in questions:
            if one.task == HARD and one.id in answers.plain:
                correct = answers.plain[one.id].correct
                lines.setdefault(cluster_of(one), []).append((one.country, correct))
        return made_of(
            (name, name, some[0][0], "", float(all(right for _, right in some)), 1.0)
            for name, some in lines.items()
            if all(right is not None for _, right in some)
        )

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """Lines that are right, how often "true" is said, and the gap to four options."""
        hard = [one for one in questions if one.task == HARD and one.id in answers.plain]
        easy = [one for one in questions if one.task == EASY and one.id in answers.plain]
        given = [answers.plain[one.id] for one in hard]
        found = {
            "lines that are right": share(bool(one.correct) for one in given),
            "lines that are called true": share(
                one.prediction is not None and one.prediction == (each.options or ("",))[0]
                for each, one in zip(hard, given, strict=True)
            ),
        }
        if easy:
            cells = self.cells(questions, answers)
            right = share(bool(answers.plain[one.id].correct) for one in easy)
            found["four options, right"] = right
            if len(cells.values):
                found["gap to four options"] = right - float(cells.values.mean())
        return found
