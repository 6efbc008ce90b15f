"""Per question, the candidate whose answer the model is surest of; unmodified if that is surer.

Signals of different rows do not compare as they are (a transplant can make a wrong answer sure), so
both the surest candidate and the unmodified answer are calibrated on the tuning split: the chance
of being right at this signal decides between them. With ``per_pair``, so is every pair by itself,
and the surest is the one that is likeliest to be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import (
    Reads,
    Selector,
    SelectorState,
    among,
    named,
    ranked,
    register_selector,
    restored_parts,
    stored,
    with_report,
)
from crosslatent.selectors.candidates import (
    ABSTAIN,
    NOT_RUN,
    Candidates,
    Labels,
    Mask,
    Places,
    Selection,
    always,
    looking_cost,
)
from crosslatent.selectors.signals import (
    MEASURES,
    Curve,
    CurveKind,
    Measure,
    check_measure,
    fit_curve,
    signals,
)
from crosslatent.stats import Floats


@register_selector("confidence")
@dataclass(frozen=True, slots=True)
class Confidence(Selector):
    """Choose by confidence.

    Attributes:
        measure: what says how sure an answer is; see `signals`.
        most: looks at so many pairs, the best of the tuning split; None = all of them.
        calibration: kind of curve; None = no calibration: the surest answer is taken as it is.
        threshold: by how much the calibrated chance must exceed the unmodified answer's.
        per_pair: calibrate every pair by itself before the surest is looked for; needs `most`.
    """

    measure: Measure = "probability"
    most: int | None = 8
    calibration: CurveKind | None = "logistic"
    threshold: float = 0.0
    per_pair: bool = False

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """Every measure, then other ways to calibrate, then all pairs."""
        yield from map(cls, MEASURES)
        yield cls(per_pair=True)
        yield cls("margin", per_pair=True)
        yield cls(calibration="isotonic")
        yield cls(calibration=None)
        yield cls(most=None)

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedConfidence:
        """The opposite of `FittedConfidence.state`."""
        pairs, report = restored_parts(plain)
        kind, top = plain["calibration"], plain["top"]
        curves = [Curve.from_arrays(kind, arrays, name) for name in ("chosen", "vanilla") if kind]
        return FittedConfidence(
            measure=check_measure(plain["measure"]),
            pairs=pairs,
            cost=float(plain["cost"]),
            threshold=float(plain["threshold"]),
            top=None if top is None else int(top),
            own=tuple(Curve.from_arrays(kind, arrays, f"own_{k}") for k in range(plain["own"])),
            curves=(curves[0], curves[1]) if curves else None,
            report=report,
        )

    @property
    def name(self) -> str:
        """``confidence-probability-8``."""
        parts = ["confidence", self.measure, str(self.most or "all")]
        if self.calibration != "logistic":
            parts.append(self.calibration or "raw")
        return "-".join(parts + ["per-pair"] * self.per_pair)

    @property
    def about(self) -> str:
        """What it does."""
        best = {"probability": "highest answer probability", "entropy": "lowest entropy"}
        what = best.get(self.measure, "largest margin")
        pairs = among(self.most)
        if self.calibration is None:
            return f"{what} among {pairs}, taken as it is"
        each = " each by itself" if self.per_pair else ""
        return f"{what} among {pairs}, calibrated{each}; unmodified if that is surer"

    def fit(self, seen: Candidates, labels: Labels) -> FittedConfidence:
        """Find the pairs to look at, then the two curves.

        Raises:
            UsageError: the split has no gold answers, or no confidence is known.
        """
        every = range(len(seen.pairs))
        places = every if self.most is None else ranked(seen, labels, self.most)
        own: tuple[Curve, ...] = ()
        if self.per_pair and self.calibration is not None:
            values = signals(seen, self.measure)[1]
            own = tuple(
                fit_curve(values[:, place], labels.correct[:, place], self.calibration)
                for place in places
            )
        plain = FittedConfidence(
            self.measure, named(seen, places), looking_cost(len(places)), self.threshold, own=own
        )
        return calibrated(plain, self.calibration, seen, labels)


@dataclass(frozen=True, slots=True)
class FittedConfidence:
    """The surest of some candidates, and when to leave the answer unmodified.

    Attributes:
        measure: see `Confidence`.
        pairs: candidates that it looks at.
        cost: forward passes for one question.
        threshold: see `Confidence`.
        top: looks at so many of `pairs` for each item only, the highest by attribution; None = all.
        own: a curve for each of `pairs`, if each is calibrated by itself.
        curves: of the chosen candidate and of the unmodified answer; None = never abstains.
        report: what fitting measured beside.
    """

    measure: Measure
    pairs: tuple[TransplantSpec, ...]
    cost: float
    threshold: float = 0.0
    top: int | None = None
    own: tuple[Curve, ...] = ()
    curves: tuple[Curve, Curve] | None = None
    report: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = field(default="steps", init=False)

    def choose(self, seen: Candidates) -> Selection:
        """The surest candidate, unless the unmodified answer is likelier to be right."""
        choice, sure, unmodified = self.surest(seen)
        if self.curves is not None:
            better = self.curves[0](sure) > self.curves[1](unmodified) + self.threshold
            # Where the unmodified answer's confidence is not known, there is nothing to compare.
            choice = np.where(better | np.isnan(unmodified), choice, ABSTAIN)
        choice = np.where(self.allowed(seen).any(axis=1), choice, NOT_RUN)
        return always(choice, len(seen), self.cost)

    def surest(self, seen: Candidates) -> tuple[Places, Floats, Floats]:
        """The surest candidate of each item (-1 = none), its signal, and the unmodified one's."""
        vanilla, candidates = signals(seen, self.measure)
        for curve, place in zip(self.own, seen.places(self.pairs), strict=False):
            if place >= 0:
                candidates[:, place] = curve(candidates[:, place])
        values = np.where(self.allowed(seen), candidates, np.nan)
        filled = np.where(np.isnan(values), -np.inf, values)
        choice = filled.argmax(axis=1).astype(np.int64)
        best = filled[np.arange(len(choice)), choice]
        none = np.isneginf(best)
        return np.where(none, ABSTAIN, choice), np.where(none, np.nan, best), vanilla

    def allowed(self, seen: Candidates) -> Mask:
        """Candidates to look at among those that were run, shape (items, K)."""
        allowed = seen.run_of(self.pairs)
        return allowed if self.top is None else highest(seen.attribution, allowed, self.top)

    def state(self) -> SelectorState:
        """Pairs and settings as JSON, curves as arrays."""
        plain = stored(
            self,
            measure=self.measure,
            cost=self.cost,
            threshold=self.threshold,
            top=self.top,
            own=len(self.own),
            calibration=None if self.curves is None else self.curves[0].kind,
        )
        arrays: dict[str, Any] = {}
        for name, curve in zip(("chosen", "vanilla"), self.curves or (), strict=False):
            arrays |= curve.arrays(name)
        for place, curve in enumerate(self.own):
            arrays |= curve.arrays(f"own_{place}")
        return SelectorState("confidence", plain, arrays)


def calibrated(
    fitted: FittedConfidence, kind: CurveKind | None, seen: Candidates, labels: Labels
) -> FittedConfidence:
    """The same with curves fitted on the tuning split, and its accuracy there (in sample)."""
    if kind is not None:
        choice, sure, unmodified = fitted.surest(seen)
        right = always(choice, len(seen), 0).outcome(
            replace(labels, vanilla=np.full(len(seen), np.nan))
        )
        curves = fit_curve(sure, right, kind), fit_curve(unmodified, labels.vanilla, kind)
        fitted = replace(fitted, curves=curves)
    return with_report(fitted, seen, labels)


def highest(scores: Floats | None, ran: Mask, most: int) -> Mask:
    """The candidates with the highest scores of each item, among those that were run.

    Args:
        scores: shape (items, K), NaN = none; None = no candidate has one.
        ran: which candidates were run, shape (items, K).
        most: largest number of candidates of an item.
    """
    chosen = np.zeros(ran.shape, dtype=np.bool_)
    if scores is None:
        return chosen
    usable = ran & ~np.isnan(scores)
    # A stable sort: of equal scores the first candidate wins.
    order = np.argsort(-np.where(usable, scores, -np.inf), axis=1, kind="stable")
    np.put_along_axis(chosen, order[:, :most], True, axis=1)
    return chosen & usable
