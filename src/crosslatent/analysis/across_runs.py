"""Results over several runs: attention against feed-forward, and repeated runs.

"Attention for understanding, feed-forward for culture" is what the presets of XTransplant
(arXiv 2412.12686 v2) say. What counts as confirmed or refuted is fixed here, before any figure is
seen: docs/methods.md 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from crosslatent.analysis.data import RunData, known_mean
from crosslatent.analysis.inference import LEVEL, Corrected, corrected, uncorrected, within
from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import Picked, at_pairs, pairs_of_items
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component
from crosslatent.stats import (
    Estimate,
    Floats,
    GridCorrelation,
    cluster_permutation,
    clustered_mean,
    grid_correlation,
    paired_difference,
)


@dataclass(frozen=True, slots=True)
class ModuleMeasure:
    """Attention minus feed-forward, by one measure.

    Attributes:
        measure: ``all_pairs`` = mean gain over the pairs that both were run at; ``picked_pair`` =
            gain at each one's own picked pair, on the splits that it was not picked on.
        margin: a difference below it, either way, is called none.
        test: permutation test by cluster, adjusted for all measures of the claim.
        outcome: for, against, equal or unclear: what it says of the component that is predicted.
    """

    measure: str
    attn: Estimate
    ffn: Estimate
    difference: Estimate
    margin: float
    test: Corrected
    outcome: str


@dataclass(frozen=True, slots=True)
class ModuleHalf:
    """The part of the claim about one type of task.

    Attributes:
        predicted: the component that is claimed to be the better one.
        runs: names of the runs it is judged on.
        verdict: confirmed, refuted or undecided.
    """

    type: str
    predicted: Component
    runs: list[str]
    measures: list[ModuleMeasure]
    verdict: str


@dataclass(frozen=True, slots=True)
class ModuleClaim:
    """The claim "attention for understanding, feed-forward for culture" on these runs.

    Attributes:
        verdict: confirmed, refuted or undecided for this model.
        missing: what it would take to judge the rest, in sentences.
    """

    claim: str
    models: list[str]
    halves: list[ModuleHalf]
    verdict: str
    missing: list[str]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Two runs of one task on one model, pair by pair.

    Attributes:
        differs: what is not the same in their settings, such as ``seed 0, 1``; empty = nothing.
        agreement: rank correlation of their grids of gains, on the questions of both.
        largest: largest difference between two cells of these grids.
        picked: the pairs picked in either run; None where none was.
    """

    task: str
    runs: tuple[str, str]
    component: Component
    differs: str
    agreement: GridCorrelation
    largest: float | None
    picked: tuple[tuple[int, int], tuple[int, int]] | None


CLAIM = "Attention for understanding, feed-forward for culture"

PREDICTED: Mapping[str, Component] = {"understanding": "attn", "culture": "ffn"}
"""Type of task -> the component that is claimed to be the better one."""

MARGINS = {"all_pairs": 0.01, "picked_pair": 0.05}
"""Differences below these shares are called none: one point of the mean over all pairs, of which
most do little, and five points of the gain at one pair, the least that an audience would notice."""

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"


@dataclass(frozen=True, slots=True)
class ModuleSample:
    """One run's gains, question by question.

    Attributes:
        gains: (attn, ffn) of every measure, each of shape (items,); NaN where either is missing.
        why_not: a sentence if the run cannot tell; then there are no gains.
    """

    run: str
    type: str
    model: str
    clusters: list[str]
    gains: Mapping[str, tuple[Floats, Floats]]
    why_not: str = ""


def module_sample(data: RunData, run: RunSummary) -> ModuleSample:
    """What one run contributes to the claim."""
    gains: dict[str, tuple[Floats, Floats]] = {}
    lacking = [name for name in ("attn", "ffn") if name not in data.components]
    why_not = f"no rows of {' and '.join(lacking)}" if lacking else ""
    if not lacking:
        gains = {"all_pairs": _over_pairs(data), "picked_pair": _at_picks(data, run.picked)}
        if np.isnan(gains["all_pairs"][0]).all():
            why_not = "no question with both components"
        elif np.isnan(gains["picked_pair"][0]).all():
            why_not = "no pair of both components picked on one split and tested"
    return ModuleSample(
        run.name,
        run.type,
        run.model,
        data.items.cluster.tolist(),
        {} if why_not else gains,
        why_not and f"The run {run.name} has {why_not}.",
    )


def judge_modules(samples: Sequence[ModuleSample], seed: int) -> ModuleClaim | None:
    """The claim on all runs together; runs of one type are pooled.

    Returns:
        None if no run is of a type that the claim is about.
    """
    if not any(one.type in PREDICTED for one in samples):
        return None
    usable = [one for one in samples if one.gains and one.type in PREDICTED]
    halves = [
        _half(kind, [one for one in usable if one.type == kind], seed)
        for kind in PREDICTED
        if any(one.type == kind for one in usable)
    ]
    halves = _adjusted(halves)
    missing = [one.why_not for one in samples if one.why_not and one.type in PREDICTED]
    found = {half.type for half in halves}
    missing += [
        f"No run of a task of the type {kind!r}." for kind in PREDICTED if kind not in found
    ]
    models = list(dict.fromkeys(one.model for one in usable))
    if len(models) > 1:
        missing.append("The runs are of several models: the claim is about one.")
    return ModuleClaim(
        claim=CLAIM,
        models=models,
        halves=halves,
        verdict=_verdict(halves, len(models)),
        missing=missing,
    )


def _verdict(halves: Sequence[ModuleHalf], models: int) -> str:
    """Both halves must hold for the claim to hold; one that fails is enough to refute it."""
    if models != 1:
        return UNDECIDED
    if any(half.verdict == REFUTED for half in halves):
        return REFUTED
    whole = {half.type for half in halves} == set(PREDICTED)
    confirmed = all(half.verdict == CONFIRMED for half in halves)
    return CONFIRMED if whole and confirmed else UNDECIDED


def _half(kind: str, samples: Sequence[ModuleSample], seed: int) -> ModuleHalf:
    # A cluster is a cluster of its run's task: names may be the same in another one.
    clusters = [f"{one.run} {name}" for one in samples for name in one.clusters]
    measures = []
    for name, margin in MARGINS.items():
        attn, ffn = (np.concatenate([one.gains[name][side] for one in samples]) for side in (0, 1))
        measures.append(
            ModuleMeasure(
                measure=name,
                attn=clustered_mean(attn, clusters, seed=seed, difference=True),
                ffn=clustered_mean(ffn, clusters, seed=seed, difference=True),
                difference=paired_difference(attn, ffn, clusters, seed=seed),
                margin=margin,
                test=uncorrected(cluster_permutation(attn, ffn, clusters, seed=seed).p_two_sided),
                outcome="unclear",
            )
        )
    return ModuleHalf(kind, PREDICTED[kind], [one.run for one in samples], measures, UNDECIDED)


def _adjusted(halves: Sequence[ModuleHalf]) -> list[ModuleHalf]:
    """The halves with their p-values adjusted for all measures, and so with their verdicts."""
    every = [measure for half in halves for measure in half.measures]
    tests = iter(corrected([measure.test.p_value for measure in every], "measures of the claim"))
    found = []
    for half in halves:
        measures = [replace(measure, test=next(tests)) for measure in half.measures]
        measures = [replace(one, outcome=_outcome(one, half.predicted)) for one in measures]
        verdict = _half_verdict([measure.outcome for measure in measures])
        found.append(replace(half, measures=measures, verdict=verdict))
    return found


def _outcome(measure: ModuleMeasure, predicted: Component) -> str:
    gap = measure.difference
    significant = measure.test.holm is not None and measure.test.holm < LEVEL
    if within(gap, measure.margin):
        return "equal"
    if significant and (gap.above_zero or gap.below_zero):
        return "for" if gap.above_zero == (predicted == "attn") else "against"
    return "unclear"


def _half_verdict(outcomes: Sequence[str]) -> str:
    if all(outcome == "for" for outcome in outcomes):
        return CONFIRMED
    if "for" in outcomes:
        return UNDECIDED
    opposed = "against" in outcomes or all(outcome == "equal" for outcome in outcomes)
    return REFUTED if opposed else UNDECIDED


def _over_pairs(data: RunData) -> tuple[Floats, Floats]:
    """Mean gain of each question over the pairs that it was run at with both components."""
    attn, ffn = data.true_cube("attn"), data.true_cube("ffn")
    missing = np.isnan(attn) | np.isnan(ffn)
    attn, ffn = (known_mean(np.where(missing, np.nan, cube), (1, 2)) for cube in (attn, ffn))
    return attn - data.items.vanilla, ffn - data.items.vanilla


def _at_picks(data: RunData, picks: Sequence[Picked]) -> tuple[Floats, Floats]:
    """Gain of each question at either component's own pooled pair, where it was not picked on."""
    nowhere = np.full(len(data.items.ids), np.nan)
    gains = {"attn": nowhere, "ffn": nowhere}
    for pick in picks:
        if pick.is_pooled and pick.component in gains:
            after = at_pairs(data.true_cube(pick.component), pairs_of_items(data, pick.choices))
            unseen = data.items.split != pick.choices[ALL].split
            gains[pick.component] = np.where(unseen, after - data.items.vanilla, np.nan)
    attn, ffn = gains["attn"], gains["ffn"]
    both = ~np.isnan(attn) & ~np.isnan(ffn)
    return np.where(both, attn, np.nan), np.where(both, ffn, np.nan)


class OpenedRun(NamedTuple):
    """A run folder that is open, and its summary."""

    data: RunData
    run: RunSummary


def repeats(runs: Sequence[OpenedRun], seed: int) -> list[Repeat]:
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


def _repeat(one: OpenedRun, other: OpenedRun, component: Component, seed: int) -> Repeat:
    places = {item: place for place, item in enumerate(other.data.items.ids)}
    shared = [item in places for item in one.data.items.ids]
    order = [places[item] for item in one.data.items.ids if item in places]
    grids = one.data.gains(component)[shared], other.data.gains(component)[order]
    clusters: list[str] = one.data.items.cluster[shared].tolist()
    gap = np.abs(known_mean(grids[0], 0) - known_mean(grids[1], 0))
    return Repeat(
        task=one.run.task,
        runs=(one.run.name, other.run.name),
        component=component,
        differs=_differs(one.run, other.run),
        agreement=grid_correlation(*grids, clusters, seed=seed),
        largest=None if np.isnan(gap).all() else float(np.nanmax(gap)),
        picked=_picked(one.run, other.run, component),
    )


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
        if pick.is_pooled and pick.component == component
    ]
    return (pairs[0], pairs[1]) if len(pairs) == 2 else None
