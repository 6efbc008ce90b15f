"""Observations summed by cluster, clusters drawn again, and shares of clustered 0/1 answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm, t

Floats = NDArray[np.float64]
_DRAWS_AT_ONCE = 500
_SMALL = 3_000_000
"""Draws of so many numbers take 3 MB as bytes, and 24 MB as floats."""


def check_lengths(observations: int, clusters: Sequence[str]) -> None:
    """Every observation has a cluster.

    Raises:
        ValueError: the lengths differ.
    """
    if len(clusters) != observations:
        raise ValueError(f"{observations} observations but {len(clusters)} cluster names")


def cluster_sums(table: Floats, clusters: Sequence[str]) -> Floats:
    """Sums by cluster, shape (clusters, k), of a table of shape (n, k) without gaps."""
    names, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, index, table)
    return sums


def sums_and_counts(
    table: Floats, clusters: Sequence[str], kept: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Sums, shape (clusters, k), and observations, shape (clusters,), of the rows in `kept`."""
    names = [name for name, keep in zip(clusters, kept, strict=True) if keep]
    both = cluster_sums(np.column_stack([table[kept], np.ones(len(names))]), names)
    return both[:, :-1], both[:, -1]


def cluster_draws(clusters: int, seed: int, resamples: int) -> Floats:
    """How often each cluster is drawn in each resample, shape (resamples, clusters)."""
    if clusters * resamples > _SMALL:
        return _large_draws(clusters, seed, resamples)
    return _small_draws(clusters, seed, resamples).astype(np.float64)


def _draw(clusters: int, seed: int, resamples: int) -> Floats:
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, clusters))
    # Block by block the generator gives the same numbers; at once they would be held twice.
    for start in range(0, resamples, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, resamples - start)
        drawn[start : start + size] = generator.multinomial(
            clusters, np.full(clusters, 1 / clusters), size=size
        )
    return drawn


# Groups of questions have many sizes, most of them small, and each is asked for many times: a few
# large ones must not drive out the small ones.
_large_draws = lru_cache(maxsize=8)(_draw)


@lru_cache(maxsize=96)
def _small_draws(clusters: int, seed: int, resamples: int) -> NDArray[np.unsignedinteger[Any]]:
    return _draw(clusters, seed, resamples).astype(np.min_scalar_type(clusters))


@lru_cache(maxsize=256)
def expanded_tails(confidence: float, clusters: int) -> tuple[float, float]:
    """The two quantiles of the resampled values that bound an interval.

    With K clusters the spread of resampled means is too small by sqrt((K - 1) / K), and the normal
    shape ignores that the variance is itself estimated. The quantile levels are moved outward by
    both: Phi(-sqrt(K / (K - 1)) t), with t the Student quantile on K - 1 degrees of freedom
    (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 5.3).
    """
    quantile = t.ppf((1 + confidence) / 2, clusters - 1)
    tail = float(norm.cdf(-np.sqrt(clusters / (clusters - 1)) * quantile))
    return tail, 1 - tail


def by_item(values: Floats) -> Floats:
    """All axes but the first as one, shape (n, k); also of no items."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def contributions(sums: Floats, counts: Floats) -> Floats:
    """What each cluster adds to the error of the mean, shape (clusters,), in the data's unit.

    The mean is a ratio, sum of sums / sum of counts; linearised, it is the mean of these numbers
    (Cochran 1977, Sampling Techniques, section 6.3), so its standard error is their standard
    deviation / sqrt(clusters).

    Args:
        sums: of the observations by cluster, shape (clusters,).
        counts: numbers of observations by cluster, shape (clusters,).
    """
    mean = sums.sum() / counts.sum()
    return np.asarray((sums - mean * counts) * len(counts) / counts.sum(), dtype=np.float64)


def number(value: float) -> float | None:
    """NaN as None."""
    return None if np.isnan(value) else float(value)


SHARES = "Clopper-Pearson on the effective number of items"
_ROUNDING = 1e-12


def effective_n(sums: Floats, counts: Floats, confidence: float) -> float:
    """Independent items that say as much about a share as these clusters (Korn, Graubard 1998).

    n / design effect, at most n, also reduced for the degrees of freedom between clusters. Where
    the design effect cannot be estimated, because all clusters agree, each cluster counts once.

    Args:
        sums: of the 0/1 items by cluster, shape (clusters,).
        counts: numbers of items by cluster, shape (clusters,).
        confidence: coverage aimed at.
    """
    n, clusters = counts.sum(), len(counts)
    share = sums.sum() / n
    error = contributions(sums, counts).var(ddof=1) / clusters if clusters > 1 else 0.0
    if n < 2 or error < _ROUNDING:
        return float(clusters)
    alone = share * (1 - share) / (n - 1)
    tail = (1 + confidence) / 2
    freedom = (t.ppf(tail, n - 1) / t.ppf(tail, clusters - 1)) ** 2
    return float(min(n, n * alone / error * freedom))


def share_interval(share: float, n: float, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of `n` items, which need not be whole."""
    right, tail = share * n, (1 - confidence) / 2
    low = beta.ppf(tail, right, n - right + 1) if right > 0 else 0.0
    high = beta.ppf(1 - tail, right + 1, n - right) if right < n else 1.0
    return float(low), float(high)
