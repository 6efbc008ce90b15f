"""Everything about choosing pairs in one run: selectors beside each other, and attribution."""

from __future__ import annotations

from dataclasses import dataclass

from crosslatent.analysis.attribution_quality import AttributionResult, judge_attribution
from crosslatent.analysis.data import RunData
from crosslatent.selectors.evaluate import evaluation_of
from crosslatent.selectors.results import Evaluation


@dataclass(frozen=True, slots=True)
class Choosing:
    """How pairs were chosen in one run.

    Attributes:
        run: name of the run folder.
        evaluation: selectors fitted on the pilot split and tested on another; None if there is
            none, and `missing` says why.
        attribution: how good the attribution scores are; empty if the run has none.
    """

    run: str
    evaluation: Evaluation | None
    missing: str | None
    attribution: list[AttributionResult]


def summarise_choosing(data: RunData, *, test: str | None = None, seed: int = 0) -> Choosing:
    """Fit and test all selectors on a run.

    Args:
        data: the run.
        test: the split to test on; None for the first that can be.
        seed: of the intervals.

    Raises:
        RunFolderError: the run's scores or samples cannot be read.
        UsageError: a selector of another package cannot be loaded.
    """
    evaluation, missing = evaluation_of(data, test=test, seed=seed)
    return Choosing(data.reader.path.name, evaluation, missing, judge_attribution(data, seed=seed))
