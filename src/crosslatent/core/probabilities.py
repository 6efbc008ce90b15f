"""Log-probabilities as probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence


def normalised(logprobs: Sequence[float | None]) -> list[float] | None:
    """Log-probabilities of options as probabilities that add up to 1; None if one is not known."""
    known = [value for value in logprobs if value is not None and not math.isnan(value)]
    top = max(known, default=-math.inf)
    if len(known) < len(logprobs) or not math.isfinite(top):
        return None
    weights = [math.exp(value - top) for value in known]
    total = sum(weights)
    return [weight / total for weight in weights]
