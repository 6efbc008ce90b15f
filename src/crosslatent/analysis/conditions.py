"""Conditions beside the unmodified model, on the same questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crosslatent.analysis.data import Mask, RunData
from crosslatent.analysis.evidence import Corrected
from crosslatent.analysis.inference import corrected
from crosslatent.stats import (
    Estimate,
    Floats,
    cluster_permutations,
    clustered_mean,
    clustered_means,
)

ALL = "all"


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


@dataclass(frozen=True, slots=True)
class _Answers:
    """What came of all conditions: right (1), wrong (0) or unknown (NaN), items conditions."""

    names: list[tuple[str, str]]
    correct: Floats
    changed: Floats


def conditions(data: RunData, seed: int) -> list[ConditionFigures]:
    """All conditions of a run, by split and language; without those that answered nothing there."""
    if "condition" not in data.columns:
        return []
    answers = _answers(data)
    if not answers.names:
        return []
    return [
        figures
        for split, lang, mask in _groups(data)
        for figures in _figures(data, answers, split, lang, mask, seed)
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
            mask = items.in_group(None if split == ALL else split, None if lang == ALL else lang)
            if lang == ALL:
                mask &= ~central
            if mask.any():
                yield split, lang, mask


def _answers(data: RunData) -> _Answers:
    listed = (data.manifest.get("spec") or {}).get("conditions") or []
    called = {one["id"]: one["name"] for one in listed}
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
    data: RunData, answers: _Answers, split: str, lang: str, mask: Mask, seed: int
) -> Iterator[ConditionFigures]:
    clusters = data.items.clusters_of(mask)
    after = answers.correct[mask]
    before = np.where(np.isnan(after), np.nan, data.items.vanilla[mask][:, None])
    after = np.where(np.isnan(before), np.nan, after)
    tests = cluster_permutations(after, before, clusters, seed=seed)
    adjusted = corrected([test.p_two_sided for test in tests], f"conditions {split} {lang}")
    gains = clustered_means(after - before, clusters, seed=seed, difference=True)
    rates = clustered_means(after, clusters, seed=seed)
    for place, (name, identity) in enumerate(answers.names):
        if not gains[place].n:
            continue
        yield ConditionFigures(
            name=name,
            id=identity,
            split=split,
            lang=lang,
            vanilla=clustered_mean(before[:, place], clusters, seed=seed),
            accuracy=rates[place],
            gain=gains[place],
            repaired=int((after[:, place] > before[:, place]).sum()),
            broken=int((after[:, place] < before[:, place]).sum()),
            changed=clustered_mean(answers.changed[mask][:, place], clusters, seed=seed),
            test=adjusted[place],
        )
