"""Per question, one of three ways: leave the answer, take the one to aux, or transplant.

Each way has a curve, fitted on the tuning split, from how sure its answer is to the chance that it
is right; the way with the highest chance is taken, the cheaper one first where several have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors import base
from crosslatent.selectors.answer_features import highest_scored
from crosslatent.selectors.base import (
    Reads,
    Selector,
    SelectorState,
    register_selector,
    restored_parts,
    stored,
    with_report,
)
from crosslatent.selectors.candidates import (
    ABSTAIN,
    NOT_RUN,
    OTHER,
    Candidates,
    Labels,
    Places,
    Selection,
    always,
)
from crosslatent.selectors.kinds.confidence import Confidence, FittedConfidence
from crosslatent.selectors.signals import Curve, Measure, check_measure, fit_curve, signal_of
from crosslatent.stats import Floats

_WAYS = ("vanilla", "aux", "transplanted")


@register_selector("ways")
@dataclass(frozen=True, slots=True)
class Ways(Selector):
    """Choose whether and where.

    Attributes:
        measure: what says how sure an answer is; see `signals`.
        most: transplants looked at, the best pairs of the tuning split; None = all of them.
    """

    measure: Measure = "probability"
    most: int | None = 8

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """By probability and by margin."""
        return cls(), cls("margin")

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedWays:
        """The opposite of `FittedWays.state`."""
        pairs, report = restored_parts(plain)
        surest = FittedConfidence(check_measure(plain["measure"]), pairs, float(plain["cost"]))
        curves = tuple(Curve.from_arrays("logistic", arrays, name) for name in _WAYS)
        return FittedWays(surest, curves, report)

    @property
    def name(self) -> str:
        """``ways-probability-8``."""
        return f"ways-{self.measure}-{self.most or 'all'}"

    @property
    def about(self) -> str:
        """What it does."""
        pairs = base.among(self.most)
        return f"unmodified, the answer to aux, or the surest among {pairs}; each calibrated"

    def fit(self, seen: Candidates, labels: Labels) -> FittedWays:
        """Find the pairs to look at, then a curve for each way.

        Raises:
            UsageError: the split has no gold answers, or no confidence is known.
        """
        surest = Confidence(self.measure, self.most, calibration=None).fit(seen, labels)
        choice, sure, unmodified = surest.surest(seen)
        right = always(choice, len(seen), 0).outcome(labels)
        curves = (
            fit_curve(unmodified, labels.vanilla, "logistic"),
            fit_curve(signal_of(seen.aux, self.measure), labels.aux, "logistic"),
            fit_curve(sure, np.where(choice == ABSTAIN, np.nan, right), "logistic"),
        )
        return with_report(FittedWays(surest, curves), seen, labels)


@dataclass(frozen=True, slots=True)
class FittedWays:
    """The three ways with their curves.

    Attributes:
        among: finds the transplant.
        curves: from how sure an answer is to its chance of being right, in the order of `_WAYS`.
        report: what fitting measured beside.
    """

    among: FittedConfidence
    curves: tuple[Curve, ...]
    report: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = field(default="steps", init=False)

    @property
    def pairs(self) -> tuple[TransplantSpec, ...]:
        """Candidates that it looks at."""
        return self.among.pairs

    @property
    def cost(self) -> float:
        """The unmodified answer, the one to aux, and every candidate."""
        return self.among.cost

    def choose(self, seen: Candidates) -> Selection:
        """The way whose answer is likeliest to be right; `NOT_RUN` where no candidate was run."""
        place, sure, unmodified = self.among.surest(seen)
        aux = signal_of(seen.aux, self.among.measure)
        signals: tuple[Floats, ...] = (unmodified, aux, sure)
        known = [curve(signal) for curve, signal in zip(self.curves, signals, strict=True)]
        without = [np.full_like(place, way) for way in (ABSTAIN, OTHER)]
        choices: Places = np.column_stack([*without, place])
        choice = choices[np.arange(len(seen)), highest_scored(np.column_stack(known))]
        ran = self.among.allowed(seen).any(axis=1)
        return always(np.where(ran, choice, NOT_RUN), len(seen), self.cost)

    def state(self) -> SelectorState:
        """Pairs and settings as JSON, curves as arrays."""
        plain = stored(self, measure=self.among.measure, cost=self.cost)
        arrays: dict[str, Any] = {}
        for name, curve in zip(_WAYS, self.curves, strict=True):
            arrays |= curve.arrays(name)
        return SelectorState("ways", plain, arrays)
