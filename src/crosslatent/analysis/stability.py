"""Would another sample of the same kind say the same? Halves, resamples, and repeated runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.across import Repeat
from crosslatent.analysis.data import RunData
from crosslatent.analysis.evidence import GridStability, PickStability
from crosslatent.analysis.results import ALL, Picked, RunSummary
from crosslatent.core.specs import Component
from crosslatent.stats import Floats, grid_correlation, split_half

RESAMPLES = 2_000
WINNERS = 5


def grid_stability(data: RunData, component: Component, seed: int) -> GridStability | None:
    """The grid of gains from either of two random halves of the facts; None without gold answers.

    Half the facts make a noisier grid than all do, so the grid itself is steadier than this.
    """
    gains = _gains(data, component)
    if np.isnan(gains).all():
        return None
    return GridStability(component, split_half(gains, data.items.cluster.tolist(), seed=seed))


def pick_stability(data: RunData, pick: Picked, seed: int) -> PickStability | None:
    """How often the pooled pair wins when the facts it was picked on are drawn again."""
    choice = pick.choices[ALL]
    mask = data.items.in_group(choice.split)
    correct = data.true_cube(pick.component)
    sums, counts = _per_cluster(data, correct, mask)
    if len(sums) < 2:
        return None
    ties = _per_cluster(data, data.true_cube(pick.component, "gold_logprob"), mask)
    winners = _winners(sums, counts, ties, seed)
    pairs = [divmod(int(place), data.n_layers) for place in winners]
    often = Counter(pairs).most_common(WINNERS)
    return PickStability(
        component=pick.component,
        split=choice.split,
        pair=choice.pair,
        share=_share([pair == choice.pair for pair in pairs]),
        same_source=_share([pair[0] == choice.source for pair in pairs]),
        same_target=_share([pair[1] == choice.target for pair in pairs]),
        winners=[(*pair, count / len(pairs)) for pair, count in often],
        resamples=len(pairs),
        n=choice.n,
        clusters=int(counts.any(axis=1).sum()),
        seed=seed,
    )


def _winners(
    sums: Floats, counts: Floats, ties: tuple[Floats, Floats], seed: int
) -> NDArray[np.intp]:
    """The winning cell of every resample: most right answers, then highest mean log-probability."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    right, run = drawn @ sums, drawn @ counts
    known = drawn @ ties[1]
    logprobs = np.where(known > 0, (drawn @ ties[0]) / np.maximum(known, 1), -np.inf)
    # As in `analysis.select.best_pair`: only pairs that were run on the most questions compete.
    right = np.where(run == run.max(axis=1, keepdims=True), right, -1)
    best = right == right.max(axis=1, keepdims=True)
    cells = np.where(best, np.nan_to_num(logprobs, neginf=-1e9), -np.inf)
    return np.asarray(np.argmax(cells, axis=1), dtype=np.intp)


class Opened(NamedTuple):
    """A run folder that is open, and its summary."""

    data: RunData
    run: RunSummary


def repeats(runs: Sequence[Opened], seed: int) -> list[Repeat]:
    """Every two runs of the same task on the same model, component by component."""
    return [
        _repeat(one, other, component, seed)
        for one, other in combinations(runs, 2)
        if _identity(one.run) == _identity(other.run)
        for component in one.run.components
        if component in other.run.components
    ]


def _identity(run: RunSummary) -> tuple[str, str, int]:
    return run.task, run.model, run.n_layers


def _repeat(one: Opened, other: Opened, component: Component, seed: int) -> Repeat:
    places = {item: place for place, item in enumerate(other.data.items.ids)}
    shared = [item in places for item in one.data.items.ids]
    order = [places[item] for item in one.data.items.ids if item in places]
    grids = _gains(one.data, component)[shared], _gains(other.data, component)[order]
    clusters: list[str] = one.data.items.cluster[shared].tolist()
    gap = np.abs(_means(grids[0]) - _means(grids[1]))
    return Repeat(
        task=one.run.task,
        runs=(one.run.name, other.run.name),
        component=component,
        differs=_differs(one.run, other.run),
        agreement=grid_correlation(*grids, clusters, seed=seed),
        largest=None if np.isnan(gap).all() else float(np.nanmax(gap)),
        picked=_picked(one.run, other.run, component),
    )


def _gains(data: RunData, component: Component) -> Floats:
    return data.true_cube(component) - data.items.vanilla[:, None, None]


def _means(cube: Floats) -> Floats:
    """Mean of every cell over the questions that have it; NaN where none has."""
    counts = (~np.isnan(cube)).sum(axis=0)
    return np.where(counts > 0, np.nansum(cube, axis=0) / np.maximum(counts, 1), np.nan)


def _differs(one: RunSummary, other: RunSummary) -> str:
    """The settings that are not the same, in words."""
    names = ("run_seed", "positions", "strength", "rule")
    found = [
        f"{name.removeprefix('run_')} {getattr(one, name)} and {getattr(other, name)}"
        for name in names
        if getattr(one, name) != getattr(other, name)
    ]
    if one.coverage.items != other.coverage.items:
        found.append(f"{one.coverage.items} and {other.coverage.items} questions")
    return ", ".join(found)


def _picked(
    one: RunSummary, other: RunSummary, component: Component
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    pairs = [
        pick.choices[ALL].pair
        for run in (one, other)
        for pick in run.picked
        if (pick.component, pick.pooling) == (component, "pooled")
    ]
    return (pairs[0], pairs[1]) if len(pairs) == 2 else None


def _per_cluster(data: RunData, cube: Floats, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Sums and counts of every cell by cluster of the questions kept, shape (clusters, cells)."""
    table = cube[kept].reshape(int(kept.sum()), -1)
    names, index = np.unique(data.items.cluster[kept], return_inverse=True)
    sums, counts = np.zeros((2, len(names), table.shape[1]))
    np.add.at(sums, index, np.nan_to_num(table))
    np.add.at(counts, index, ~np.isnan(table))
    return sums, counts


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)
