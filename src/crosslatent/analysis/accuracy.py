"""Accuracy of the unmodified run and its baselines, and the grid over layer pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from crosslatent.analysis.data import Items, Mask, RunData
from crosslatent.analysis.results import ALL, Accuracy, Grid, Matrix
from crosslatent.analysis.surer import best_margin, surer
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, Floats, clustered_mean, clustered_means

RELATION = "relation"
"""The stratum that says which kind of question an item asks."""


def groups(items: Items) -> Iterator[tuple[str, str, Mask]]:
    """(split, language, mask) of every group that figures are given for, whole run first."""
    for split in (ALL, *items.splits):
        for lang in (ALL, *items.languages):
            mask = items.in_group(None if split == ALL else split, None if lang == ALL else lang)
            if mask.any():
                yield split, lang, mask


def accuracies(data: RunData, tune: str, seed: int) -> list[Accuracy]:
    """Vanilla and its baselines on every split and language; what is calibrated is on `tune`.

    Groups without gold answers, or without the rows that a baseline needs, are left out.
    """
    found: list[Accuracy] = []
    everywhere = {
        "vanilla": data.items.vanilla,
        "translate_test": data.items.translate_test,
        "surer": surer(data),
    }
    margin = best_margin(data, data.items.in_group(tune))
    if margin is not None:
        fitted = data.items.in_group(tune)
        everywhere["surer_calibrated"] = np.where(fitted, np.nan, surer(data, margin))
    for split, lang, mask in groups(data.items):
        ways = {name: values[mask] for name, values in everywhere.items()}
        for name, values in (ways | _majorities(data.items, mask)).items():
            estimate = clustered_mean(values, data.items.clusters_of(mask), seed=seed)
            if estimate.n:
                unparseable = _unparseable(data.items, mask, seed) if name == "vanilla" else None
                found.append(Accuracy(name, split, lang, estimate, unparseable))
    return found


def _majorities(items: Items, mask: Mask) -> dict[str, Floats]:
    """Right or wrong of each question in `mask`, by way of answering without looking at it."""
    ways: dict[str, Floats] = {}
    if (mask & items.has_options).any():
        ways["majority"] = majority(items, mask)
        if any(RELATION in items.strata[place] for place in np.flatnonzero(mask)):
            ways["majority_by_relation"] = majority(items, mask, RELATION)
    return ways


def majority(items: Items, mask: Mask, stratum: str | None = None) -> Floats:
    """Right or wrong of always naming the option that is right most often.

    The option is chosen in hindsight for each language (and each value of `stratum`) among the
    questions in `mask`, so the baseline is as strong as it can be. Open answers are NaN.
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


def _unparseable(items: Items, mask: Mask, seed: int) -> Estimate | None:
    estimate = clustered_mean(items.unparseable[mask], items.clusters_of(mask), seed=seed)
    return estimate if estimate.n else None


def grids(data: RunData, component: Component, seed: int, shown: str | None = None) -> list[Grid]:
    """The grid of true transplants: each split pooled over languages, each language within `shown`.

    Args:
        data: the run.
        component: what is transplanted.
        seed: of the intervals.
        shown: the split that figures are shown of; None = languages are pooled over all questions.
    """
    return [
        grid(data, component, split, lang, mask, seed)
        for split, lang, mask in groups(data.items)
        if lang == ALL or split == (shown or ALL)
    ]


def grid(data: RunData, component: Component, split: str, lang: str, mask: Mask, seed: int) -> Grid:
    """Accuracy, gain and share of changed outputs of every pair, over the questions in `mask`."""
    size = data.n_layers
    correct = data.true_cube(component)[mask].reshape(-1, size * size)
    changed = data.true_cube(component, "changed")[mask].reshape(-1, size * size)
    clusters = data.items.clusters_of(mask)
    vanilla = data.items.vanilla[mask]
    gains = clustered_means(correct - vanilla[:, None], clusters, seed=seed, difference=True)
    covered = ~np.isnan(changed).all(axis=1)
    return Grid(
        component=component,
        split=split,
        lang=lang,
        vanilla=clustered_mean(np.where(covered, vanilla, np.nan), clusters, seed=seed),
        accuracy=_matrix(_column_means(correct), size),
        gain=_matrix([gain.value for gain in gains], size),
        gain_low=_matrix([gain.low for gain in gains], size),
        gain_high=_matrix([gain.high for gain in gains], size),
        changed=_matrix(_column_means(changed), size),
        n=int(covered.sum()),
        clusters=len(set(np.asarray(clusters)[covered].tolist())),
        seed=seed,
    )


def _column_means(table: Floats) -> list[float | None]:
    counts = (~np.isnan(table)).sum(axis=0)
    sums = np.nansum(table, axis=0)
    return [float(s / c) if c else None for s, c in zip(sums, counts, strict=True)]


def _matrix(cells: list[float | None], size: int) -> Matrix:
    return [cells[row * size : (row + 1) * size] for row in range(size)]
