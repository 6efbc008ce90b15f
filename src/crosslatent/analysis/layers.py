"""Which layers matter as source and as target: marginal gains, concentration, parts of variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.evidence import LayerGain, LayerProfile
from crosslatent.analysis.results import ALL
from crosslatent.core.specs import Component
from crosslatent.stats import Floats, clustered_means


def layer_profile(
    data: RunData, component: Component, seed: int, split: str | None = None
) -> LayerProfile | None:
    """The layers of a grid; None without gold answers or with a single layer.

    Over all languages, and over the questions of `split` (None = all).
    """
    mask = data.items.in_group(split)
    gains = data.true_cube(component)[mask] - data.items.vanilla[mask, None, None]
    if data.n_layers < 2 or np.isnan(gains).all():
        return None
    clusters = data.items.clusters_of(mask)
    sources = _layers(_means(gains, 2), clusters, seed)
    targets = _layers(_means(gains, 1), clusters, seed)
    parts = _parts(_means(gains.reshape(len(gains), -1), 0).reshape(gains.shape[1:]))
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


def _layers(by_layer: Floats, clusters: Sequence[str], seed: int) -> list[LayerGain]:
    """Mean and marginal gain of each layer that was run, from questions by layers."""
    means = clustered_means(by_layer, clusters, seed=seed, difference=True)
    margins = clustered_means(_over_others(by_layer), clusters, seed=seed, difference=True)
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


def _means(values: Floats, axis: int) -> Floats:
    """Mean of what is there along one axis; NaN where nothing is."""
    counts = (~np.isnan(values)).sum(axis=axis)
    return np.where(counts > 0, np.nansum(values, axis=axis) / np.maximum(counts, 1), np.nan)


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
