"""Do two layer grids rank the pairs alike, and would another half of the questions?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t

from crosslatent.stats.clusters import (
    Floats,
    by_item,
    check_lengths,
    cluster_draws,
    cluster_sums,
    number,
)
from crosslatent.stats.estimates import CONFIDENCE

RESAMPLES = 2_000
"""Enough for a standard error: its own error is then 1.6 %."""
SPLITS = 200
_AT_ONCE = 250
_DEFINED = 0.9
"""Share of resamples that must have a correlation for their spread to mean something."""


@dataclass(frozen=True, slots=True)
class GridCorrelation:
    """Spearman's rank correlation of two grids' cells.

    Attributes:
        value: from -1 to 1; None if fewer than three cells are in both, or a grid is constant.
        low, high: ends of the interval; None where it cannot be estimated.
        cells: compared: those with observations in both grids.
        n: items with observations in both grids; `clusters`: independent groups among them.
        seed: of the resampling; `resamples`: how many.
    """

    value: float | None
    low: float | None
    high: float | None
    cells: int
    n: int
    clusters: int
    seed: int
    resamples: int
    method: str = "Fisher z with clustered bootstrap standard error"
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class SplitHalf:
    """Rank correlation of a grid from one random half of the clusters with that from the other.

    Attributes:
        value: mean over the splits; None with fewer than four clusters or without variation.
        low, high: the middle 95 % of the splits: how much chance of the split there is, not a
            confidence interval.
        full: what `value` means for the grid of all clusters: 2 r / (1 + r) (Spearman 1910, Brown
            1910); None where r is not above -1 or undefined.
        cells: with observations.
        n: items with observations; `clusters`: groups among them.
        seed: of the splits; `splits`: how many.
    """

    value: float | None
    low: float | None
    high: float | None
    full: float | None
    cells: int
    n: int
    clusters: int
    seed: int
    splits: int
    method: str = "mean Spearman correlation of random halves of the clusters"


def grid_correlation(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> GridCorrelation:
    """Do two grids of the same items, such as two sweeps or components, rank their cells alike?

    A grid is the mean over items. The interval redraws clusters, for both grids the same ones, and
    takes the spread of the redrawn correlations on Fisher's z scale, with a t quantile:
    tanh(artanh(r) -+ t sd(artanh(r*))). Their quantiles would not do: a redrawn grid carries the
    noise twice, so redrawn correlations lie below the observed one. What is estimated is the
    agreement of grids from that many items; noise in the cells lowers it (see `split_half`). In
    simulations with 30 to 145 clusters and 64 cells, 92 to 94 % of the 95 % intervals covered it.

    Args:
        first: values by item and cell, shape (n, ...); NaN = missing.
        second: the other values, same shape.
        clusters: the cluster of each item, length n.
        seed: of the random draws.
        confidence: coverage of the interval.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: the shapes or lengths differ.
    """
    cubes = [np.asarray(cube, dtype=np.float64) for cube in (first, second)]
    if cubes[0].shape != cubes[1].shape:
        raise ValueError(f"grids have shapes {cubes[0].shape} and {cubes[1].shape}")
    check_lengths(len(cubes[0]), clusters)
    grids = [by_item(cube) for cube in cubes]
    seen = _observed(grids[0]) & _observed(grids[1])
    sides = [_Summed(grid, clusters, seen) for grid in grids]
    found = sides[0].clusters
    means = [side.means(np.ones((1, found))) for side in sides]
    value = number(_spearman(means[0], means[1])[0])
    low, high = _fisher_interval(value, sides, seed, confidence, resamples)
    return GridCorrelation(
        value=value,
        low=low,
        high=high,
        cells=int((~np.isnan(means[0]) & ~np.isnan(means[1])).sum()),
        n=int(seen.sum()),
        clusters=found,
        seed=seed,
        resamples=resamples,
        confidence=confidence,
    )


def split_half(
    cube: ArrayLike, clusters: Sequence[str], *, seed: int = 0, splits: int = SPLITS
) -> SplitHalf:
    """Does half of the clusters rank a grid's cells as the other half does?

    Args:
        cube: values by item and cell, shape (n, ...); NaN = missing.
        clusters: the cluster of each item, length n: a cluster is never divided.
        seed: of the random halves; with an odd number of clusters the second half is larger by one.
        splits: number of random divisions.

    Raises:
        ValueError: the lengths differ.
    """
    grid = by_item(np.asarray(cube, dtype=np.float64))
    check_lengths(len(grid), clusters)
    seen = _observed(grid)
    side = _Summed(grid, clusters, seen)
    found = np.full(splits, np.nan)
    if side.clusters >= 4:
        halves = _halves(side.clusters, seed, splits)
        found = _spearman(side.means(halves), side.means(1 - halves))
    defined = found[~np.isnan(found)]
    enough = len(defined) >= max(_DEFINED * splits, 1)
    value = float(defined.mean()) if enough else None
    low, high = np.quantile(defined, [0.025, 0.975]).tolist() if enough else (None, None)
    return SplitHalf(
        value=value,
        low=low,
        high=high,
        full=2 * value / (1 + value) if value is not None and value > -1 else None,
        cells=int((~np.isnan(grid)).any(axis=0).sum()),
        n=int(seen.sum()),
        clusters=side.clusters,
        seed=seed,
        splits=splits,
    )


class _Summed:
    """A cube summed by cluster: grids of any weighting of the clusters are matrix products.

    Args:
        flat: values by item and cell, shape (n, cells).
        clusters: of the items.
        seen: the items that count, shape (n,).
    """

    def __init__(self, flat: Floats, clusters: Sequence[str], seen: NDArray[np.bool_]) -> None:
        names = [name for name, there in zip(clusters, seen, strict=True) if there]
        there = ~np.isnan(flat[seen])
        self._sums = cluster_sums(np.where(there, flat[seen], 0), names)
        self._counts = cluster_sums(there.astype(np.float64), names)
        self.clusters = len(self._sums)

    def means(self, weights: Floats) -> Floats:
        """Grids, shape (w, cells), of weights of shape (w, clusters); NaN without observations."""
        counts = weights @ self._counts
        means = weights @ self._sums / np.where(counts > 0, counts, np.nan)
        # Products round differently from row to row, and must not break ties between cells.
        return np.asarray(np.round(means, 10), dtype=np.float64)


def _fisher_interval(
    value: float | None, sides: Sequence[_Summed], seed: int, confidence: float, resamples: int
) -> tuple[float | None, float | None]:
    clusters = sides[0].clusters
    if value is None or abs(value) >= 1 or clusters < 2:
        return None, None
    draws = cluster_draws(clusters, seed, resamples)
    parts = np.split(draws, range(_AT_ONCE, resamples, _AT_ONCE))
    found = np.concatenate([_spearman(*(side.means(part) for side in sides)) for part in parts])
    found = found[~np.isnan(found)]
    if len(found) < _DEFINED * resamples:
        return None, None
    # A redrawn correlation of exactly 1 has no finite z.
    spread = np.arctanh(np.clip(found, -0.999999, 0.999999)).std(ddof=1)
    reach = float(t.ppf((1 + confidence) / 2, clusters - 1) * spread)
    centre = float(np.arctanh(value))
    if reach == 0:
        return None, None
    return float(np.tanh(centre - reach)), float(np.tanh(centre + reach))


def _spearman(first: Floats, second: Floats) -> Floats:
    """Row by row, over the cells that both rows have; NaN with fewer than three or none varying."""
    gap: NDArray[np.bool_] = np.isnan(first + second)
    ranks = [
        rankdata(np.where(gap, np.nan, grid), axis=1, nan_policy="omit") for grid in (first, second)
    ]
    centred = [_centred(side, gap) for side in ranks]
    product = (centred[0] * centred[1]).sum(axis=1)
    scale = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    defined = ((~gap).sum(axis=1) >= 3) & (scale > 0)
    found = np.where(defined, product / np.where(defined, scale, 1), np.nan)
    return np.asarray(np.clip(found, -1, 1), dtype=np.float64)


def _centred(ranks: Floats, gap: NDArray[np.bool_]) -> Floats:
    """Ranks minus their row's mean; 0 in gaps, which then add nothing to any product."""
    counts = np.maximum((~gap).sum(axis=1, keepdims=True), 1)
    mean = np.where(gap, 0, ranks).sum(axis=1, keepdims=True) / counts
    return np.where(gap, 0, ranks - mean)


def _halves(clusters: int, seed: int, splits: int) -> Floats:
    """Which clusters are in the first half, shape (splits, clusters): 1 or 0."""
    half = np.zeros((splits, clusters))
    half[:, : clusters // 2] = 1
    return np.random.default_rng(seed).permuted(half, axis=1)


def _observed(flat: Floats) -> NDArray[np.bool_]:
    """Items with any observation, shape (n,)."""
    return np.asarray((~np.isnan(flat)).any(axis=1), dtype=np.bool_)
