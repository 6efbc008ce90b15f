"""Seeded statistics on arrays: clustered bootstrap intervals and the exact McNemar test.

Contract: what is independent is the cluster (a fact asked in several languages), so clusters
are resampled, never single answers. Missing observations are NaN. What cannot be estimated is None:
an interval needs two clusters and some variation, and is never shown as zero wide instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
METHOD = "percentile bootstrap over clusters"
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
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    seed: int
    method: str = METHOD
    confidence: float = CONFIDENCE

    @property
    def above_zero(self) -> bool:
        """The whole interval lies above zero.

        Without an interval because all clusters agree exactly, the exact sign test over clusters
        decides, two-sided: at 95 % it takes six clusters.
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
        return 2 * 0.5**self.clusters < 1 - self.confidence


def clustered_mean(
    values: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean of observations with an interval that resamples clusters.

    The mean weighs every observation alike; a resample draws as many clusters as there are, with
    replacement, and takes all observations of each (Efron and Tibshirani 1993, sections 8 and 13).

    Args:
        values: observations, shape (n,): 0/1 for a proportion. NaN = missing.
        clusters: the cluster of each observation, length n.
        seed: of the random draws; the same seed gives the same interval.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: the lengths differ.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    return clustered_means(column, clusters, seed=seed, confidence=confidence, resamples=resamples)[
        0
    ]


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
        difference, clusters, seed=seed, confidence=confidence, resamples=resamples
    )


def clustered_means(
    values: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> list[Estimate]:
    """`clustered_mean` of every column at once; columns share their resamples.

    Args:
        values: observations, shape (n, k), NaN = missing.
        clusters: the cluster of each row, length n.
        seed: of the random draws.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap resamples.

    Returns:
        k estimates, in the order of the columns.

    Raises:
        ValueError: `clusters` has not one entry for each row.
    """
    table = np.asarray(values, dtype=np.float64)
    if len(clusters) != len(table):
        raise ValueError(f"{len(table)} observations but {len(clusters)} cluster names")
    found: dict[int, Estimate] = {}
    for columns in _same_rows_present(table):
        block = table[:, columns]
        kept = ~np.isnan(block[:, 0])
        sums, counts = _per_cluster(
            block[kept], [c for c, k in zip(clusters, kept, strict=True) if k]
        )
        low, high = _interval(sums, counts, seed, confidence, resamples)
        for place, column in enumerate(columns):
            found[int(column)] = Estimate(
                value=_number(sums[:, place].sum() / counts.sum()) if len(counts) else None,
                low=_number(low[place]),
                high=_number(high[place]),
                n=int(counts.sum()),
                clusters=len(counts),
                seed=seed,
                confidence=confidence,
            )
    return [found[column] for column in range(table.shape[1])]


def mcnemar(repaired: int, broken: int) -> float | None:
    """Exact two-sided McNemar test that repairs and breakages are equally likely.

    It counts items, not clusters: with several languages per fact it is a little too sure, which
    is why gains carry a clustered interval as well.

    Args:
        repaired: items wrong before and right after.
        broken: items right before and wrong after.

    Returns:
        The p-value; None if nothing changed.
    """
    changed = repaired + broken
    return float(binomtest(repaired, changed, 0.5).pvalue) if changed else None


def _same_rows_present(table: Floats) -> list[NDArray[np.intp]]:
    """Groups of columns with the same missing rows (usually one group)."""
    if table.shape[1] == 0:
        return []
    _, group = np.unique(np.isnan(table), axis=1, return_inverse=True)
    return [np.flatnonzero(group.ravel() == number) for number in range(int(group.max()) + 1)]


def _per_cluster(block: Floats, clusters: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums, shape (clusters, k), and counts, shape (clusters,), of a block without gaps."""
    names, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    sums = np.zeros((len(names), block.shape[1]))
    np.add.at(sums, index, block)
    return sums, np.bincount(index, minlength=len(names)).astype(np.float64)


def _interval(
    sums: Floats, counts: Floats, seed: int, confidence: float, resamples: int
) -> tuple[Floats, Floats]:
    """Percentile interval of every column of `sums` over `counts`; NaN where there is none."""
    low = np.full(sums.shape[1], np.nan)
    high = low.copy()
    if len(counts) < 2:
        return low, high
    # A resample is how often each cluster was drawn, so its mean is a ratio of two products: the
    # same numbers as scipy.stats.bootstrap over clusters, for thousands of columns at once.
    draws = _draws(len(counts), seed, resamples)
    total = (draws @ counts)[:, None]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    for start in range(0, sums.shape[1], _COLUMNS_AT_ONCE):
        part = slice(start, start + _COLUMNS_AT_ONCE)
        low[part], high[part] = np.quantile(draws @ sums[:, part] / total, tails, axis=0)
    flat = _is_flat(sums, counts)
    low[flat], high[flat] = np.nan, np.nan
    return low, high


@lru_cache(maxsize=8)
def _draws(clusters: int, seed: int, resamples: int) -> Floats:
    """How often each cluster is drawn in each resample, shape (resamples, clusters)."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    return drawn.astype(np.float64)


def _is_flat(sums: Floats, counts: Floats) -> NDArray[np.bool_]:
    """Columns in which every cluster has the same mean: resampling them says nothing."""
    flat: NDArray[np.bool_] = np.ptp(sums / counts[:, None], axis=0) < 1e-12
    return flat


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
