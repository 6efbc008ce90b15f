"""The instance-aware upper bound, and the same union for each control (docs/methods.md 1.3).

A union over many attempts rises by luck alone, so it is compared with the union over each control:
on the same questions, with the same pairs, so with the same number of attempts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crosslatent.analysis import any_donor
from crosslatent.analysis.data import Arm, Mask, RunData
from crosslatent.analysis.unions import BoundVersus, UpperBound, Versus
from crosslatent.core.specs import IDENTITY_COMPONENTS, Component
from crosslatent.stats import Floats, clustered_mean, clustered_means


def upper_bound(data: RunData, component: Component, seed: int) -> UpperBound | None:
    """Share of questions that any pair solves; None if no row has a gold answer.

    Where controls were run on some splits only, so is this: it is to be seen beside them.
    """
    items = data.items
    splits = _splits(data, component)
    cube = true_cube(data, component)
    tried = ~np.isnan(cube)
    if not tried.any():
        return None
    unions = _unions(cube)
    columns = clustered_means(unions, items.cluster.tolist(), seed=seed)
    covered = tried.any(axis=(1, 2))
    vanilla = clustered_mean(
        np.where(covered, items.vanilla, np.nan), items.cluster.tolist(), seed=seed
    )
    return UpperBound(
        component=component,
        splits=[split for split in items.splits if split in splits],
        vanilla=vanilla,
        overall=columns[0],
        by_source=columns[1 : 1 + data.n_layers],
        by_target=columns[1 + data.n_layers :],
        by_language={
            lang: clustered_mean(unions[mask, 0], items.clusters_of(mask), seed=seed)
            for lang, mask in languages(data)
        },
        attempts=_attempts(tried),
    )


def _splits(data: RunData, component: Component) -> list[str]:
    """Those that controls were run on, or all."""
    found = data.splits_of(data.controls_of(component))
    return found or sorted(set(data.items.split.tolist()))


def true_cube(data: RunData, component: Component) -> Floats:
    """Cube of the true transplants on the questions that the upper bound is of, NaN elsewhere."""
    cube = data.true_cube(component).copy()
    cube[~np.isin(data.items.split, _splits(data, component))] = np.nan
    return cube


def controls(data: RunData, component: Component) -> list[Arm]:
    """The controls of a component that a union is compared with, the computed blind donor last."""
    run = data.controls_of(component)
    return [*run, any_donor.blind_arm(component)] if any_donor.strata_arms(data, component) else run


def bound_versus(data: RunData, arm: Arm, seed: int) -> BoundVersus | None:
    """The upper bound beside one control; None if no question has both."""
    sides = union_sides(data, arm)
    if np.isnan(sides.true).all() or not sides.attempts:
        return None
    pair = sides.true, sides.control
    everyone = np.ones(len(sides.true), dtype=np.bool_)
    columns = versus(data, pair, everyone, seed)
    return BoundVersus(
        component=arm.component,
        control=arm.control,
        stratum=arm.stratum,
        attempts=(sides.attempts[0], sides.attempts[-1]),
        overall=columns[0],
        by_source=columns[1 : 1 + data.n_layers],
        by_target=columns[1 + data.n_layers :],
        by_language={
            lang: versus(data, (pair[0][:, :1], pair[1][:, :1]), mask, seed)[0]
            for lang, mask in languages(data)
        },
    )


class Sides(NamedTuple):
    """Unions of true transplants and of a control, over the same questions and pairs.

    Attributes:
        true, control: solved by any pair, by any of each source, by any of each target: shape
            (items, 1 + 2 N); NaN where nothing was tried. A blind donor's are between 0 and 1.
        attempts: pairs tried per question, fewest and most; empty if there are none.
    """

    true: Floats
    control: Floats
    attempts: tuple[int, ...]


def union_sides(data: RunData, arm: Arm) -> Sides:
    """Both sides of the comparison of an upper bound with one control."""
    if arm == any_donor.blind_arm(arm.component) and arm not in data.arms:
        return _blind_sides(data, arm.component)
    true, control = data.true_cube(arm.component), with_identities(data, arm)
    both = ~np.isnan(true) & ~np.isnan(control)
    attempts = _attempts(both) if both.any() else ()
    true, control = (_unions(np.where(both, cube, np.nan)) for cube in (true, control))
    return Sides(true, control, attempts)


def _blind_sides(data: RunData, component: Component) -> Sides:
    arms = any_donor.strata_arms(data, component)
    sides = {stratum: union_sides(data, arm) for stratum, arm in arms.items()}
    # Both are weighted alike, so that a pair that one donor lacks is missing in both.
    true, control = (
        any_donor.weigh(data.donor_shares, values)
        for values in (
            {name: side.true for name, side in sides.items()},
            {name: side.control for name, side in sides.items()},
        )
    )
    tries = [number for side in sides.values() for number in side.attempts]
    return Sides(true, control, (min(tries), max(tries)) if tries else ())


def with_identities(data: RunData, arm: Arm) -> Floats:
    """The cube of a control; in that of ``self``, identities count as the unmodified answer.

    A vector of the prompt itself changes nothing at source = target (but for `attn_residual`). Such
    a cell counts, whether it was run or not: without it, the true transplant at the same pair would
    not be compared either, and that may be the pair that works.

    Returns:
        Shape (items, sources, targets).
    """
    cube = data.cube(arm)
    if arm.control != "self" or arm.component not in IDENTITY_COMPONENTS:
        return cube
    asked = ~np.isnan(cube).all(axis=(1, 2))
    known = asked & ~np.isnan(data.items.vanilla)
    identities = np.eye(cube.shape[1], dtype=np.bool_) & known[:, None, None]
    return np.where(identities, data.items.vanilla[:, None, None], cube)


def _unions(cube: Floats) -> Floats:
    """Solved by any pair, by any of each source, by any of each target: (items, 1 + 2 N)."""
    return np.hstack([any_of(cube, (1, 2))[:, None], any_of(cube, 2), any_of(cube, 1)])


def any_of(cube: Floats, axis: int | tuple[int, ...]) -> Floats:
    """1 if any cell is 1, 0 if none is, NaN if all cells are missing."""
    solved = (cube == 1).any(axis=axis).astype(np.float64)
    return np.where(np.isnan(cube).all(axis=axis), np.nan, solved)


def versus(data: RunData, pair: tuple[Floats, Floats], mask: Mask, seed: int) -> list[Versus]:
    """True, control and their difference among some questions, an entry a column.

    Args:
        data: the run.
        pair: both sides, shape (items, columns) each; NaN where a question lacks either.
        mask: the questions.
        seed: of the intervals.
    """
    clusters = data.items.clusters_of(mask)
    true, control = pair[0][mask], pair[1][mask]
    sides = [clustered_means(side, clusters, seed=seed) for side in (true, control)]
    sides.append(clustered_means(true - control, clusters, seed=seed, difference=True))
    return [Versus(*columns) for columns in zip(*sides, strict=True)]


def languages(data: RunData) -> list[tuple[str, Mask]]:
    """Each language with its questions."""
    return [(lang, data.items.in_group(lang=lang)) for lang in data.items.languages]


def _attempts(tried: Mask) -> tuple[int, int]:
    counts = tried.sum(axis=(1, 2))
    counts = counts[counts > 0]
    return int(counts.min()), int(counts.max())
