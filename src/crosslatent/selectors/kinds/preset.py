"""The paper's presets: a pair by type of task, tuned on nothing (XTransplant, arXiv 2412.12686)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import PRESETS, check_preset, resolve_layer
from crosslatent.selectors.base import FixedPairs, Selector, register_selector
from crosslatent.selectors.candidates import Candidates, Labels


@register_selector("preset")
@dataclass(frozen=True, slots=True)
class Preset(Selector):
    """One of the paper's presets; `kind` as in `core.specs.PRESETS`."""

    kind: str

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """One for each type of task."""
        return map(cls, PRESETS)

    @property
    def name(self) -> str:
        """``preset-understanding``."""
        return f"preset-{self.kind}"

    @property
    def about(self) -> str:
        """What it does."""
        return f"the paper\u2019s pair for {self.kind} tasks"

    def fit(self, seen: Candidates, labels: Labels) -> FixedPairs:  # noqa: ARG002
        """Resolve the layers; no label is looked at.

        Raises:
            UsageError: the pair is none of the candidates.
        """
        pair = check_preset(self.kind)
        pair = replace(
            pair,
            source=resolve_layer(pair.source, seen.n_layers, "source"),
            target=resolve_layer(pair.target, seen.n_layers, "target"),
        )
        if pair not in seen.pairs:
            raise UsageError(
                f"The preset {self.kind!r} is {pair.component} {pair.source} -> {pair.target}, "
                "which this run does not have: sweep it, or leave the preset out."
            )
        return FixedPairs(pair)
