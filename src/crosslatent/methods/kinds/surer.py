"""The method ``surer``: answer both prompts, keep the answer that the model is surer of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.methods.method import Method, RowChoice, register_method
from crosslatent.methods.pair_ways import row_choice
from crosslatent.selectors.kinds.untransplanted import Plain

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData
    from crosslatent.selectors.division import Division


@register_method("surer")
class SurerOfBoth(Method):
    """No surgery: two answers and their probabilities."""

    league = "given"
    title = "The surer of both prompts"
    about = (
        "Question and English prompt are both answered; the answer of higher probability counts."
    )
    source = "ours"
    english = False

    def by_rows(self, data: RunData, division: Division, seed: int) -> RowChoice:
        """Calibrated on the pilot's rows."""
        return row_choice(data, division, (Plain("surer"),), seed)
