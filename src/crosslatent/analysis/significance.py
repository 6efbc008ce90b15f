"""The pair picked over all languages against the unmodified run: tests, effects, corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crosslatent.analysis.data import Mask, RunData
from crosslatent.analysis.evidence import PairEffect, Shared, Significance
from crosslatent.analysis.inference import corrected, uncorrected
from crosslatent.analysis.pilot import at_pairs, pairs_of_items
from crosslatent.analysis.results import ALL, Headline, Picked
from crosslatent.core.specs import Component
from crosslatent.stats import (
    Floats,
    detectable_difference,
    effect_sizes,
    paired_test,
)

POOLED = "pooled"


def significance(
    data: RunData, picks: Sequence[Picked], headline: Headline | None, seed: int
) -> list[Significance]:
    """Every component's pooled pair on every split that it was not picked on.

    Args:
        data: the run.
        picks: the picked pairs of all components.
        headline: the comparison that was declared beforehand; it is the one that is not adjusted.
        seed: of intervals and permutations.
    """
    found = [
        one
        for pick in picks
        if pick.pooling == POOLED
        for split in data.items.splits
        if split != pick.choices[ALL].split
        and (one := _on_split(data, pick, split, headline, seed)) is not None
    ]
    rest = [one for one in found if not one.declared]
    adjusted = corrected([one.overall.test.p_value for one in rest], "components and splits")
    tests = dict(zip(map(id, rest), adjusted, strict=True))
    return [
        one if one.declared else replace(one, overall=replace(one.overall, test=tests[id(one)]))
        for one in found
    ]


def _on_split(
    data: RunData, pick: Picked, split: str, headline: Headline | None, seed: int
) -> Significance | None:
    after = at_pairs(data.true_cube(pick.component), pairs_of_items(data, pick.choices))
    known = ~np.isnan(after) & ~np.isnan(data.items.vanilla)
    mask = data.items.in_group(split) & known
    if not mask.any():
        return None
    return Significance(
        component=pick.component,
        split=split,
        declared=_is_declared(data, headline, pick, split),
        overall=_effect(data, after, mask, (split, ALL), seed),
        by_language=_by_language(data, pick.component, after, mask, split, seed),
        shared=_shared(data, after, mask, (pick.choices[ALL].split, split), seed),
    )


def _is_declared(data: RunData, headline: Headline | None, pick: Picked, split: str) -> bool:
    if headline is None:
        return False
    task = data.manifest.get("task", {}).get("name") or "prompts"
    carries = headline.task == task if headline.task else "headline" in data.manifest
    wanted = (headline.component, headline.tune, headline.test)
    return carries and (pick.component, pick.choices[ALL].split, split) == wanted


def _by_language(
    data: RunData, component: Component, after: Floats, mask: Mask, split: str, seed: int
) -> list[PairEffect]:
    languages = [lang for lang in data.items.languages if (mask & (data.items.lang == lang)).any()]
    if len(languages) < 2:
        return []
    effects = [
        _effect(data, after, mask & (data.items.lang == lang), (split, lang), seed)
        for lang in languages
    ]
    family = f"{component} {split} languages"
    tests = corrected([effect.test.p_value for effect in effects], family)
    return [replace(effect, test=test) for effect, test in zip(effects, tests, strict=True)]


def _effect(
    data: RunData, after: Floats, mask: Mask, group: tuple[str, str], seed: int
) -> PairEffect:
    clusters = data.items.clusters_of(mask)
    old, new = data.items.vanilla[mask], after[mask]
    sizes = effect_sizes(new, old, clusters, seed=seed)
    tested = paired_test(new, old, clusters, seed=seed, one_language=data.items.one_language(mask))
    return PairEffect(
        split=group[0],
        lang=group[1],
        gain=sizes.risk_difference,
        cohens_h=sizes.cohens_h,
        odds_ratio=sizes.odds_ratio,
        detectable=detectable_difference(new, old, clusters),
        test=uncorrected(tested.p_value),
        method=tested.method,
    )


def _shared(
    data: RunData, after: Floats, mask: Mask, splits: tuple[str, str], seed: int
) -> Shared | None:
    """Questions of the test split on a fact of the tuning split; None if there are none."""
    tune, test = splits
    tuned = set(data.items.clusters_of(data.items.in_group(tune)))
    both = mask & np.isin(data.items.cluster, sorted(tuned))
    if not both.any():
        return None
    rest = mask & ~both
    return Shared(
        questions=int(both.sum()),
        clusters=len(set(data.items.clusters_of(both))),
        without=_effect(data, after, rest, (test, ALL), seed) if rest.any() else None,
    )
