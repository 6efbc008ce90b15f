"""The upper bound against the strongest control that knows nothing of the answer."""

from __future__ import annotations

from typing import NamedTuple

from crosslatent.analysis import bounds
from crosslatent.analysis.data import Arm, RunData
from crosslatent.analysis.evidence import LayerTest, OverControls, Rival
from crosslatent.analysis.inference import corrected
from crosslatent.analysis.results import control_name
from crosslatent.core.specs import Component
from crosslatent.stats import (
    cluster_permutation,
    cluster_permutations,
    clustered_mean,
    clustered_means,
    paired_difference,
)

BLIND = ("shuffled/any", "noise", "mean", "self")
"""Controls that know nothing of the gold answer: those that an upper bound has to beat. A donor
with the same answer brings the answer along, and a paraphrase the question: they tell what is
carried, and are no rivals. Controls of other packages come after these, unless they say that they
know the answer."""


class _Measured(NamedTuple):
    arm: Arm
    rival: Rival


def over_controls(data: RunData, component: Component, seed: int) -> OverControls | None:
    """The headline of an upper bound; None if no control of this kind was run."""
    found = _rivals(data, component, seed)
    if not found:
        return None
    p_values = [one.rival.test.p_two_sided for one in found]
    # True transplants must beat every rival: the largest p-value is that of the whole claim, and
    # a test that is undefined because nothing differs cannot support it.
    known = [p for p in p_values if p is not None]
    return OverControls(
        component=component,
        strongest=found[0].rival,
        p_value=max(known) if len(known) == len(p_values) else None,
        rivals=[one.rival for one in found],
        not_run=[name for name in BLIND if name not in {one.rival.control for one in found}],
    )


def layer_tests(data: RunData, component: Component, seed: int) -> list[LayerTest]:
    """Unions of every source and every target layer against the strongest control."""
    found = _rivals(data, component, seed)
    if not found or data.n_layers < 2:
        return []
    sides = bounds.union_sides(data, found[0].arm)
    clusters: list[str] = data.items.cluster.tolist()
    true, control = sides.true[:, 1:], sides.control[:, 1:]
    tests = cluster_permutations(true, control, clusters, seed=seed)
    differences = clustered_means(true - control, clusters, seed=seed, difference=True)
    adjusted = corrected([test.p_two_sided for test in tests], f"{component} layers")
    layers = [(side, layer) for side in ("source", "target") for layer in range(data.n_layers)]
    tested = [
        LayerTest(
            component=component,
            control=found[0].rival.control,
            side=side,
            layer=layer,
            difference=difference,
            test=test,
        )
        for (side, layer), difference, test in zip(layers, differences, adjusted, strict=True)
    ]
    return [test for test in tested if test.difference.n]


def _rivals(data: RunData, component: Component, seed: int) -> list[_Measured]:
    """The controls that were run, the one that leaves least first; ties as they are listed."""
    arms = {control_name(arm.control, arm.stratum): arm for arm in bounds.controls(data, component)}
    others = _blind_others(data)
    blind = [*BLIND, *(name for name, arm in arms.items() if arm.control in others)]
    found = [_measure(data, arms[name], seed) for name in blind if name in arms]
    known = [one for one in found if one.rival.difference.value is not None]
    return sorted(known, key=lambda one: one.rival.difference.value or 0.0)


def _blind_others(data: RunData) -> set[str]:
    """Controls of other packages that know nothing of the gold answer."""
    others = (data.manifest.get("spec") or {}).get("other_controls") or {}
    return {name for name, said in others.items() if not said.get("knows_answer")}


def _measure(data: RunData, arm: Arm, seed: int) -> _Measured:
    sides = bounds.union_sides(data, arm)
    true, control = sides.true[:, 0], sides.control[:, 0]
    clusters: list[str] = data.items.cluster.tolist()
    rival = Rival(
        control=control_name(arm.control, arm.stratum),
        true=clustered_mean(true, clusters, seed=seed),
        union=clustered_mean(control, clusters, seed=seed),
        difference=paired_difference(true, control, clusters, seed=seed),
        test=cluster_permutation(true, control, clusters, seed=seed),
    )
    return _Measured(arm, rival)
