"""Stereotypes where the context does not say who it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.analysis.culture.biased_answers import TASKS, context, figures_beside, leaning
from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cells_of


@register_measure("bias-ambiguous")
class BiasAmbiguous(Measure):
    """Biased minus counter-biased answers in ambiguous contexts."""

    title = "Bias, ambiguous contexts"
    about = "(Biased - counter-biased answers) / questions whose context does not say who it was."
    source = "KoBBQ, arXiv 2307.16778; MBBQ, arXiv 2406.07243"
    good = "down"
    fails = "A model that is wrong on the control questions has no readable bias."
    tasks = TASKS
    place = 60

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """How each answer leans."""
        wanted = [one for one in questions if context(one, "ambiguous")]
        return cells_of(wanted, answers.plain, leaning)

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """Accuracy, control questions first, and answers that are no option."""
        return figures_beside(questions, answers.plain, lambda one: context(one, "ambiguous"))
