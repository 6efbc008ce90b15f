"""Whether rows hold what a fitted selector looks at: what was not run is missing, no abstention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import Candidates, FittedSelector, Mask
from crosslatent.selectors.fixed import FixedPairs
from crosslatent.selectors.kinds.confidence import FittedConfidence
from crosslatent.selectors.signals import signals

_MOST_NAMED = 3


def check_same_setting(mine: Mapping[str, Any], other: Mapping[str, Any], run: str) -> None:
    """Refuse to test on a run of another model, direction or rule.

    Args:
        mine: manifest of the run to fit on.
        other: manifest of the run to test on.
        run: name of the latter.

    Raises:
        UsageError: something of that is known of both runs, and differs.
    """
    named = {
        "model": ("n_layers", "config_hash", "weights_hash", "tokenizer_hash"),
        "task": ("direction", "rule"),
    }
    for part, names in named.items():
        here, there = mine.get(part) or {}, other.get(part) or {}
        for name in names:
            a, b = here.get(name), there.get(name)
            if a is not None and b is not None and a != b:
                raise UsageError(
                    f"The run {run!r} has the {part} {name} {b!r}, but selectors are fitted on "
                    f"{a!r}: test on a run of the same model, direction and rule."
                )


def lacking(fitted: FittedSelector, seen: Candidates) -> str | None:
    """What the questions to test on lack for a selector, as a sentence; None if nothing.

    A pair lacks if none of the questions was run with it, and scores if no question has any.
    """
    ran: Mask = np.asarray(seen.ran.any(axis=0))
    places = zip(wanted := _wanted(fitted, seen), seen.places(wanted), strict=True)
    absent = [pair for pair, place in places if place < 0 or not ran[place]]
    if absent:
        return f"The questions to test on were not run with {_named(absent)}."
    if not isinstance(fitted, FittedConfidence):
        return None
    scores = seen.attribution
    if fitted.top is not None and (scores is None or np.isnan(scores).all()):
        return "The questions to test on have no attribution scores."
    if np.isnan(signals(seen, fitted.measure)[1]).all():
        return "How sure the model is of the questions to test on is not known."
    return None


def covered(fitted: FittedSelector, true: Candidates, other: Candidates) -> Mask:
    """Items of which `other` has every row that the selector looks at in `true`, shape (items,)."""
    looked = _looked_at(fitted, true)
    return np.asarray((~looked | other.ran).all(axis=1) & looked.any(axis=1))


def _wanted(fitted: FittedSelector, seen: Candidates) -> list[TransplantSpec]:
    """Its pairs; of pairs by language, those of the languages that are asked in."""
    if isinstance(fitted, FixedPairs):
        langs = sorted(set(seen.lang.tolist()))
        return list(dict.fromkeys(fitted.by_language.get(k, fitted.pooled) for k in langs))
    return list(fitted.pairs)


def _looked_at(fitted: FittedSelector, seen: Candidates) -> Mask:
    """The rows that a choice depends on, shape (items, K)."""
    if isinstance(fitted, FittedConfidence):
        return fitted.allowed(seen)
    looked = np.zeros(seen.ran.shape, dtype=np.bool_)
    if isinstance(fitted, FixedPairs):
        choice = fitted.choose(seen).choice
        items = np.flatnonzero(choice >= 0)
        looked[items, choice[items]] = True
        return looked
    places = [place for place in seen.places(fitted.pairs) if place >= 0]
    looked[:, places] = seen.ran[:, places]
    return looked


def _named(pairs: Iterable[TransplantSpec]) -> str:
    texts = [f"{pair.component} {pair.source} -> {pair.target}" for pair in pairs]
    more = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f" and {more} more of its pairs" if more > 0 else "")
