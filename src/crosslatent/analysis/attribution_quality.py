"""Does attribution rank the pairs as the true sweep does, and find those that repair answers?

Attribution estimates every pair from gradients (`runs.schema.ATTRIBUTION`); where the sweep ran
the same pairs, the estimates can be checked. Two questions: do they agree with what the pairs did,
and if only the k highest of a question were run, how often would one that repairs it be among them?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, rankdata

from crosslatent.analysis.data import RunData, solved_by_any
from crosslatent.analysis.items import ALL, Mask
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, Floats

TOPS = (4, 8, 16)
"""How many of a question's pairs are run."""

Outcome = Literal["rise", "gold_logprob", "correct"]

Group = Literal["all", "wrong", "right"]

_OUTCOMES: Mapping[Outcome, str] = {
    "rise": "list_max([x[1] - x[2] FOR x IN list_zip(r.option_logprobs, v.option_logprobs)])",
    "gold_logprob": "r.gold_logprob - v.gold_logprob",
    "correct": "r.correct::DOUBLE",
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spearman's rank correlation of the scores with what the pairs did, within each question.

    Attributes:
        outcome: ``rise``: by how much the pair lifted the first-step log-probability of the option
            that it lifted most, which is what the scores estimate; ``gold_logprob``: the gain of
            the gold answer's log-probability; ``correct``: right or wrong.
        group: ``all`` questions, or those that the unmodified model gets ``wrong`` or ``right``.
        correlation: mean over the questions in which outcome and scores vary.
    """

    outcome: Outcome
    group: Group
    correlation: Estimate


@dataclass(frozen=True, slots=True)
class TopPairs:
    """Share of the solvable questions with a solving pair among the k that are run.

    Attributes:
        k: pairs that are run.
        attribution: those with the highest scores of the question.
        random: drawn at random, expected value (hypergeometric).
        fixed: the same for all questions: those that solve most questions of other clusters.
        over_random, over_fixed: attribution minus these, paired.
    """

    k: int
    attribution: Estimate
    random: Estimate
    fixed: Estimate
    over_random: Estimate
    over_fixed: Estimate


TRIED_FOR_TRUST, LEAST_HITS, FIRST_SHARE = 8, 6, 0.1
"""Questions on which a ranking is tried, and how many of them it must hit; see `Trust`."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether a ranking is to be relied on, from a few questions whose pairs were run.

    They are drawn by the seed from those that the unmodified model gets wrong and that some pair
    repairs: where none does, no ranking is better than another. A hit is a question in which the
    pair that is ranked first raises the gold answer's log-probability, and by more than nine tenths
    of the pairs do.

    Attributes:
        questions: drawn; fewer than `TRIED_FOR_TRUST` if there are no more.
        hits: among them.
    """

    questions: int
    hits: int

    @property
    def granted(self) -> bool | None:
        """Whether there are `LEAST_HITS`; None with too few questions to tell."""
        return None if self.questions < TRIED_FOR_TRUST else self.hits >= LEAST_HITS


@dataclass(frozen=True, slots=True)
class AttributionResult:
    """How good the scores of one component are on one split.

    Attributes:
        component: what is carried.
        split: "all", or one of several splits.
        questions: with scores.
        solvable: of these, wrong without a transplant and right with some pair.
        pairs: fewest and most pairs per question that have a score and were run.
        agreement: with what the pairs did.
        found: what the k highest would have found.
        trust: whether the ranking is to be relied on; of all splits together, else None.
    """

    component: Component
    split: str
    questions: int
    solvable: int
    pairs: tuple[int, int]
    agreement: list[Agreement]
    found: list[TopPairs]
    trust: Trust | None = None


def judge_attribution(
    data: RunData, *, seed: int = 0, tops: Sequence[int] = TOPS
) -> list[AttributionResult]:
    """Compare the attribution scores of a run with its true transplants.

    Args:
        data: the run.
        seed: of the intervals.
        tops: how many pairs are run.

    Returns:
        A result for each component, over all splits and in each if there are several; empty if the
        run has no scores.

    Raises:
        RunFolderError: the scores cannot be read.
    """
    splits = [None, *data.items.splits] if len(data.items.splits) > 1 else [None]
    found = []
    for component, scores in attribution_cubes(data).items():
        cells = _cells(data, component, scores)
        found += [_judge(data, component, cells, split, seed, tops) for split in splits]
    return [result for result in found if result is not None]


def attribution_cubes(data: RunData) -> dict[Component, Floats]:
    """The scores of a run, items sources targets, NaN = none; by component.

    Raises:
        RunFolderError: they cannot be read.
    """
    table = data.reader.attribution()
    if table is None:
        return {}
    places = {item: place for place, item in enumerate(data.items.ids)}
    items, kinds = (table[name].combine_chunks() for name in ("item", "component"))
    place_of = np.array([places.get(item, -1) for item in items.dictionary.to_pylist()], dtype=int)
    place = place_of[items.indices.to_numpy()]
    kind = np.array(kinds.dictionary.to_pylist())[kinds.indices.to_numpy()]
    source, target, score = (table[name].to_numpy() for name in ("source", "target", "score"))
    found: dict[Component, Floats] = {}
    for component in data.components:
        rows = (kind == component) & (place >= 0)
        if rows.any():
            cube = found[component] = np.full((len(places), data.n_layers, data.n_layers), np.nan)
            cube[place[rows], source[rows], target[rows]] = score[rows]
    return found


@dataclass(frozen=True, slots=True)
class _Cells:
    """The pairs of every question side by side, shape (items, pairs).

    Attributes:
        scores: NaN = none.
        outcomes: what the pairs did; NaN = not run or not known.
    """

    scores: Floats
    outcomes: Mapping[Outcome, Floats]

    @property
    def tried(self) -> Mask:
        """Has a score, and is known to be right or wrong."""
        known: Mask = ~np.isnan(self.scores) & ~np.isnan(self.outcomes["correct"])
        return known

    @property
    def solves(self) -> Mask:
        """Tried, and right."""
        right: Mask = self.tried & (self.outcomes["correct"] == 1)
        return right


def _judge(
    data: RunData,
    component: Component,
    cells: _Cells,
    split: str | None,
    seed: int,
    tops: Sequence[int],
) -> AttributionResult | None:
    mask = data.items.in_group(split) & ~np.isnan(cells.scores).all(axis=1)
    if not mask.any():
        return None
    counts = cells.tried[mask].sum(axis=1)
    solved = solved_by_any(np.where(cells.tried, cells.outcomes["correct"], np.nan), 1)
    solvable = mask & (data.items.vanilla == 0) & (solved == 1)
    return AttributionResult(
        component=component,
        split=split or ALL,
        questions=int(mask.sum()),
        solvable=int(solvable.sum()),
        pairs=(int(counts.min()), int(counts.max())),
        agreement=_agreements(data, cells, mask, seed),
        found=_all_found(data, cells, mask, solvable, seed, tops),
        trust=_trust(cells, solvable, seed) if split is None else None,
    )


def _trust(cells: _Cells, solvable: Mask, seed: int) -> Trust:
    """Try a ranking on some of the questions `solvable`."""
    known = ~np.isnan(cells.scores) & ~np.isnan(cells.outcomes["gold_logprob"])
    usable = np.flatnonzero(solvable & known.any(axis=1))
    count = min(TRIED_FOR_TRUST, len(usable))
    hits = 0
    for item in np.random.default_rng(seed).choice(usable, count, replace=False):
        gains = cells.outcomes["gold_logprob"][item][known[item]]
        own = gains[cells.scores[item][known[item]].argmax()]
        hits += bool(own > 0 and (gains > own).mean() < FIRST_SHARE)
    return Trust(count, hits)


def _cells(data: RunData, component: Component, scores: Floats) -> _Cells:
    shape = scores.shape
    listed = ", ".join(f"({value})::DOUBLE AS {name}" for name, value in _OUTCOMES.items())
    columns = data.con.execute(
        f"""
        SELECT p.place, r.source, r.target, {listed}
        FROM rows r JOIN places p USING (item)
        LEFT JOIN rows v ON v.item = r.item AND v.control = 'vanilla'
        WHERE r.component = $component AND r.control = 'none'
        """,
        {"component": component},
    ).fetchnumpy()
    outcomes: dict[Outcome, Floats] = {}
    for name in _OUTCOMES:
        cube = np.full(shape, np.nan)
        values = np.ma.filled(columns[name].astype(np.float64), np.nan)
        values[np.isinf(values)] = np.nan
        cube[columns["place"], columns["source"], columns["target"]] = values
        outcomes[name] = cube.reshape(len(cube), -1)
    return _Cells(scores.reshape(len(scores), -1), outcomes)


def _agreements(data: RunData, cells: _Cells, mask: Mask, seed: int) -> list[Agreement]:
    vanilla = data.items.vanilla
    groups: dict[Group, Mask] = {
        "all": mask,
        "wrong": mask & (vanilla == 0),
        "right": mask & (vanilla == 1),
    }
    found = []
    for outcome, values in cells.outcomes.items():
        each = _correlations(cells.scores, values)
        for group, chosen in groups.items():
            mean = data.mean(each, chosen, seed=seed, difference=True)
            if mean.n:
                found.append(Agreement(outcome, group, mean))
    return found


def _correlations(scores: Floats, values: Floats) -> Floats:
    """Spearman's correlation of every row, shape (items,); NaN where one of them is constant."""
    found = np.full(len(scores), np.nan)
    for row, (one, other) in enumerate(zip(scores, values, strict=True)):
        both = ~np.isnan(one) & ~np.isnan(other)
        ranks = [rankdata(side[both]) for side in (one, other)]
        if both.sum() > 2 and all(np.ptp(side) > 0 for side in ranks):
            found[row] = np.corrcoef(*ranks)[0, 1]
    return found


def _all_found(
    data: RunData, cells: _Cells, mask: Mask, solvable: Mask, seed: int, tops: Sequence[int]
) -> list[TopPairs]:
    if not solvable.any():
        return []
    tried, solves = cells.tried, cells.solves
    shares = _shares_elsewhere(cells, data.items.cluster, mask)
    own, same = (_first_solving(scores, tried, solves) for scores in (cells.scores, shares))
    found = []
    for k in tops:
        ranked, fixed = (own < k).astype(np.float64), (same < k).astype(np.float64)
        drawn = np.full(len(mask), np.nan)
        pairs, solving = (cells[solvable].sum(axis=1) for cells in (tried, solves))
        drawn[solvable] = _by_chance(pairs, solving, k)
        means = (data.mean(values, solvable, seed=seed) for values in (ranked, drawn, fixed))
        over = (data.difference(ranked, other, solvable, seed=seed) for other in (drawn, fixed))
        found.append(TopPairs(k, *means, *over))
    return found


def _first_solving(scores: Floats, tried: Mask, solves: Mask) -> NDArray[np.intp]:
    """At which place, from 0, the first solving pair comes, from the highest score on; items."""
    keys = np.where(tried & ~np.isnan(scores), -scores, np.inf)
    order = np.argsort(keys, axis=1, kind="stable")
    ranked = np.take_along_axis(solves, order, axis=1)
    place: NDArray[np.intp] = ranked.argmax(axis=1)
    return place


def _by_chance(pairs: NDArray[np.intp], solving: NDArray[np.intp], k: int) -> Floats:
    """Chance that k pairs drawn without replacement hold a solving one, shape (items,)."""
    none: Floats = hypergeom.pmf(0, pairs, solving, np.minimum(k, pairs))
    return 1 - none


def _shares_elsewhere(cells: _Cells, clusters: NDArray[np.str_], mask: Mask) -> Floats:
    """How often each pair is right in the questions of other clusters, shape (items, pairs)."""
    use = cells.tried & mask[:, None]
    right = np.where(use, cells.solves, False).astype(np.float64)
    names, index = np.unique(clusters, return_inverse=True)
    sums = np.zeros((2, len(names), right.shape[1]))
    for side, values in enumerate((right, use.astype(np.float64))):
        np.add.at(sums[side], index, values)
    others = sums.sum(axis=1, keepdims=True) - sums
    shares = np.full(others.shape[1:], np.nan)
    np.divide(others[0], others[1], out=shares, where=others[1] > 0)
    spread: Floats = shares[index]
    return spread
