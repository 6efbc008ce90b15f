"""Other ways to answer, beside every pair of layers on the same questions (docs/methods.md 1.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crosslatent.analysis.data import Mask, RunData
from crosslatent.analysis.evidence import OtherWay
from crosslatent.analysis.results import ALL
from crosslatent.analysis.surer import best_margin, measured_by, surer
from crosslatent.core.specs import PRESETS, Component, TransplantSpec, resolve_layer
from crosslatent.stats import Floats, clustered_mean, paired_difference


def other_ways(data: RunData, tune: str, split: str | None, kind: str, seed: int) -> list[OtherWay]:
    """Every other way that the run has answers of.

    Args:
        data: the run.
        tune: the split that what is calibrated is calibrated on.
        split: the split to look at; None = all questions.
        kind: type of the task, which the paper's presets are for.
        seed: of the intervals.
    """
    mask = data.items.in_group(split) & ~np.isnan(data.items.vanilla)
    found = [
        _other(data, (name, pair), right, mask & ~np.isnan(right), split or ALL, seed)
        for name, pair, right in _ways(data, tune, split, kind)
    ]
    return [one for one in found if one is not None]


def _ways(
    data: RunData, tune: str, split: str | None, kind: str
) -> Iterator[tuple[str, tuple[Component, int, int] | None, Floats]]:
    yield "translate_test", None, data.items.translate_test
    yield "surer", None, surer(data)
    margin = best_margin(data, data.items.in_group(tune)) if split not in (None, tune) else None
    if margin is not None:
        yield "surer_calibrated", None, surer(data, margin)
    pair = preset_of(kind, data.n_layers)
    if pair is not None:
        cube = data.true_cube(pair.component)
        place = pair.component, pair.source, pair.target
        yield "preset", place, cube[:, pair.source, pair.target]


def preset_of(kind: str, n_layers: int) -> TransplantSpec | None:
    """The paper's pair for a type of task; None if it recommends none."""
    pair = PRESETS.get(kind)
    if pair is None or n_layers < 1:
        return None
    source = resolve_layer(pair.source, n_layers, "source")
    return TransplantSpec(pair.component, source, resolve_layer(pair.target, n_layers, "target"))


def _other(
    data: RunData,
    way: tuple[str, tuple[Component, int, int] | None],
    right: Floats,
    mask: Mask,
    split: str,
    seed: int,
) -> OtherWay | None:
    if not mask.any():
        return None
    clusters = data.items.clusters_of(mask)
    best = _best_pair(data, mask)
    true = None if best is None else data.true_cube(best[0])[mask, best[1], best[2]]
    return OtherWay(
        *(way[0], split, way[1]),
        accuracy=clustered_mean(right[mask], clusters, seed=seed),
        gain=paired_difference(right[mask], data.items.vanilla[mask], clusters, seed=seed),
        best=best,
        best_accuracy=None if true is None else clustered_mean(true, clusters, seed=seed),
        over_best=None
        if true is None
        else paired_difference(right[mask], true, clusters, seed=seed),
        measured_by=measured_by(data, mask) if way[0].startswith("surer") else {},
    )


def _best_pair(data: RunData, mask: Mask) -> tuple[Component, int, int] | None:
    """The first of the pairs that are right most often, of those run on all of the questions."""
    found: list[tuple[float, tuple[Component, int, int]]] = []
    for component in data.components:
        cube = data.true_cube(component)[mask]
        means = cube.mean(axis=0)
        if not np.isnan(means).all():
            source, target = np.unravel_index(int(np.nanargmax(means)), means.shape)
            place = component, int(source), int(target)
            found.append((float(means[source, target]), place))
    return max(found, key=lambda one: one[0])[1] if found else None
