"""Paired differences of two runs, the second minus the first, question by question.

So what is hard for both runs cancels out (docs/methods.md 5.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from crosslatent.analysis import bounds
from crosslatent.analysis.accuracy import Matrix, matrix
from crosslatent.analysis.data import RunData, control_name, known_mean, solved_by_any
from crosslatent.analysis.headline import Headline, read_headline
from crosslatent.analysis.inference import LEVEL, Corrected, corrected, uncorrected, visible, within
from crosslatent.analysis.other_ways import surer
from crosslatent.analysis.pair_choice import pilot_pair
from crosslatent.analysis.picked import Pairs, at_pairs
from crosslatent.analysis.shared_questions import Places, SharedQuestions, same_model
from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import Component, Pair
from crosslatent.stats import (
    Estimate,
    Floats,
    cluster_permutation,
    clustered_mean,
    clustered_means,
    paired_difference,
)

MARGIN, MARGIN_OF_ALL_PAIRS = 0.05, 0.01
"""Differences below these shares do not matter: five points, and one point of the mean over all
pairs, of which most do little (as in `across_runs.MARGINS`)."""

MORE, LESS, SAME, UNDECIDED = "more", "less", "same", "undecided"


@dataclass(frozen=True, slots=True)
class RunDifference:
    """One figure of both runs on the same questions, and the second minus the first.

    Attributes:
        measure: accuracy, translate_test, surer: of the unmodified model; picked_accuracy,
            picked_pair: accuracy and gain at each run's own picked pair, on questions that neither
            pair was picked on; declared_accuracy, declared_pair: the same at the pair of the
            declared headline; all_pairs: mean gain over the pairs that both have; upper_bound:
            share of questions that any pair solves; over_control: that minus the same of each run's
            strongest control.
        component: None without a transplant.
        pairs: of either run; None without one, or where there are several.
        controls: of over_control, the strongest control of either run.
        by_language: the difference in each language, if there are several.
        margin: a difference below it, either way, does not matter.
        test: permutation test by cluster, adjusted for all figures of the comparison.
        visible: the smallest difference that such data show in 80 % of samples (`visible`).
        outcome: more (the second is higher), less, same (the interval lies within the margin), or
            undecided.
    """

    measure: str
    component: Component | None
    pairs: tuple[Pair, Pair] | None
    controls: tuple[str, str] | None
    first: Estimate
    second: Estimate
    difference: Estimate
    by_language: dict[str, Estimate]
    margin: float
    test: Corrected
    visible: float | None
    outcome: str

    @property
    def is_gain(self) -> bool:
        """Both sides are differences of shares, and no shares."""
        return self.measure in _GAINS


class DifferenceCell(NamedTuple):
    """A pair of a `DifferenceMap`: both gains, and the second minus the first."""

    source: int
    target: int
    first_gain: float | None
    second_gain: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True, slots=True)
class DifferenceMap:
    """Gain of the second run minus that of the first, pair by pair, [source][target].

    Attributes:
        difference: with its interval `low` to `high`; `first`, `second`: the gains. None where a
            run lacks the pair.
        n: shared questions that have any of the pairs in both runs, in `clusters` facts.
    """

    component: Component
    difference: Matrix
    low: Matrix
    high: Matrix
    first: Matrix
    second: Matrix
    n: int
    clusters: int
    seed: int

    @property
    def cells(self) -> list[DifferenceCell]:
        """The pairs that both have."""
        parts = (self.first, self.second, self.difference, self.low, self.high)
        pairs = np.ndindex(len(self.first), len(self.first))
        found = [DifferenceCell(s, t, *(part[s][t] for part in parts)) for s, t in pairs]
        return [cell for cell in found if cell.difference is not None]


_GAINS = frozenset({"picked_pair", "declared_pair", "all_pairs", "over_control"})


class RunSide(NamedTuple):
    """A run, and the places of the shared questions in it."""

    data: RunData
    places: Places

    @property
    def vanilla(self) -> Floats:
        """Right or wrong of the unmodified model, shape (shared,)."""
        return self.data.items.vanilla[self.places]

    def cube(self, component: Component) -> Floats:
        """`RunData.true_cube` of the shared questions."""
        return self.data.true_cube(component)[self.places]


RunSides = tuple[RunSide, RunSide]


class Pick(NamedTuple):
    """The pair of each shared question in one run, picked on other facts.

    Attributes:
        pairs: shape (shared, 2); -1 for questions that it was picked on.
        halves: no split to pick on, so that either half of the facts has the other's pair.
    """

    pairs: Pairs
    halves: bool

    @property
    def pair(self) -> Pair | None:
        """The one pair; None if there are several, or none."""
        found = np.unique(self.pairs[self.pairs[:, 0] >= 0], axis=0)
        return (int(found[0][0]), int(found[0][1])) if len(found) == 1 else None


Picks = dict[Component, tuple[Pick, Pick]]


class _Values(NamedTuple):
    """A figure of both runs, question by question."""

    measure: str
    component: Component | None
    sides: Sequence[Floats]
    pairs: tuple[Pair, Pair] | None = None
    controls: tuple[str, str] | None = None


def sides_of(first: RunData, second: RunData, shared: SharedQuestions) -> RunSides:
    """Both runs with the places of the shared questions."""
    return RunSide(first, shared.first), RunSide(second, shared.second)


def picks_of(sides: RunSides, shared: SharedQuestions, tune: str, seed: int) -> Picks:
    """By component of both, each run's own pair: picked on `tune`, or on halves of the facts."""
    first, second = (side.data.components for side in sides)
    return {
        component: (
            _pick(sides[0], component, shared.clusters, tune, seed),
            _pick(sides[1], component, shared.clusters, tune, seed),
        )
        for component in first
        if component in second
    }


def _pick(side: RunSide, component: Component, clusters: list[str], tune: str, seed: int) -> Pick:
    try:
        choice = pilot_pair(side.data.reader, component, tune)
    except RunFolderError:
        return Pick(_of_halves(side.cube(component), clusters, seed), halves=True)
    unseen = side.data.items.split[side.places] != choice.split
    return Pick(np.where(unseen[:, None], np.array(choice.pair), -1), halves=False)


def _of_halves(cube: Floats, clusters: list[str], seed: int) -> Pairs:
    """The best pair of one half of the facts for the questions of the other half."""
    names, numbers = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    half = (np.random.default_rng(seed).permutation(len(names)) % 2)[numbers]
    pairs = np.full((len(cube), 2), -1, dtype=np.int64)
    for own in (0, 1):
        means = known_mean(cube[half != own], 0)
        if not np.isnan(means).all():
            pairs[half == own] = np.unravel_index(int(np.nanargmax(means)), means.shape)
    return pairs


def differences(
    sides: RunSides, shared: SharedQuestions, picks: Picks, seed: int
) -> list[RunDifference]:
    """Every figure that both runs have, unmodified model first; tests are adjusted for all."""
    found = [
        _difference(one, sides[0], shared.clusters, seed)
        for one in _measures(sides, picks)
        if not np.isnan(one.sides[0] + one.sides[1]).all()
    ]
    tests = corrected([one.test.p_value for one in found], "figures of the comparison")
    return [
        replace(one, test=test, outcome=_outcome(one, test))
        for one, test in zip(found, tests, strict=True)
    ]


def _outcome(one: RunDifference, test: Corrected) -> str:
    if within(one.difference, one.margin):
        return SAME
    if test.holm is None or test.holm >= LEVEL:
        return UNDECIDED
    return MORE if one.difference.above_zero else LESS if one.difference.below_zero else UNDECIDED


def _difference(one: _Values, side: RunSide, clusters: list[str], seed: int) -> RunDifference:
    gap = one.sides[1] - one.sides[0]
    first, second = (np.where(np.isnan(gap), np.nan, values) for values in one.sides)
    gains = one.measure in _GAINS
    means = [clustered_mean(v, clusters, seed=seed, difference=gains) for v in (first, second)]
    test = cluster_permutation(second, first, clusters, seed=seed)
    return RunDifference(
        **{name: getattr(one, name) for name in ("measure", "component", "pairs", "controls")},
        first=means[0],
        second=means[1],
        difference=paired_difference(second, first, clusters, seed=seed),
        by_language=_by_language(gap, side, clusters, seed),
        margin=MARGIN_OF_ALL_PAIRS if one.measure == "all_pairs" else MARGIN,
        test=uncorrected(test.p_two_sided),
        visible=visible(second, first, clusters),
        outcome=UNDECIDED,
    )


def _by_language(gap: Floats, side: RunSide, clusters: list[str], seed: int) -> dict[str, Estimate]:
    langs = side.data.items.lang[side.places]
    there = sorted(set(langs[~np.isnan(gap)].tolist()))
    return {
        lang: clustered_mean(
            np.where(langs == lang, gap, np.nan), clusters, seed=seed, difference=True
        )
        for lang in (there if len(there) > 1 else [])
    }


def _measures(sides: RunSides, picks: Picks) -> Iterator[_Values]:
    plain: dict[str, Callable[[RunData], Floats]] = {
        "accuracy": lambda data: data.items.vanilla,
        "translate_test": lambda data: data.items.translate_test,
        "surer": surer,
    }
    for name, of in plain.items() if not unmodified_alike(sides) else ():
        yield _Values(name, None, [of(side.data)[side.places] for side in sides])
    for component, own in picks.items():
        pairs = own[0].pair, own[1].pair
        shown = None if pairs[0] is None or pairs[1] is None else (pairs[0], pairs[1])
        yield from _at(sides, "picked", component, [pick.pairs for pick in own], shown)
        yield from _at_declared(sides, component, own)
        yield from _over_pairs(sides, component)
        yield from _over_control(sides, component)


def unmodified_alike(sides: RunSides) -> bool:
    """One model is right on the same questions in both runs: no sample, and nothing to compare."""
    first, second = (side.data.items for side in sides)
    return same_model(sides[0].data, sides[1].data) and all(
        np.array_equal(one[sides[0].places], other[sides[1].places], equal_nan=True)
        for one, other in (
            (first.vanilla, second.vanilla),
            (first.translate_test, second.translate_test),
        )
    )


def _at(
    sides: RunSides,
    kind: str,
    component: Component,
    pairs: Sequence[Pairs],
    shown: tuple[Pair, Pair] | None,
) -> Iterator[_Values]:
    """Accuracy and gain at a pair of each run."""
    right = [at_pairs(side.cube(component), own) for side, own in zip(sides, pairs, strict=True)]
    yield _Values(f"{kind}_accuracy", component, right, shown)
    gains = [after - side.vanilla for after, side in zip(right, sides, strict=True)]
    yield _Values(f"{kind}_pair", component, gains, shown)


def declared_of(sides: RunSides) -> tuple[int, Headline] | None:
    """Which of two runs declares a headline, the first one first, and the headline."""
    found = [read_headline(side.data.manifest) for side in sides]
    return next(((at, one) for at, one in enumerate(found) if one is not None), None)


def _at_declared(sides: RunSides, component: Component, picks: Sequence[Pick]) -> Iterator[_Values]:
    """Both runs at the pair of the run that declares a headline, on the split that it names."""
    found = declared_of(sides)
    if found is None or found[1].component != component or not _as_many_layers(sides):
        return
    at, headline = found
    pair, side = picks[at].pair, sides[at]
    tested = side.data.items.split[side.places] == headline.test
    if pair is not None and not picks[at].halves:
        pairs = np.where(tested[:, None] & (picks[at].pairs >= 0), np.array(pair), -1)
        yield from _at(sides, "declared", component, [pairs, pairs], (pair, pair))


def _as_many_layers(sides: RunSides) -> bool:
    return sides[0].data.n_layers == sides[1].data.n_layers


def _in_both(cubes: Sequence[Floats]) -> list[Floats]:
    """Cells that both have, of models with as many layers; of others, all."""
    if cubes[0].shape != cubes[1].shape:
        return list(cubes)
    gap = np.isnan(cubes[0]) | np.isnan(cubes[1])
    return [np.where(gap, np.nan, cube) for cube in cubes]


def _over_pairs(sides: RunSides, component: Component) -> Iterator[_Values]:
    cubes = _in_both([side.cube(component) for side in sides])
    gains = [known_mean(c, (1, 2)) - side.vanilla for c, side in zip(cubes, sides, strict=True)]
    yield _Values("all_pairs", component, gains)
    cubes = _in_both([bounds.true_cube(side.data, component)[side.places] for side in sides])
    yield _Values("upper_bound", component, [solved_by_any(cube, (1, 2)) for cube in cubes])


def _over_control(sides: RunSides, component: Component) -> Iterator[_Values]:
    """The upper bound of each run minus that of its strongest control, over the same pairs."""
    over = [bounds.over_controls(side.data, component) for side in sides]
    names = [one.strongest.control for one in over if one is not None]
    if len(names) == len(over):
        excess = [_excess(side, component, name) for side, name in zip(sides, names, strict=True)]
        yield _Values("over_control", component, excess, controls=(names[0], names[1]))


def _excess(side: RunSide, component: Component, control: str) -> Floats:
    arms = bounds.controls(side.data, component)
    arm = next(one for one in arms if control_name(one.control, one.stratum) == control)
    unions = bounds.union_sides(side.data, arm)
    return (unions.true[:, 0] - unions.control[:, 0])[side.places]


def difference_maps(sides: RunSides, shared: SharedQuestions, seed: int) -> Iterator[DifferenceMap]:
    """Gains pair by pair, of every component of both; none of models with other layers."""
    components = [one for one in sides[0].data.components if one in sides[1].data.components]
    for component in components if _as_many_layers(sides) else ():
        gains = [side.cube(component) - side.vanilla[:, None, None] for side in sides]
        first, second = _in_both(gains)
        judged = np.flatnonzero(~np.isnan(first).all(axis=(1, 2)))
        if len(judged):
            clusters = [shared.clusters[at] for at in judged]
            yield _map(component, first[judged], second[judged], clusters, seed)


def _map(
    component: Component, first: Floats, second: Floats, clusters: list[str], seed: int
) -> DifferenceMap:
    size = first.shape[1]
    gap = (second - first).reshape(len(first), -1)
    cells = clustered_means(gap, clusters, seed=seed, difference=True)
    return DifferenceMap(
        component,
        difference=matrix([cell.value for cell in cells], size),
        low=matrix([cell.low for cell in cells], size),
        high=matrix([cell.high for cell in cells], size),
        first=matrix(known_mean(first, 0).ravel().tolist(), size),
        second=matrix(known_mean(second, 0).ravel().tolist(), size),
        n=len(first),
        clusters=len(set(clusters)),
        seed=seed,
    )
