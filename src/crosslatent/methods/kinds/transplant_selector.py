"""The method ``transplant-selector``: for each question one of eight pairs, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crosslatent.methods.method import Method, RowChoice, register_method
from crosslatent.runs.schema import RowKey
from crosslatent.selectors.base import Selector
from crosslatent.selectors.candidates import ABSTAIN, NOT_RUN, OTHER
from crosslatent.selectors.crossfit import CrossFitted, fitted_and_tested
from crosslatent.selectors.division import Division
from crosslatent.selectors.kinds.confidence import Confidence
from crosslatent.selectors.table import read_table

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData


def row_choice(
    data: RunData, division: Division, selectors: Sequence[Selector], seed: int
) -> RowChoice:
    """Fit a selector on the rows of the pilot.

    Raises:
        UsageError: it cannot be fitted on them.
        RunFolderError: no pair was run on them.
    """
    _, tested = fitted_and_tested(read_table(data), division, selectors, seed)

    def chosen(later: RunData) -> Mapping[str, RowKey]:
        return _chosen(tested, later)

    return RowChoice(tested.pairs, chosen, tested.cost)


def _chosen(tested: CrossFitted, data: RunData) -> dict[str, RowKey]:
    seen = read_table(data).seen
    keys = {ABSTAIN: RowKey("vanilla"), OTHER: RowKey("translate_test")}
    found = {}
    for item, choice in zip(seen.ids, tested.choose(seen).choice.tolist(), strict=True):
        if choice in keys:
            found[item] = keys[choice]
        elif choice != NOT_RUN:
            pair = seen.pairs[choice]
            found[item] = RowKey("none", None, pair.component, pair.source, pair.target)
    return found


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
