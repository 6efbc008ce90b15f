"""Which layers matter as source and as target, and how steady the grid and the picked pair are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.data import RunData, known_mean
from crosslatent.analysis.items import ALL, Mask
from crosslatent.analysis.picked import Picked
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, Floats, SplitHalf, split_half


@dataclass(frozen=True, slots=True)
class LayerGain:
    """One layer on one side of the grid.

    Attributes:
        mean: mean gain of its pairs.
        margin: its mean gain minus that of the other layers of the same side.
    """

    layer: int
    mean: Estimate
    margin: Estimate


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """Which layers matter as source and as target, over all languages.

    Attributes:
        split: the questions that it is of: those that gains are shown on, or ``all``.
        by_source, by_target: the layers that were run.
        effective_sources, effective_targets: number of layers that the gain is spread over:
            1 / sum of squared shares, where a layer's share is its mean gain out of the sum of the
            positive ones. None where no layer gains.
        source_share, target_share, rest_share: parts of the grid's variance that go with the
            source layer, with the target layer, and with neither (their interplay and noise). None
            where a pair was not run or all are alike.
    """

    component: Component
    split: str
    by_source: list[LayerGain]
    by_target: list[LayerGain]
    effective_sources: float | None
    effective_targets: float | None
    source_share: float | None
    target_share: float | None
    rest_share: float | None


@dataclass(frozen=True, slots=True)
class GridStability:
    """Does half of the facts rank the pairs by their gain as the other half does?"""

    component: Component
    halves: SplitHalf


@dataclass(frozen=True, slots=True)
class PickStability:
    """Does the same pair win when the facts that it was picked on are drawn again?

    Attributes:
        pair: the picked one, (source, target).
        share: resamples in which it wins; `same_source`, `same_target`: in which a pair with its
            source, or its target, does.
        winners: (source, target, share), the five most frequent ones.
    """

    component: Component
    split: str
    pair: tuple[int, int]
    share: float
    same_source: float
    same_target: float
    winners: list[tuple[int, int, float]]
    resamples: int
    n: int
    clusters: int
    seed: int


def layer_profile(
    data: RunData, component: Component, split: str | None = None
) -> LayerProfile | None:
    """The layers of a grid; None without gold answers or with a single layer.

    Over all languages, and over the questions of `split` (None = all).
    """
    mask = data.items.in_group(split)
    gains = data.gains(component)
    if data.n_layers < 2 or np.isnan(gains[mask]).all():
        return None
    sources, targets = (_layers(data, known_mean(gains, axis), mask) for axis in (2, 1))
    parts = _parts(known_mean(gains[mask], 0))
    return LayerProfile(
        component=component,
        split=split or ALL,
        by_source=sources,
        by_target=targets,
        effective_sources=_effective(sources),
        effective_targets=_effective(targets),
        source_share=parts[0],
        target_share=parts[1],
        rest_share=parts[2],
    )


def _layers(data: RunData, by_layer: Floats, mask: Mask) -> list[LayerGain]:
    """Mean and marginal gain of each layer that was run, from questions by layers."""
    means, margins = (
        data.means(values, mask, difference=True) for values in (by_layer, _over_others(by_layer))
    )
    return [
        LayerGain(layer, mean, margin)
        for layer, (mean, margin) in enumerate(zip(means, margins, strict=True))
        if mean.n
    ]


def _over_others(by_layer: Floats) -> Floats:
    """Each layer minus the mean of the question's other layers; NaN without others."""
    counts = (~np.isnan(by_layer)).sum(axis=1, keepdims=True) - 1
    others = (np.nansum(by_layer, axis=1, keepdims=True) - by_layer) / np.maximum(counts, 1)
    return np.where(counts > 0, by_layer - others, np.nan)


def _effective(layers: list[LayerGain]) -> float | None:
    """Number of layers that the gain is spread over (inverse Simpson index)."""
    gains = np.array([max(layer.mean.value or 0.0, 0.0) for layer in layers])
    if not gains.sum():
        return None
    shares = gains / gains.sum()
    return float(1 / (shares**2).sum())


def _parts(grid: Floats) -> tuple[float | None, float | None, float | None]:
    """Parts of a full grid's variance: rows, columns, rest (two-way, without replication)."""
    grid = grid[~np.isnan(grid).all(axis=1)][:, ~np.isnan(grid).all(axis=0)]
    whole = float(((grid - grid.mean()) ** 2).sum()) if grid.size else 0.0
    if np.isnan(whole) or whole < 1e-12 or min(grid.shape) < 2:
        return None, None, None
    rows = grid.shape[1] * float(((grid.mean(axis=1) - grid.mean()) ** 2).sum()) / whole
    columns = grid.shape[0] * float(((grid.mean(axis=0) - grid.mean()) ** 2).sum()) / whole
    return rows, columns, max(1 - rows - columns, 0.0)


RESAMPLES = 2_000

WINNERS = 5


def grid_stability(data: RunData, component: Component) -> GridStability | None:
    """The grid of gains from either of two random halves of the facts; None without gold answers.

    Half the facts make a noisier grid than all do, so the grid itself is steadier than this.
    """
    gains = data.gains(component)
    if np.isnan(gains).all():
        return None
    return GridStability(component, split_half(gains, data.items.cluster.tolist(), seed=data.seed))


def pick_stability(data: RunData, pick: Picked) -> PickStability | None:
    """How often the pooled pair wins when the facts it was picked on are drawn again."""
    choice = pick.choices[ALL]
    mask = data.items.in_group(choice.split)
    correct = data.true_cube(pick.component)
    sums, counts = _per_cluster(data, correct, mask)
    if len(sums) < 2:
        return None
    ties = _per_cluster(data, data.true_cube(pick.component, "gold_logprob"), mask)
    winners = _winners(sums, counts, ties, np.random.default_rng(data.seed))
    pairs = [divmod(int(place), data.n_layers) for place in winners]
    often = Counter(pairs).most_common(WINNERS)
    return PickStability(
        component=pick.component,
        split=choice.split,
        pair=choice.pair,
        share=fmean(pair == choice.pair for pair in pairs),
        same_source=fmean(pair[0] == choice.source for pair in pairs),
        same_target=fmean(pair[1] == choice.target for pair in pairs),
        winners=[(*pair, count / len(pairs)) for pair, count in often],
        resamples=len(pairs),
        n=choice.n,
        clusters=int(counts.any(axis=1).sum()),
        seed=data.seed,
    )


def _winners(
    sums: Floats, counts: Floats, ties: tuple[Floats, Floats], generator: np.random.Generator
) -> NDArray[np.intp]:
    """The winning cell of every resample: most right answers, then highest mean log-probability."""
    drawn = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    right, run = drawn @ sums, drawn @ counts
    known = drawn @ ties[1]
    logprobs = np.where(known > 0, (drawn @ ties[0]) / np.maximum(known, 1), -np.inf)
    # As in `pair_choice.best_pair`: only pairs that were run on the most questions compete.
    right = np.where(run == run.max(axis=1, keepdims=True), right, -1)
    best = right == right.max(axis=1, keepdims=True)
    cells = np.where(best, np.nan_to_num(logprobs, neginf=-1e9), -np.inf)
    return np.asarray(np.argmax(cells, axis=1), dtype=np.intp)


def _per_cluster(data: RunData, cube: Floats, kept: Mask) -> tuple[Floats, Floats]:
    """Sums and counts of every cell by cluster of the questions kept, shape (clusters, cells)."""
    table = cube[kept].reshape(int(kept.sum()), -1)
    names, index = np.unique(data.items.cluster[kept], return_inverse=True)
    sums, counts = np.zeros((2, len(names), table.shape[1]))
    np.add.at(sums, index, np.nan_to_num(table))
    np.add.at(counts, index, ~np.isnan(table))
    return sums, counts
