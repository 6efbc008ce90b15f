"""Pairs picked on the pilot split, tested on the other splits beside every control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis import any_donor
from crosslatent.analysis.data import Arm, Mask, RunData
from crosslatent.analysis.results import ALL, ControlAtPair, PairTest, Picked, StratumGain
from crosslatent.analysis.select import Choice, Scope, Tie, pilot_pair, pilot_pairs
from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import IDENTITY_COMPONENTS, Component
from crosslatent.stats import Estimate, Floats, clustered_mean, paired_difference, paired_test

MOST_STRATUM_VALUES = 12
"""A stratum with more values than this is no grouping to report apart."""

Pairs = NDArray[np.int64]
"""The pair of every question, shape (items, 2); -1 where there is none."""


def picked(
    data: RunData,
    component: Component,
    tune: str,
    seed: int,
    scope: Scope = "all",
    tie: Tie = "logprob",
) -> list[Picked]:
    """Pairs picked on `tune`: one for all languages, and one for each.

    Splits that nothing was run on are left out; without rows on `tune` the list is empty.
    """
    groupings = {"pooled": _pooled(data, component, tune, scope, tie)}
    if len(data.items.languages) > 1:
        groupings["per_language"] = pilot_pairs(data.reader, component, tune, scope, tie)
    return [
        Picked(component, pooling, choices, on_every_split(data, component, choices, seed))
        for pooling, choices in groupings.items()
        if choices
    ]


def _pooled(
    data: RunData, component: Component, tune: str, scope: Scope, tie: Tie
) -> dict[str, Choice]:
    try:
        return {ALL: pilot_pair(data.reader, component, tune, None, scope, tie)}
    except RunFolderError:
        return {}


def on_every_split(
    data: RunData, component: Component, choices: dict[str, Choice], seed: int
) -> list[PairTest]:
    """The picked pairs on every split, pooled over languages and in each of them."""
    tuned_on = {choice.split for choice in choices.values()}
    pairs = pairs_of_items(data, choices)
    languages = data.items.languages
    found = [
        pair_test(data, component, pairs, (split, lang), in_sample=split in tuned_on, seed=seed)
        for split in data.items.splits
        for lang in ((ALL, *languages) if len(languages) > 1 else (ALL,))
    ]
    return [test for test in found if test is not None]


def judged_split(picked: Sequence[Picked], wanted: str | None) -> str | None:
    """The split that figures are shown of: the declared one, else the last not tuned on.

    Returns:
        None if no picked pair was tested on a split that it was not picked on.
    """
    splits = {test.split: None for pick in picked for test in pick.tests if not test.in_sample}
    if wanted in splits:
        return wanted
    return list(splits)[-1] if splits else None


def pairs_of_items(data: RunData, choices: dict[str, Choice]) -> Pairs:
    """The pair that each question gets: its language's own, else the pooled one, else -1."""
    pairs = np.full((len(data.items.ids), 2), -1, dtype=np.int64)
    for lang, choice in choices.items():
        pairs[data.items.in_group(lang=None if lang == ALL else lang)] = choice.pair
    return pairs


def at_pairs(cube: Floats, pairs: Pairs) -> Floats:
    """Each question's own cell of a cube, shape (items,); NaN where it has no pair."""
    cells = cube[np.arange(len(cube)), pairs[:, 0], pairs[:, 1]]
    return np.where(pairs[:, 0] >= 0, cells, np.nan)


def pair_test(
    data: RunData,
    component: Component,
    pairs: Pairs,
    group: tuple[str, str],
    *,
    in_sample: bool,
    seed: int,
) -> PairTest | None:
    """True transplants and every control at the given pairs, on one (split, language) group.

    Returns:
        None if the group has no question with a gold answer and a row at its pair.
    """
    split, lang = group
    mask = data.items.in_group(split, None if lang == ALL else lang)
    true = at_pairs(data.true_cube(component), pairs)
    mask &= ~np.isnan(true) & ~np.isnan(data.items.vanilla)
    if not mask.any():
        return None
    vanilla = data.items.vanilla
    clusters = data.items.clusters_of(mask)
    repaired, broken = mask & (true > vanilla), mask & (true < vanilla)
    unparseable = at_pairs(data.true_cube(component, "unparseable"), pairs)
    test = paired_test(
        true[mask], vanilla[mask], clusters, seed=seed, one_language=data.items.one_language(mask)
    )
    has_options = bool((mask & data.items.has_options).any())
    format_repairs = int((data.items.unparseable[repaired] == 1).sum())
    return PairTest(
        split=split,
        lang=lang,
        in_sample=in_sample,
        vanilla=clustered_mean(vanilla[mask], clusters, seed=seed),
        transplant=clustered_mean(true[mask], clusters, seed=seed),
        gain=paired_difference(true[mask], vanilla[mask], clusters, seed=seed),
        repaired=int(repaired.sum()),
        broken=int(broken.sum()),
        p_value=test.p_value,
        p_method=test.method,
        changed_clusters=len(set(data.items.clusters_of(repaired | broken))),
        repaired_format=format_repairs if has_options else None,
        repaired_content=int(repaired.sum()) - format_repairs if has_options else None,
        broken_unparseable=int((unparseable[broken] == 1).sum()) if has_options else None,
        vanilla_unparseable=_share(data, data.items.unparseable, mask, seed),
        unparseable=_share(data, np.where(data.items.has_options, unparseable, np.nan), mask, seed),
        controls=controls_at(data, component, pairs, mask, seed),
        strata=strata_gains(data, true, mask, seed),
    )


def _share(data: RunData, values: Floats, mask: Mask, seed: int) -> Estimate | None:
    """Mean of what is known in `mask`; None if nothing is."""
    estimate = clustered_mean(values[mask], data.items.clusters_of(mask), seed=seed)
    return estimate if estimate.n else None


def controls_at(
    data: RunData, component: Component, pairs: Pairs, mask: Mask, seed: int
) -> list[ControlAtPair]:
    """Each control at the given pairs, on the questions in `mask` that have it."""
    values = control_values(data, component, pairs)
    found = [_control_at(data, arm, values[arm], pairs, mask, seed) for arm in values]
    return [control for control in found if control is not None]


def control_values(data: RunData, component: Component, pairs: Pairs) -> dict[Arm, Floats]:
    """Each control at the given pairs, shape (items,), with the donor that is drawn blindly."""
    values = {arm: at_pairs(data.cube(arm), pairs) for arm in data.controls_of(component)}
    if strata := any_donor.strata_arms(data, component):
        given = {name: values[arm] for name, arm in strata.items()}
        values[any_donor.blind_arm(component)] = any_donor.weigh(data.donor_shares, given)
    return values


def _control_at(
    data: RunData, arm: Arm, values: Floats, pairs: Pairs, mask: Mask, seed: int
) -> ControlAtPair | None:
    mask = mask & ~np.isnan(values)
    if not mask.any():
        return None
    true = at_pairs(data.true_cube(arm.component), pairs)[mask]
    clusters = data.items.clusters_of(mask)
    same_layer = bool((pairs[mask, 0] == pairs[mask, 1]).all())
    return ControlAtPair(
        control=arm.control,
        stratum=arm.stratum,
        accuracy=clustered_mean(values[mask], clusters, seed=seed),
        gain=paired_difference(values[mask], data.items.vanilla[mask], clusters, seed=seed),
        difference=paired_difference(true, values[mask], clusters, seed=seed),
        identity=arm.control == "self" and same_layer and arm.component in IDENTITY_COMPONENTS,
    )


def strata_gains(data: RunData, true: Floats, mask: Mask, seed: int) -> list[StratumGain]:
    """Gain in each group that the items' strata make, within `mask`."""
    places = np.flatnonzero(mask)
    found = []
    for name in sorted({name for place in places for name in data.items.strata[place]}):
        labels = [data.items.strata[place].get(name) for place in places]
        values = sorted({label for label in labels if label is not None})
        if len(values) <= MOST_STRATUM_VALUES:
            for value in values:
                chosen = places[[label == value for label in labels]]
                found.append(_stratum(data, true, (name, value), chosen, seed))
    return found


def _stratum(
    data: RunData,
    true: Floats,
    group: tuple[str, str],
    places: NDArray[np.intp],
    seed: int,
) -> StratumGain:
    clusters: Sequence[str] = data.items.cluster[places].tolist()
    vanilla = data.items.vanilla[places]
    gain: Estimate = paired_difference(true[places], vanilla, clusters, seed=seed)
    return StratumGain(*group, clustered_mean(vanilla, clusters, seed=seed), gain)
