"""The method ``transplant-selector``: for each question one of eight pairs, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.methods.method import Method, RowChoice, register_method
from crosslatent.methods.pair_ways import row_choice
from crosslatent.selectors.division import Division
from crosslatent.selectors.kinds.confidence import Confidence

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData


@register_method("transplant-selector")
class TransplantSelector(Method):
    """A pair for each question, chosen by how sure the answers are."""

    league = "given"
    title = "Transplant, chosen for each question"
    about = (
        "Of eight pairs that are best on the pilot, and the unmodified answer, the one with the "
        "largest margin of its first token."
    )
    source = "ours; the open question of arXiv 2412.12686"
    english = False

    def by_rows(self, data: RunData, division: Division, seed: int) -> RowChoice:
        """Fitted on the pilot's rows of all pairs."""
        return row_choice(data, division, (Confidence("margin"),), seed)
