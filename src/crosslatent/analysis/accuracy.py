"""Accuracy of the unmodified run, its baselines and conditions, and the grid over layer pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crosslatent.analysis.data import RunData, known_mean
from crosslatent.analysis.inference import Corrected, corrected
from crosslatent.analysis.items import ALL, Items, Mask, groups
from crosslatent.analysis.other_ways import best_margin, surer
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, Floats, cluster_permutations

Matrix = list[list[float | None]]
"""[source][target]; None where the pair was not run."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of one way of answering, on one split and language.

    Attributes:
        name: vanilla, translate_test, surer (the surer of these two answers), surer_calibrated
            (the same with a margin fitted on the tuning split), majority (the option that is right
            most often in this split and language, known only in hindsight), or
            majority_by_relation (the same within each value of the stratum ``relation``).
        unparseable: share of outputs that name no option; None for open answers.
    """

    name: str
    split: str
    lang: str
    accuracy: Estimate
    unparseable: Estimate | None = None


@dataclass(frozen=True, slots=True)
class PairGrid:
    """True transplants of one component, pair by pair, on one split and language.

    Attributes:
        accuracy: share of right answers; None cells without gold answers.
        gain: accuracy minus vanilla on the same questions; `gain_low`, `gain_high` its interval.
        changed: share of outputs that differ from the unmodified one.
        vanilla: accuracy of the unmodified run on the same questions.
    """

    component: Component
    split: str
    lang: str
    vanilla: Estimate
    accuracy: Matrix
    gain: Matrix
    gain_low: Matrix
    gain_high: Matrix
    changed: Matrix
    n: int
    clusters: int
    seed: int


@dataclass(frozen=True, slots=True)
class ConditionFigures:
    """One condition, on one split and language.

    Attributes:
        name: of the condition.
        id: canonical hash of its interventions.
        split, lang: of the questions, or `ALL`; central questions of an evaluation count in their
            language alone.
        vanilla: accuracy of the unmodified model on the same questions.
        accuracy: under the condition.
        gain: accuracy minus vanilla.
        repaired, broken: wrong -> right and right -> wrong.
        changed: share of outputs that differ from the unmodified ones.
        test: of the gain, by exchanging the two in whole clusters (two-sided); corrected for all
            conditions of the split and language.
    """

    name: str
    id: str
    split: str
    lang: str
    vanilla: Estimate
    accuracy: Estimate
    gain: Estimate
    repaired: int
    broken: int
    changed: Estimate
    test: Corrected


RELATION = "relation"
"""The stratum that says which kind of question an item asks."""


def accuracies(data: RunData, tune: str) -> list[Accuracy]:
    """Vanilla and its baselines on every split and language; what is calibrated is on `tune`.

    Groups without gold answers, or without the rows that a baseline needs, are left out.
    """
    found: list[Accuracy] = []
    everywhere = {
        "vanilla": data.items.vanilla,
        "translate_test": data.items.translate_test,
        "surer": surer(data),
    }
    fitted = data.items.in_group(tune)
    margin = best_margin(data, fitted)
    if margin is not None:
        everywhere["surer_calibrated"] = np.where(fitted, np.nan, surer(data, margin))
    for split, lang, mask in groups(data.items):
        for name, values in (everywhere | _majorities(data.items, mask)).items():
            estimate = data.mean(values, mask)
            if estimate.n:
                is_vanilla = name == "vanilla"
                shares = data.share(data.items.unparseable, mask) if is_vanilla else None
                found.append(Accuracy(name, split, lang, estimate, shares))
    return found


def _majorities(items: Items, mask: Mask) -> dict[str, Floats]:
    """Right or wrong of each question, by way of answering without looking at it."""
    ways: dict[str, str | None] = {}
    if (mask & items.has_options).any():
        ways["majority"] = None
        if any(RELATION in items.strata[place] for place in np.flatnonzero(mask)):
            ways["majority_by_relation"] = RELATION
    found = {name: np.full(len(mask), np.nan) for name in ways}
    for name, stratum in ways.items():
        found[name][mask] = majority(items, mask, stratum)
    return found


def majority(items: Items, mask: Mask, stratum: str | None = None) -> Floats:
    """Right or wrong of always naming the option that is right most often.

    The option is chosen in hindsight for each language (and each value of `stratum`) among the
    questions in `mask`, so the baseline is as strong as it can be. Open answers are NaN; the shape
    is that of the questions in `mask`.
    """
    places = [int(place) for place in np.flatnonzero(mask)]
    kinds = [
        (str(items.lang[place]), items.strata[place].get(stratum, "") if stratum else "")
        for place in places
    ]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for place, kind in zip(places, kinds, strict=True):
        answer = items.answer[place]
        if answer is not None and items.has_options[place]:
            counts.setdefault(kind, Counter())[answer] += 1
    # Ties go to the option that sorts first, so that the same folder gives the same figure.
    best = {kind: min(seen, key=lambda a: (-seen[a], a)) for kind, seen in counts.items()}
    return np.array(
        [
            float(items.answer[place] == best[kind])
            if items.has_options[place] and items.answer[place] is not None
            else np.nan
            for place, kind in zip(places, kinds, strict=True)
        ]
    )


def grids(data: RunData, component: Component, shown: str | None = None) -> list[PairGrid]:
    """The grid of true transplants: each split pooled over languages, each language within `shown`.

    Args:
        data: the run.
        component: what is transplanted.
        shown: the split that figures are shown of; None = languages are pooled over all questions.
    """
    return [
        grid(data, component, split, lang, mask, data.seed)
        for split, lang, mask in groups(data.items)
        if lang == ALL or split == (shown or ALL)
    ]


def grid(
    data: RunData, component: Component, split: str, lang: str, mask: Mask, seed: int
) -> PairGrid:
    """Accuracy, gain and share of changed outputs of every pair, over the questions in `mask`."""
    size = data.n_layers
    correct, changed = (
        data.true_cube(component, measure).reshape(len(mask), -1)
        for measure in ("correct", "changed")
    )
    vanilla = data.items.vanilla
    gains = data.means(correct - vanilla[:, None], mask, seed=seed, difference=True)
    covered = mask & ~np.isnan(changed).all(axis=1)
    return PairGrid(
        component=component,
        split=split,
        lang=lang,
        vanilla=data.mean(np.where(covered, vanilla, np.nan), mask, seed=seed),
        accuracy=matrix(known_mean(correct[mask], 0).tolist(), size),
        gain=matrix([gain.value for gain in gains], size),
        gain_low=matrix([gain.low for gain in gains], size),
        gain_high=matrix([gain.high for gain in gains], size),
        changed=matrix(known_mean(changed[mask], 0).tolist(), size),
        n=int(covered.sum()),
        clusters=len(set(data.items.clusters_of(covered))),
        seed=seed,
    )


def matrix(cells: Sequence[float | None], size: int) -> Matrix:
    """Cells of all pairs, source by source, as [source][target]; NaN is None."""
    known = [None if cell is None or np.isnan(cell) else float(cell) for cell in cells]
    return [known[row * size : (row + 1) * size] for row in range(size)]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What came of all conditions: right (1), wrong (0) or unknown (NaN), items conditions."""

    names: list[tuple[str, str]]
    correct: Floats
    changed: Floats


def conditions(data: RunData) -> list[ConditionFigures]:
    """All conditions of a run, by split and language; without those that answered nothing there."""
    if "condition" not in data.columns:
        return []
    answers = _answers(data)
    if not answers.names:
        return []
    return [
        figures
        for split, lang, mask in _groups(data)
        for figures in _figures(data, answers, split, lang, mask)
    ]


def _groups(data: RunData) -> Iterator[tuple[str, str, Mask]]:
    items = data.items
    # In an evaluation, questions in the central language tell what is lost there.
    central = np.array([one.get("role") == "central" for one in items.strata], dtype=np.bool_)
    for split in (*items.splits, ALL):
        if split == ALL and len(items.splits) == 1:
            continue
        languages = items.languages if len(items.languages) > 1 else []
        for lang in (ALL, *languages):
            mask = items.in_group(None if split == ALL else split, lang)
            if lang == ALL:
                mask &= ~central
            if mask.any():
                yield split, lang, mask


def _answers(data: RunData) -> _Answers:
    names = data.spec.get("conditions") or []
    called = {one["id"]: one["name"] for one in names}
    there = data.con.execute(
        "SELECT DISTINCT condition FROM rows WHERE condition IS NOT NULL ORDER BY condition"
    ).fetchall()
    ids = {found for (found,) in there}
    order = [*(name for name in called if name in ids), *sorted(ids.difference(called))]
    places = {name: place for place, name in enumerate(order)}
    rows = data.con.execute(
        """
        SELECT p.place, r.condition, r.correct::FLOAT AS correct,
               (r.output IS DISTINCT FROM v.output)::FLOAT AS changed
        FROM rows r JOIN places p USING (item)
        LEFT JOIN plain v ON v.item = r.item AND v.control = 'vanilla'
        WHERE r.condition IS NOT NULL
        """
    ).fetchnumpy()
    column = np.array([places[name] for name in rows["condition"]], dtype=np.int64)
    correct = np.full((len(data.items.ids), len(order)), np.nan)
    changed = correct.copy()
    correct[rows["place"], column] = np.ma.filled(rows["correct"], np.nan)
    changed[rows["place"], column] = np.ma.filled(rows["changed"], np.nan)
    return _Answers([(called.get(name, name), name) for name in order], correct, changed)


def _figures(
    data: RunData, answers: _Answers, split: str, lang: str, mask: Mask
) -> Iterator[ConditionFigures]:
    after = np.where(mask[:, None], answers.correct, np.nan)
    before = np.where(np.isnan(after), np.nan, data.items.vanilla[:, None])
    after = np.where(np.isnan(before), np.nan, after)
    clusters = data.items.clusters_of(mask)
    tests = cluster_permutations(after[mask], before[mask], clusters, seed=data.seed)
    adjusted = corrected([test.p_two_sided for test in tests], f"conditions {split} {lang}")
    vanilla, rates, changed = (
        data.means(values, mask) for values in (before, after, answers.changed)
    )
    gains = data.means(after - before, mask, difference=True)
    for place, (name, identity) in enumerate(answers.names):
        if gains[place].n:
            yield ConditionFigures(
                name=name,
                id=identity,
                split=split,
                lang=lang,
                vanilla=vanilla[place],
                accuracy=rates[place],
                gain=gains[place],
                repaired=int((after[:, place] > before[:, place]).sum()),
                broken=int((after[:, place] < before[:, place]).sum()),
                changed=changed[place],
                test=adjusted[place],
            )
