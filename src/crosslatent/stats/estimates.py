"""Means, paired differences and ratios with intervals that resample clusters.

An interval needs two clusters and some variation, and is never shown as zero wide instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosslatent.stats.clusters import (
    SHARES,
    Floats,
    check_lengths,
    cluster_draws,
    cluster_sums,
    effective_n,
    expanded_tails,
    number,
    share_interval,
    sums_and_counts,
)

RESAMPLES = 10_000
CONFIDENCE = 0.95
METHOD = "expanded percentile bootstrap over clusters"
METHOD_OF_GROUPS = "expanded percentile bootstrap of two groups over clusters"
METHOD_OF_RATIOS = "expanded percentile bootstrap of a ratio over clusters"
METHODS = f"{METHOD}; of shares: {SHARES}"
MOST_UNDEFINED = 0.001
"""If more of the resamples have no value, there is no interval."""
_COLUMNS_AT_ONCE = 256
"""Bounds the memory of the resampled means: 10,000 x 256 numbers are 20 MB."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: the mean, on the scale of the observations; None without observations.
        low, high: ends of the interval; None where it cannot be estimated.
        n: observations that are not missing.
        clusters: independent groups among them.
        seed: of the resampling.
        method: how the interval was made.
        confidence: coverage aimed at, such as 0.95.
        undefined: there is no interval because too many resamples have no value, as of a ratio;
            False where the clusters all agree, or there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    seed: int
    method: str = METHOD
    confidence: float = CONFIDENCE
    undefined: bool = False

    @property
    def above_zero(self) -> bool:
        """The whole interval lies above zero.

        Without an interval because all clusters agree exactly, the exact sign test over clusters
        decides, two-sided: at 95 % it takes six clusters. An undefined interval shows nothing.
        """
        if self.low is not None:
            return self.low > 0
        return self.value is not None and self.value > 0 and self._clusters_suffice

    @property
    def below_zero(self) -> bool:
        """The whole interval lies below zero; without variation see `above_zero`."""
        if self.high is not None:
            return self.high < 0
        return self.value is not None and self.value < 0 and self._clusters_suffice

    @property
    def _clusters_suffice(self) -> bool:
        return not self.undefined and 2 * 0.5**self.clusters < 1 - self.confidence


def clustered_mean(
    values: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    difference: bool = False,
) -> Estimate:
    """Mean of observations with an interval by clusters.

    The mean weighs every observation alike. Answers that are right or wrong (all 0 or 1) get the
    interval of Korn and Graubard (1998): an exact one of a share, of as many independent items as
    the clusters are worth (`shares`). Everything else, differences too, is resampled: as many
    clusters as there are are drawn with replacement, with all observations of each (Efron and
    Tibshirani 1993, sections 8 and 13), and the ends are quantiles of the resampled means, moved
    outward for few clusters (Hesterberg 2015; `clusters.expanded_tails`), so they stay within the
    range of the observations. Resampled shares near 0 or 1 would be covered too rarely.

    How often 95 % intervals cover the truth is measured: docs/methods.md 5.

    Args:
        values: observations, shape (n,): 0/1 for a share. NaN = missing.
        clusters: the cluster of each observation, length n.
        seed: of the random draws; the same seed gives the same interval.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap resamples.
        difference: the observations are differences, so they are no share even if all are 0 or 1.

    Raises:
        ValueError: the lengths differ.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    return clustered_means(
        column,
        clusters,
        seed=seed,
        confidence=confidence,
        resamples=resamples,
        difference=difference,
    )[0]


def paired_difference(
    treated: ArrayLike,
    baseline: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean of treated - baseline over the observations that have both; see `clustered_mean`.

    Raises:
        ValueError: the lengths differ.
    """
    difference = np.asarray(treated, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    return clustered_mean(
        difference, clusters, seed=seed, confidence=confidence, resamples=resamples, difference=True
    )


def group_difference(
    values: ArrayLike,
    first: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean of one group of observations minus the mean of the others.

    Clusters are resampled with all their observations, those of both groups; the quantile levels
    are moved outward for as many clusters as the smaller group has (`clusters.expanded_tails`).

    Args:
        values: observations, shape (n,); NaN = missing.
        first: which of them are in the first group, shape (n,).
        clusters: the cluster of each observation, length n; a cluster may have some of both.
        seed: of the random draws.
        confidence: coverage of the interval.
        resamples: number of bootstrap resamples.

    Returns:
        The difference; no value if a group is empty, and no interval where a group is missing in
        more than one resample of a thousand.

    Raises:
        ValueError: the lengths differ.
    """
    column = np.asarray(values, dtype=np.float64)
    check_lengths(len(column), clusters)
    kept = ~np.isnan(column)
    groups = np.column_stack(
        [np.asarray(first, dtype=np.bool_), ~np.asarray(first, dtype=np.bool_)]
    )
    names = [name for name, keep in zip(clusters, kept, strict=True) if keep]
    sums = cluster_sums(np.hstack([column[:, None] * groups, groups])[kept], names)
    there = (sums[:, 2:] > 0).sum(axis=0)
    low, high, undefined = None, None, False
    if there.min(initial=len(sums)) > 0:
        drawn = cluster_draws(len(sums), seed, resamples) @ sums
        defined = (drawn[:, 2:] > 0).all(axis=1) & (there.min() > 1)
        means = drawn[:, :2] / np.maximum(drawn[:, 2:], 1)
        gaps = means[:, 0] - means[:, 1]
        low, high, undefined = resampled_ends(gaps, defined, int(there.min()), confidence)
    means = sums[:, :2].sum(axis=0) / np.maximum(sums[:, 2:].sum(axis=0), 1)
    return Estimate(
        value=float(means[0] - means[1]) if there.all() else None,
        low=low,
        high=high,
        n=len(names),
        clusters=len(sums),
        seed=seed,
        method=METHOD_OF_GROUPS,
        confidence=confidence,
        undefined=undefined,
    )


def resampled_ends(
    values: Floats, defined: NDArray[np.bool_], clusters: int, confidence: float
) -> tuple[float | None, float | None, bool]:
    """Both ends of an interval of resampled values, and whether they are undefined.

    Args:
        values: of each resample, shape (resamples,).
        defined: which of them mean something, same shape.
        clusters: how many the quantile levels are moved outward for.
        confidence: coverage of the interval.

    Returns:
        None for the ends where too many resamples have no value, or none of them differs.
    """
    if 1 - defined.mean() > MOST_UNDEFINED:
        return None, None, True
    known = values[defined]
    if np.ptp(known) < 1e-12:
        return None, None, False
    low, high = np.quantile(known, expanded_tails(confidence, clusters))
    return float(low), float(high), False


def clustered_means(
    values: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    difference: bool = False,
) -> list[Estimate]:
    """`clustered_mean` of every column of `values`, shape (n, k); columns share their resamples.

    Raises:
        ValueError: `clusters` has not one entry for each row.
    """
    table = np.asarray(values, dtype=np.float64)
    check_lengths(len(table), clusters)
    found: dict[int, Estimate] = {}
    for columns in _same_rows_present(table):
        block = table[:, columns]
        kept = ~np.isnan(block[:, 0])
        sums, counts = sums_and_counts(block, clusters, kept)
        shares = np.zeros(len(columns), dtype=np.bool_)
        if not difference:
            shares = ((block[kept] == 0) | (block[kept] == 1)).all(axis=0)
        low, high = _interval(sums, counts, shares, seed, confidence, resamples)
        for place, column in enumerate(columns):
            found[int(column)] = Estimate(
                value=number(sums[:, place].sum() / counts.sum()) if len(counts) else None,
                low=number(low[place]),
                high=number(high[place]),
                n=int(counts.sum()),
                clusters=len(counts),
                seed=seed,
                method=SHARES if shares[place] else METHOD,
                confidence=confidence,
            )
    return [found[column] for column in range(table.shape[1])]


def _same_rows_present(table: Floats) -> list[NDArray[np.intp]]:
    """Groups of columns with the same missing rows (usually one group)."""
    if table.shape[1] == 0:
        return []
    missing = np.isnan(table)
    if (missing == missing[:, :1]).all():
        return [np.arange(table.shape[1])]
    _, group = np.unique(missing, axis=1, return_inverse=True)
    return [np.flatnonzero(group.ravel() == place) for place in range(int(group.max()) + 1)]


def _interval(
    sums: Floats,
    counts: Floats,
    shares: NDArray[np.bool_],
    seed: int,
    confidence: float,
    resamples: int,
) -> tuple[Floats, Floats]:
    """Interval of every column of `sums` over `counts`; NaN where there is none."""
    low = np.full(sums.shape[1], np.nan)
    high = low.copy()
    if len(counts) < 2:
        return low, high
    for place in np.flatnonzero(shares):
        one = sums[:, place]
        n = effective_n(one, counts, confidence)
        low[place], high[place] = share_interval(one.sum() / counts.sum(), n, confidence)
    if not shares.all():
        low[~shares], high[~shares] = _resampled(
            sums[:, ~shares], counts, seed, confidence, resamples
        )
    flat = _is_flat(sums, counts)
    low[flat], high[flat] = np.nan, np.nan
    return low, high


def _resampled(
    sums: Floats, counts: Floats, seed: int, confidence: float, resamples: int
) -> tuple[Floats, Floats]:
    """Quantiles of the resampled means of every column."""
    low, high = np.empty((2, sums.shape[1]))
    # A resample is how often each cluster was drawn, so its mean is a ratio of two products: the
    # same numbers as scipy.stats.bootstrap over clusters, for thousands of columns at once.
    draws = cluster_draws(len(counts), seed, resamples)
    total = (draws @ counts)[:, None]
    tails = expanded_tails(confidence, len(counts))
    for start in range(0, sums.shape[1], _COLUMNS_AT_ONCE):
        part = slice(start, start + _COLUMNS_AT_ONCE)
        low[part], high[part] = np.quantile(draws @ sums[:, part] / total, tails, axis=0)
    return low, high


def _is_flat(sums: Floats, counts: Floats) -> NDArray[np.bool_]:
    """Columns in which every cluster has the same mean: resampling them says nothing."""
    flat: NDArray[np.bool_] = np.ptp(sums / counts[:, None], axis=0) < 1e-12
    return flat


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
        tops, bottoms = (cluster_draws(len(sums), seed, resamples) @ sums).T
        ratios = tops / np.where(bottoms > 0, bottoms, 1)
        low, high, undefined = resampled_ends(ratios, bottoms > 0, len(sums), CONFIDENCE)
    return Estimate(
        value=float(above / below) if below > 0 else None,
        low=low,
        high=high,
        n=len(names),
        clusters=len(sums),
        seed=seed,
        method=METHOD_OF_RATIOS,
        undefined=bool(undefined),
    )
