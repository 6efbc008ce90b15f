"""Intervals of ratios by cluster; means and tests are in `stats`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosslatent.stats import CONFIDENCE, RESAMPLES, Estimate, Floats
from crosslatent.stats.clusters import cluster_draws, cluster_sums, expanded_tails
from crosslatent.stats.estimates import MOST_UNDEFINED

METHOD = "expanded percentile bootstrap of a ratio over clusters"


def ratio(
    numerator: Floats,
    denominator: Floats,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Sum of one column over the sum of another, with an interval that resamples clusters.

    Both are summed anew in every resample, so that the gap's own uncertainty is part of it.

    Args:
        numerator: shape (n,); NaN = missing, and the row is left out of both.
        denominator: shape (n,); NaN = missing, and the row is left out of both.
        clusters: the cluster of each row.
        seed: of the random draws.
        resamples: number of bootstrap resamples.

    Returns:
        The ratio; without a value where the denominator is not above zero, and without an interval
        where that holds for more than one resample in a thousand.
    """
    kept = ~np.isnan(numerator) & ~np.isnan(denominator)
    names = [name for name, keep in zip(clusters, kept, strict=True) if keep]
    sums = cluster_sums(np.column_stack([numerator, denominator])[kept], names)
    above, below = sums.sum(axis=0)
    low, high, undefined = None, None, below <= 0
    if below > 0 and len(sums) > 1:
        low, high, undefined = _interval(sums, seed, resamples)
    return Estimate(
        value=float(above / below) if below > 0 else None,
        low=low,
        high=high,
        n=len(names),
        clusters=len(sums),
        seed=seed,
        method=METHOD,
        undefined=bool(undefined),
    )


def _interval(sums: Floats, seed: int, resamples: int) -> tuple[float | None, float | None, bool]:
    """Both ends, and whether they are undefined (and not just without variation)."""
    above, below = (cluster_draws(len(sums), seed, resamples) @ sums).T
    defined = below > 0
    if 1 - defined.mean() > MOST_UNDEFINED:
        return None, None, True
    ratios = above[defined] / below[defined]
    if np.ptp(ratios) < 1e-12:
        return None, None, False
    low, high = np.quantile(ratios, expanded_tails(CONFIDENCE, len(sums)))
    return float(low), float(high), False
