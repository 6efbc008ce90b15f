"""p-values beside their corrections; tests and effects of the pair picked over all languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.headline import Headline
from crosslatent.analysis.items import ALL, Mask
from crosslatent.analysis.picked import Picked, at_pairs, pairs_of_items
from crosslatent.core.specs import Component
from crosslatent.stats import (
    CONFIDENCE,
    Detectable,
    Estimate,
    Floats,
    OddsRatio,
    PairedMethod,
    benjamini_hochberg,
    detectable_difference,
    effect_sizes,
    holm,
)
from crosslatent.stats.clusters import share_interval


@dataclass(frozen=True, slots=True)
class Corrected:
    """A p-value and what is left of it among the tests that were made together.

    Attributes:
        p_value: None where the test is undefined: nothing changed.
        holm, benjamini_hochberg: adjusted for the tests of the family: the first bounds the chance
            of any false alarm, the second the share of false alarms among findings. None for a
            comparison that was declared beforehand, which is not adjusted.
        family: which tests were made together; empty for a declared comparison.
        tests: how many of them had a p-value.
    """

    p_value: float | None
    holm: float | None
    benjamini_hochberg: float | None
    family: str
    tests: int


@dataclass(frozen=True, slots=True)
class PairEffect:
    """How large the difference between the picked pair and the unmodified run is, in one group.

    Attributes:
        gain: risk difference, with the interval that resamples clusters.
        cohens_h: the same on the arcsine scale; 0.2 is called small, 0.8 large.
        odds_ratio: repaired / broken.
        detectable: the smallest gain that a sample like this one can be expected to show.
        test: that answers changed, by clusters (`stats.paired_test`); `method` names it.
    """

    split: str
    lang: str
    gain: Estimate
    cohens_h: Estimate
    odds_ratio: OddsRatio
    detectable: Detectable
    test: Corrected
    method: PairedMethod


@dataclass(frozen=True, slots=True)
class Shared:
    """Questions of a test split about a fact that the tuning split asks about, too.

    Attributes:
        questions, clusters: how many they are.
        without: the pooled effect when they are left out; None if nothing is left.
    """

    questions: int
    clusters: int
    without: PairEffect | None


@dataclass(frozen=True, slots=True)
class Significance:
    """The pair picked over all languages against the unmodified run, on one test split.

    Attributes:
        declared: this comparison was declared as the headline, so its own p-value is not adjusted.
        overall: languages together; `by_language`: each, adjusted for their number.
        shared: None if no fact occurs in both splits.
    """

    component: Component
    split: str
    declared: bool
    overall: PairEffect
    by_language: list[PairEffect]
    shared: Shared | None


LEVEL = 0.05


def corrected(p_values: Sequence[float | None], family: str) -> list[Corrected]:
    """Each p-value beside its Holm and Benjamini-Hochberg adjustment.

    Tests without a p-value are no tests, and do not count.
    """
    strict, found = holm(p_values), benjamini_hochberg(p_values)
    return [
        Corrected(p, family_wise, discovery, family, strict.n)
        for p, family_wise, discovery in zip(p_values, strict.adjusted, found.adjusted, strict=True)
    ]


def uncorrected(p_value: float | None) -> Corrected:
    """The p-value of a single test, such as a pre-registered comparison; not adjusted."""
    return Corrected(p_value, None, None, "", 1)


def ends(estimate: Estimate) -> tuple[float, float] | None:
    """The interval of a difference, also where no cluster differs from the others.

    There, as many clusters may hide a share of differing ones: up to the upper end of the exact
    interval of none out of them.
    """
    if estimate.low is not None and estimate.high is not None:
        return estimate.low, estimate.high
    if estimate.value is None or estimate.undefined or not estimate.clusters:
        return None
    hidden = share_interval(0.0, estimate.clusters, CONFIDENCE)[1]
    return estimate.value - hidden, estimate.value + hidden


def within(estimate: Estimate, margin: float) -> bool:
    """The whole interval lies within the margin: two one-sided tests at 2.5 % each."""
    found = ends(estimate)
    return found is not None and -margin < found[0] and found[1] < margin


def visible(after: Floats, before: Floats, clusters: Sequence[str]) -> float | None:
    """The smallest difference that data like these show in 80 % of samples, as a share.

    Where nothing differs, the largest share of clusters that may differ all the same; None without
    data.

    Args:
        after: by item, shape (n,); NaN = missing.
        before: the same.
        clusters: length n.
    """
    found = detectable_difference(after, before, clusters)
    if found.value is None and found.clusters:
        return share_interval(0.0, found.clusters, CONFIDENCE)[1]
    return found.value


def significance(
    data: RunData, picks: Sequence[Picked], headline: Headline | None
) -> list[Significance]:
    """Every component's pooled pair on every split that it was not picked on.

    Args:
        data: the run.
        picks: the picked pairs of all components.
        headline: the comparison that was declared beforehand; it is the one that is not adjusted.
    """
    found = [
        one
        for pick in picks
        if pick.is_pooled
        for split in data.items.splits
        if split != pick.choices[ALL].split
        and (one := _on_split(data, pick, split, headline)) is not None
    ]
    rest = [one for one in found if not one.declared]
    adjusted = corrected([one.overall.test.p_value for one in rest], "components and splits")
    tests = dict(zip(map(id, rest), adjusted, strict=True))
    return [
        one if one.declared else replace(one, overall=replace(one.overall, test=tests[id(one)]))
        for one in found
    ]


def _on_split(
    data: RunData, pick: Picked, split: str, headline: Headline | None
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
        overall=_effect(data, after, mask, (split, ALL)),
        by_language=_by_language(data, pick.component, after, mask, split),
        shared=_shared(data, after, mask, (pick.choices[ALL].split, split)),
    )


def _is_declared(data: RunData, headline: Headline | None, pick: Picked, split: str) -> bool:
    if headline is None:
        return False
    task = data.manifest.get("task", {}).get("name") or "prompts"
    carries = headline.task == task if headline.task else "headline" in data.manifest
    wanted = (headline.component, headline.tune, headline.test)
    return carries and (pick.component, pick.choices[ALL].split, split) == wanted


def _by_language(
    data: RunData, component: Component, after: Floats, mask: Mask, split: str
) -> list[PairEffect]:
    masks = {lang: mask & (data.items.lang == lang) for lang in data.items.languages}
    masks = {lang: own for lang, own in masks.items() if own.any()}
    if len(masks) < 2:
        return []
    effects = [_effect(data, after, own, (split, lang)) for lang, own in masks.items()]
    family = f"{component} {split} languages"
    tests = corrected([effect.test.p_value for effect in effects], family)
    return [replace(effect, test=test) for effect, test in zip(effects, tests, strict=True)]


def _effect(data: RunData, after: Floats, mask: Mask, group: tuple[str, str]) -> PairEffect:
    clusters = data.items.clusters_of(mask)
    old, new = data.items.vanilla[mask], after[mask]
    sizes = effect_sizes(new, old, clusters, seed=data.seed)
    tested = data.change(after, data.items.vanilla, mask)
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


def _shared(data: RunData, after: Floats, mask: Mask, splits: tuple[str, str]) -> Shared | None:
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
        without=_effect(data, after, rest, (test, ALL)) if rest.any() else None,
    )
