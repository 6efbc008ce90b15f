"""Without a transplant: the answer to the other prompt, or the surer of both answers.

Sure is how probable the first step is: over the options, or over the vocabulary. By how much aux
must be surer is fitted on the tuning split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from crosslatent.analysis.other_ways import ALWAYS, fitted_margin
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import (
    Reads,
    Selector,
    SelectorState,
    register_selector,
    with_report,
)
from crosslatent.selectors.candidates import (
    ABSTAIN,
    AUX_COST,
    NOT_RUN,
    OTHER,
    VANILLA_COST,
    Candidates,
    Labels,
    Selection,
    always,
)
from crosslatent.selectors.signals import signal_of
from crosslatent.stats import Floats

Method = Literal["translate_test", "surer"]


@register_selector("untransplanted")
@dataclass(frozen=True, slots=True)
class Plain(Selector):
    """One of the plain methods; evaluations have them as baselines, so no strategy lists it."""

    method: Method = "surer"

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """None: see the class."""
        return ()

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedPlain:
        """The opposite of `FittedPlain.state`."""
        del arrays
        return FittedPlain(float(plain["margin"]), dict(plain["report"]))

    @property
    def name(self) -> str:
        """``translate_test`` or ``surer``."""
        return self.method

    @property
    def about(self) -> str:
        """What it does."""
        if self.method == "translate_test":
            return "the answer to the other prompt"
        return "of the answers to both prompts, the surer one"

    def fit(self, seen: Candidates, labels: Labels) -> FittedPlain:
        """Find the margin with most right answers, of those the one next to 0.

        Raises:
            UsageError: what is right of the answers to aux, or how sure they are, is not known.
        """
        if self.method == "translate_test":
            return with_report(FittedPlain(ALWAYS), seen, labels)
        gaps = _gaps(seen)
        known = ~np.isnan(gaps + labels.vanilla + labels.aux)
        if not known.any():
            raise UsageError("No question says how sure, and how right, both of its answers are.")
        margin = fitted_margin(gaps[known], labels.vanilla[known], labels.aux[known])
        return with_report(FittedPlain(margin), seen, labels)


def _gaps(seen: Candidates) -> Floats:
    """How much surer the answer to aux is, from -1 to 1, shape (items,); NaN where not known."""
    aux, own = (signal_of(steps, "probability") for steps in (seen.aux, seen.vanilla))
    return np.asarray(aux - own)


@dataclass(frozen=True, slots=True)
class FittedPlain:
    """The answer to aux where it is surer by more than a margin.

    Attributes:
        margin: from -2 (always) to 2 (never).
        report: what fitting measured beside.
    """

    margin: float
    report: Mapping[str, float] = field(default_factory=dict)
    pairs: tuple[TransplantSpec, ...] = field(default=(), init=False)

    @property
    def reads(self) -> Reads:
        """Nothing, if aux is always answered."""
        return "nothing" if self.margin <= ALWAYS else "steps"

    @property
    def cost(self) -> float:
        """Aux, and main if both are looked at."""
        return AUX_COST + (VANILLA_COST if self.reads == "steps" else 0.0)

    def choose(self, seen: Candidates) -> Selection:
        """`OTHER` or `ABSTAIN`; `NOT_RUN` where it is not known how sure both are."""
        if self.reads == "nothing":
            return always(OTHER, len(seen), self.cost)
        gaps = _gaps(seen)
        choice = np.where(gaps > self.margin, OTHER, ABSTAIN)
        return always(np.where(np.isnan(gaps), NOT_RUN, choice), len(seen), self.cost)

    def state(self) -> SelectorState:
        """The margin alone."""
        return SelectorState(
            "untransplanted", {"margin": self.margin, "report": dict(self.report)}, {}
        )
