"""The strategies that `crosslatent select` knows by name; a new selector is entered here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import PRESETS
from crosslatent.selectors.attribution import Attribution
from crosslatent.selectors.base import Selector
from crosslatent.selectors.confidence import Confidence
from crosslatent.selectors.halving import Halving
from crosslatent.selectors.learned import Learned
from crosslatent.selectors.pilot import Pilot
from crosslatent.selectors.preset import Preset
from crosslatent.selectors.signals import MEASURES
from crosslatent.selectors.vote import Vote

ALL = "all"
ORACLE = "oracle"
"""Not a selector: it looks at the gold answer. Every evaluation has it as the upper bound."""

REFERENCE = Pilot()
"""The fixed pilot pair, which every selector is compared with."""

STRATEGIES: Mapping[str, Sequence[Selector]] = {
    "preset": tuple(Preset(kind) for kind in PRESETS),
    "pilot": (
        REFERENCE,
        Pilot(per_language=True),
        Pilot(scope="target-first", tie="authors"),
        Pilot(per_language=True, scope="target-first", tie="authors"),
    ),
    "confidence": (
        *(Confidence(measure) for measure in MEASURES),
        Confidence(per_pair=True),
        Confidence("margin", per_pair=True),
        Confidence(calibration="isotonic"),
        Confidence(calibration=None),
        Confidence(most=None),
    ),
    "vote": (Vote(), Vote(most=None)),
    "learned": (
        Learned(),
        Learned(without_aux=True),
        Learned("boosting"),
        Learned("boosting", without_aux=True),
    ),
    "attribution": tuple(Attribution(top) for top in (4, 8, 16)),
    "halving": (Halving(0.1), Halving(0.25)),
    ORACLE: (),
}


def selectors_of(strategy: str) -> list[Selector]:
    """The selectors of a strategy, or of all of them; also a single selector by its own name.

    Raises:
        UsageError: there is no such strategy.
    """
    every = [selector for found in STRATEGIES.values() for selector in found]
    if strategy == ALL:
        return every
    if strategy in STRATEGIES:
        return list(STRATEGIES[strategy])
    named = [selector for selector in every if selector.name == strategy]
    if not named:
        known = ", ".join([*STRATEGIES, ALL])
        raise UsageError(f"Unknown strategy {strategy!r}: use {known}, or one selector's name.")
    return named
