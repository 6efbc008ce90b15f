"""The instance-aware upper bound, and the same union for each control (docs/methods.md 1.3).

A union over many attempts rises by luck alone, so it is compared with the union over each control:
on the same questions, with the same pairs, so with the same number of attempts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crosslatent.analysis.data import (
    Arm,
    RunData,
    blind_arm,
    control_name,
    solved_by_any,
    strata_arms,
    weigh,
)
from crosslatent.analysis.headline import ALSO_BLIND, BLIND
from crosslatent.analysis.inference import Corrected, corrected
from crosslatent.analysis.items import Mask
from crosslatent.core.specs import IDENTITY_COMPONENTS, Component
from crosslatent.stats import (
    Estimate,
    Floats,
    PermutationTest,
    cluster_permutation,
    cluster_permutations,
)


@dataclass(frozen=True, slots=True)
class Versus:
    """True transplants, a control, and true minus control, on the same questions and attempts."""

    true: Estimate
    control: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class UpperBound:
    """Share of questions that any pair solves, for true transplants (XTransplant, upper bound).

    Attributes:
        splits: those that it covers: all of the run, or those that controls were run on.
        by_source: union over the targets of each source layer; `by_target` the other way round.
        vanilla: accuracy of the unmodified run on the same questions.
        attempts: pairs tried per question, fewest and most.
    """

    component: Component
    splits: list[str]
    vanilla: Estimate
    overall: Estimate
    by_source: list[Estimate]
    by_target: list[Estimate]
    by_language: dict[str, Estimate]
    attempts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class BoundVersus:
    """The upper bound beside one control: same questions, same pairs, same number of attempts."""

    component: Component
    control: str
    stratum: str | None
    attempts: tuple[int, int]
    overall: Versus
    by_source: list[Versus]
    by_target: list[Versus]
    by_language: dict[str, Versus]


@dataclass(frozen=True, slots=True)
class Rival:
    """The union over a control that knows nothing of the gold answer, beside the true one.

    Attributes:
        control: as `results.control_name` names it.
        difference: true minus control, on the same questions and pairs.
        test: permutation test that swaps true and control by cluster.
    """

    control: str
    true: Estimate
    union: Estimate
    difference: Estimate
    test: PermutationTest


@dataclass(frozen=True, slots=True)
class OverControls:
    """The upper bound minus the strongest control that knows nothing of the gold answer.

    The strongest is the one that leaves least: its difference is the smallest. True transplants
    must beat each control, so no correction for their number is due (intersection-union test).

    Attributes:
        p_value: the largest of the rivals' two-sided p-values.
        rivals: all of them, strongest first.
        not_run: controls of this kind that the run lacks.
    """

    component: Component
    strongest: Rival
    p_value: float | None
    rivals: list[Rival]
    not_run: list[str]


@dataclass(frozen=True, slots=True)
class LayerTest:
    """Union over the pairs of one layer, true against the strongest control.

    Attributes:
        side: ``source`` or ``target``: which of the two the layer is.
        test: permutation test by cluster, adjusted for all layers of both sides.
    """

    component: Component
    control: str
    side: str
    layer: int
    difference: Estimate
    test: Corrected


def upper_bound(data: RunData, component: Component) -> UpperBound | None:
    """Share of questions that any pair solves; None if no row has a gold answer.

    Where controls were run on some splits only, so is this: it is to be seen beside them.
    """
    items, splits = data.items, _splits(data, component)
    cube = true_cube(data, component)
    tried = ~np.isnan(cube)
    if not tried.any():
        return None
    unions = _unions(cube)
    columns = data.means(unions)
    return UpperBound(
        component=component,
        splits=[split for split in items.splits if split in splits],
        vanilla=data.mean(np.where(tried.any(axis=(1, 2)), items.vanilla, np.nan)),
        overall=columns[0],
        by_source=columns[1 : 1 + data.n_layers],
        by_target=columns[1 + data.n_layers :],
        by_language={lang: data.mean(unions[:, 0], mask) for lang, mask in languages(data)},
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
    return [*run, blind_arm(component)] if strata_arms(data, component) else run


def bound_versus(data: RunData, arm: Arm) -> BoundVersus | None:
    """The upper bound beside one control; None if no question has both."""
    sides = union_sides(data, arm)
    if np.isnan(sides.true).all() or not sides.attempts:
        return None
    columns = versus(data, sides.true, sides.control, None)
    return BoundVersus(
        component=arm.component,
        control=arm.control,
        stratum=arm.stratum,
        attempts=(sides.attempts[0], sides.attempts[-1]),
        overall=columns[0],
        by_source=columns[1 : 1 + data.n_layers],
        by_target=columns[1 + data.n_layers :],
        by_language={
            lang: versus(data, sides.true[:, :1], sides.control[:, :1], mask)[0]
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
    if arm == blind_arm(arm.component) and arm not in data.arms:
        return _blind_sides(data, arm.component)
    true, control = data.true_cube(arm.component), with_identities(data, arm)
    both = ~np.isnan(true) & ~np.isnan(control)
    attempts = _attempts(both) if both.any() else ()
    true, control = (_unions(np.where(both, cube, np.nan)) for cube in (true, control))
    return Sides(true, control, attempts)


def _blind_sides(data: RunData, component: Component) -> Sides:
    arms = strata_arms(data, component)
    sides = {stratum: union_sides(data, arm) for stratum, arm in arms.items()}
    # Both are weighted alike, so that a pair that one donor lacks is missing in both.
    true, control = (
        weigh(data.donor_shares, {name: getattr(side, field) for name, side in sides.items()})
        for field in ("true", "control")
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
    whole = solved_by_any(cube, (1, 2))[:, None]
    return np.hstack([whole, solved_by_any(cube, 2), solved_by_any(cube, 1)])


def versus(data: RunData, true: Floats, control: Floats, mask: Mask | None) -> list[Versus]:
    """True, control and their difference among the questions in `mask`, an entry a column.

    Both sides have the shape (items, columns), NaN where a question lacks either.
    """
    sides = [data.means(side, mask) for side in (true, control)]
    sides.append(data.means(true - control, mask, difference=True))
    return [Versus(*columns) for columns in zip(*sides, strict=True)]


def languages(data: RunData) -> list[tuple[str, Mask]]:
    """Each language with its questions."""
    return [(lang, data.items.in_group(lang=lang)) for lang in data.items.languages]


def _attempts(tried: Mask) -> tuple[int, int]:
    counts = tried.sum(axis=(1, 2))
    counts = counts[counts > 0]
    return int(counts.min()), int(counts.max())


def over_controls(data: RunData, component: Component) -> OverControls | None:
    """The headline of an upper bound; None if no control of this kind was run."""
    found = _rivals(data, component)
    if not found:
        return None
    rivals = [rival for rival, _ in found]
    p_values = [rival.test.p_two_sided for rival in rivals]
    # True transplants must beat every rival: the largest p-value is that of the whole claim, and
    # a test that is undefined because nothing differs cannot support it.
    known = [p for p in p_values if p is not None]
    return OverControls(
        component=component,
        strongest=rivals[0],
        p_value=max(known) if len(known) == len(p_values) else None,
        rivals=rivals,
        not_run=[name for name in BLIND if name not in {rival.control for rival in rivals}],
    )


def layer_tests(data: RunData, component: Component) -> list[LayerTest]:
    """Unions of every source and every target layer against the strongest control."""
    found = _rivals(data, component)
    if not found or data.n_layers < 2:
        return []
    strongest, sides = found[0]
    true, control = sides.true[:, 1:], sides.control[:, 1:]
    tests = cluster_permutations(true, control, data.items.cluster.tolist(), seed=data.seed)
    differences = data.means(true - control, difference=True)
    adjusted = corrected([test.p_two_sided for test in tests], f"{component} layers")
    layers = [(side, layer) for side in ("source", "target") for layer in range(data.n_layers)]
    return [
        LayerTest(component, strongest.control, *layer, difference, test)
        for layer, difference, test in zip(layers, differences, adjusted, strict=True)
        if difference.n
    ]


def _rivals(data: RunData, component: Component) -> list[tuple[Rival, Sides]]:
    """The controls that were run, the one that leaves least first; ties as they are listed."""
    arms = {control_name(arm.control, arm.stratum): arm for arm in controls(data, component)}
    said = data.spec.get("other_controls") or {}
    others = {name for name, what in said.items() if not what.get("knows_answer")}
    blind = [*BLIND, *ALSO_BLIND, *(name for name, arm in arms.items() if arm.control in others)]
    found = [_rival(data, name, arms[name]) for name in blind if name in arms]
    known = [one for one in found if one[0].difference.value is not None]
    return sorted(known, key=lambda one: one[0].difference.value or 0.0)


def _rival(data: RunData, name: str, arm: Arm) -> tuple[Rival, Sides]:
    sides = union_sides(data, arm)
    true, control = sides.true[:, 0], sides.control[:, 0]
    test = cluster_permutation(true, control, data.items.cluster.tolist(), seed=data.seed)
    (sizes,) = versus(data, sides.true[:, :1], sides.control[:, :1], None)
    return Rival(name, sizes.true, sizes.control, sizes.difference, test), sides
