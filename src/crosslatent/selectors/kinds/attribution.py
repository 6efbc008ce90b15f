"""The candidates that a gradient ranks highest for this question, then the surest of them.

Gradients rank all pairs for the price of about five forward passes over a prompt of 128 tokens
(attribution patching: Nanda 2023; Syed et al. 2023); only the k highest are run. The scores are
read from ``attribution/`` in the run folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from crosslatent.core.errors import UsageError
from crosslatent.selectors.base import Selector, register_selector
from crosslatent.selectors.candidates import ROW_COST, Candidates, Labels
from crosslatent.selectors.kinds.confidence import FittedConfidence, calibrated
from crosslatent.selectors.signals import CurveKind, Measure

RANKING_COST = 5.0
"""Forward over aux, forward and backward over main, and over its last token without the module of
each block; the unmodified answer is part of it. Measured, see docs/methods.md."""


@register_selector("attribution")
@dataclass(frozen=True, slots=True)
class Attribution(Selector):
    """Rank by gradient, run the first few, take the surest.

    Attributes:
        top: candidates that are run for each question.
        measure: what says how sure an answer is.
        calibration: see `confidence.Confidence`.
    """

    top: int = 8
    measure: Measure = "probability"
    calibration: CurveKind | None = "logistic"

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """4, 8 and 16 candidates."""
        return map(cls, (4, 8, 16))

    @property
    def name(self) -> str:
        """``attribution-8``."""
        return f"attribution-{self.top}"

    @property
    def about(self) -> str:
        """What it does."""
        return f"the surest of the {self.top} pairs that attribution ranks highest"

    def fit(self, seen: Candidates, labels: Labels) -> FittedConfidence:
        """Calibrate the surest of the highest.

        Raises:
            UsageError: the run has no attribution scores, or the split no gold answers.
        """
        if seen.attribution is None:
            raise UsageError(
                "The run has no attribution scores, so its pairs cannot be ranked by attribution: "
                "sweep with --attribution, or choose another strategy."
            )
        cost = RANKING_COST + ROW_COST * min(self.top, len(seen.pairs))
        plain = FittedConfidence(self.measure, seen.pairs, cost, top=self.top)
        return calibrated(plain, self.calibration, seen, labels)
