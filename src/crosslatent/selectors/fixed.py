"""One pair for every question, or one for each language: what presets and pilot pairs come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from crosslatent.core.specs import TransplantSpec, check_component
from crosslatent.selectors.base import (
    FIXED_COST,
    NOT_RUN,
    Candidates,
    Reads,
    Selection,
    SelectorState,
    always,
)

FIXED = "fixed"
"""Kind of the state of `FixedPairs`, which any selector may fit."""


@dataclass(frozen=True, slots=True)
class FixedPairs:
    """The same pair always.

    Attributes:
        pooled: for languages without their own.
        by_language: a language's own pair.
        report: what fitting measured beside.
    """

    pooled: TransplantSpec
    by_language: Mapping[str, TransplantSpec] = field(default_factory=dict)
    report: Mapping[str, float] = field(default_factory=dict)

    @property
    def pairs(self) -> tuple[TransplantSpec, ...]:
        """Every pair that some language gets."""
        return tuple(dict.fromkeys([self.pooled, *self.by_language.values()]))

    @property
    def reads(self) -> Reads:
        """The pair is known beforehand."""
        return "nothing"

    @property
    def cost(self) -> float:
        """The run over aux and one answer: the unmodified one is not looked at."""
        return FIXED_COST

    def choose(self, seen: Candidates) -> Selection:
        """Its pair for every item; `NOT_RUN` where it was not run."""
        langs = [str(lang) for lang in seen.lang]
        wanted = [self.by_language.get(lang, self.pooled) for lang in langs]
        choice = np.array(seen.places(wanted), dtype=np.int64)
        if len(choice):
            ran = seen.ran[np.arange(len(choice)), np.maximum(choice, 0)]
            choice = np.where((choice >= 0) & ran, choice, NOT_RUN)
        return always(choice, len(seen), self.cost)

    def state(self) -> SelectorState:
        """Pairs alone: there are no arrays."""
        plain = {
            "pooled": asdict(self.pooled),
            "by_language": {lang: asdict(pair) for lang, pair in self.by_language.items()},
            "report": dict(self.report),
        }
        return SelectorState(FIXED, plain, {})

    @classmethod
    def from_state(cls, plain: Mapping[str, Any], _arrays: Mapping[str, Any]) -> FixedPairs:
        """The opposite of `state`."""
        own = {lang: pair_of(data) for lang, data in plain["by_language"].items()}
        return cls(pair_of(plain["pooled"]), own, dict(plain["report"]))


def pair_of(data: Mapping[str, Any]) -> TransplantSpec:
    """A pair from its JSON.

    Raises:
        PairError: its component is none.
    """
    return TransplantSpec(
        check_component(data["component"]), int(data["source"]), int(data["target"])
    )
