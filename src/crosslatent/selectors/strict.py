"""Room that nothing but the true counterpart fills: what is left for a better choice of the pair.

A question is in it if some true pair solves it, and neither what was selected nor any pair of any
control does (docs/methods.md 6.1). Every stratum of the shuffled control that was run counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crosslatent.analysis.bounds import with_identities
from crosslatent.analysis.data import Arm, RunData, solved_by_any
from crosslatent.analysis.items import Mask
from crosslatent.core.specs import Component
from crosslatent.stats import Floats

CONTROLS = ("shuffled", "noise", "mean", "self")
"""Controls that know nothing of the answer; of the shuffled one, all strata together."""


def solved_by_controls(data: RunData, components: Sequence[Component]) -> dict[str, Floats]:
    """Which questions each control solves with any pair, out of those run as true transplants.

    Args:
        data: the run.
        components: what is transplanted.

    Returns:
        By control, shape (items,): 1 or 0; NaN where not all of the pairs were run. Controls that
        cover no question are left out.
    """
    found = {}
    for control in CONTROLS:
        solved, covered = np.zeros(len(data.items.ids), bool), np.ones(len(data.items.ids), bool)
        for component in components:
            wanted = ~np.isnan(data.true_cube(component))
            hit, there = _cells(data, component, control, wanted.shape)
            solved |= solved_by_any(np.where(wanted, hit, np.nan), (1, 2)) == 1
            covered &= (there | ~wanted).all(axis=(1, 2))
        if covered.any():
            found[control] = np.where(covered, solved.astype(np.float64), np.nan)
    return found


def _cells(
    data: RunData, component: Component, control: str, shape: tuple[int, ...]
) -> tuple[Mask, Mask]:
    """Solved by the control, and run with it, whatever its stratum; shape (items, N, N) each."""
    hit, there = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    arms: list[Arm] = [arm for arm in data.controls_of(component) if arm.control == control]
    for arm in arms:
        cube = with_identities(data, arm)
        hit |= cube == 1
        there |= ~np.isnan(cube)
    return hit, there


def room(bound: Floats, controls: Mapping[str, Floats]) -> Floats | None:
    """What some true pair solves and no pair of any control, shape (items,).

    Args:
        bound: solved by any true pair, shape (items,).
        controls: `solved_by_controls` of the same questions.

    Returns:
        1, 0, or NaN where a control was not run over the same pairs; None without any control.
    """
    if not controls:
        return None
    # The sum is NaN as soon as one of them is not known, even where another one solves it: else
    # questions that a control lacks would count only where they are outside the room.
    lucky = np.sum(list(controls.values()), axis=0)
    found: Floats = np.where(np.isnan(lucky), np.nan, bound * (lucky == 0))
    return found
