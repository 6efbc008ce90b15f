"""Pairs picked on the pilot split, tested on the other splits beside every control."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.data import Arm, RunData, blind_arm, strata_arms, weigh
from crosslatent.analysis.items import ALL, Mask
from crosslatent.analysis.pair_choice import PairChoice, pilot_pair, pilot_pairs
from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import IDENTITY_COMPONENTS, Component
from crosslatent.stats import Estimate, Floats, PairedMethod


@dataclass(frozen=True, slots=True)
class ControlAtPair:
    """One control at the picked pair, on the questions that have it.

    The control ``shuffled`` with the stratum ``any`` is computed and not run: what a donor gives on
    average that is drawn without a look at its answer.

    Attributes:
        accuracy: of the control.
        gain: control minus vanilla.
        difference: true transplant minus control.
        identity: the control is the unmodified run by definition (``self`` at source = target).
    """

    control: str
    stratum: str | None
    accuracy: Estimate
    gain: Estimate
    difference: Estimate
    identity: bool


@dataclass(frozen=True, slots=True)
class StratumGain:
    """Gain among the questions whose stratum `name` has this `value`."""

    name: str
    value: str
    vanilla: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class PairTest:
    """The picked pair against the unmodified run, on one split and language.

    Attributes:
        in_sample: the split is the one that the pair was picked on, so the gain is optimistic.
        repaired, broken: wrong -> right and right -> wrong.
        p_value: of that change, by clusters (`stats.paired_test`); None if nothing changed.
        p_method: the test that gave it.
        changed_clusters: independent groups in which any answer was repaired or broken.
        repaired_format: repaired where the unmodified output named no option.
        repaired_content: repaired where it named a wrong option.
        broken_unparseable: broken where the new output names no option.
        vanilla_unparseable, unparseable: share of outputs that name no option, before and after.
            These five are None for open answers.
    """

    split: str
    lang: str
    in_sample: bool
    vanilla: Estimate
    transplant: Estimate
    gain: Estimate
    repaired: int
    broken: int
    p_value: float | None
    p_method: PairedMethod
    changed_clusters: int
    repaired_format: int | None
    repaired_content: int | None
    broken_unparseable: int | None
    vanilla_unparseable: Estimate | None
    unparseable: Estimate | None
    controls: list[ControlAtPair]
    strata: list[StratumGain]


@dataclass(frozen=True, slots=True)
class Picked:
    """Pairs picked on the pilot split and tested on the others.

    Attributes:
        pooling: ``pooled`` = one pair for all languages; ``per_language`` = one for each.
        choices: by language, or one under ``ALL``.
    """

    component: Component
    pooling: str
    choices: dict[str, PairChoice]
    tests: list[PairTest]

    @property
    def is_pooled(self) -> bool:
        """One pair for all languages."""
        return self.pooling == "pooled"


MOST_STRATUM_VALUES = 12
"""A stratum with more values than this is no grouping to report apart."""

Pairs = NDArray[np.int64]
"""The pair of every question, shape (items, 2); -1 where there is none."""


def picked(data: RunData, component: Component, tune: str) -> list[Picked]:
    """Pairs picked on `tune`: one for all languages, and one for each.

    Splits that nothing was run on are left out; without rows on `tune` the list is empty.
    """
    groupings: dict[str, dict[str, PairChoice]] = {}
    with suppress(RunFolderError):
        groupings["pooled"] = {ALL: pilot_pair(data.reader, component, tune)}
    if len(data.items.languages) > 1:
        groupings["per_language"] = pilot_pairs(data.reader, component, tune)
    return [
        Picked(component, pooling, choices, on_every_split(data, component, choices))
        for pooling, choices in groupings.items()
        if choices
    ]


def on_every_split(
    data: RunData, component: Component, choices: dict[str, PairChoice]
) -> list[PairTest]:
    """The picked pairs on every split, pooled over languages and in each of them."""
    tuned_on = {choice.split for choice in choices.values()}
    pairs = pairs_of_items(data, choices)
    languages = data.items.languages
    found = [
        pair_test(data, component, pairs, (split, lang), in_sample=split in tuned_on)
        for split in data.items.splits
        for lang in ((ALL, *languages) if len(languages) > 1 else (ALL,))
    ]
    return [test for test in found if test is not None]


def judged_split(picked: Sequence[Picked], wanted: str | None) -> str | None:
    """The split that figures are shown of: the declared one, else the first not tuned on.

    That is the one that `select` tests on, too: ``unseen`` before ``final`` and others.

    Returns:
        None if no picked pair was tested on a split that it was not picked on.
    """
    splits = {test.split: None for pick in picked for test in pick.tests if not test.in_sample}
    if wanted in splits:
        return wanted
    return next(iter(splits), None)


def pairs_of_items(data: RunData, choices: dict[str, PairChoice]) -> Pairs:
    """The pair that each question gets: its language's own, else the pooled one, else -1."""
    pairs = np.full((len(data.items.ids), 2), -1, dtype=np.int64)
    for lang, choice in choices.items():
        pairs[data.items.in_group(lang=lang)] = choice.pair
    return pairs


def at_pairs(cube: Floats, pairs: Pairs) -> Floats:
    """Each question's own cell of a cube, shape (items,); NaN where it has no pair."""
    cells = cube[np.arange(len(cube)), pairs[:, 0], pairs[:, 1]]
    return np.where(pairs[:, 0] >= 0, cells, np.nan)


def pair_test(
    data: RunData, component: Component, pairs: Pairs, group: tuple[str, str], *, in_sample: bool
) -> PairTest | None:
    """True transplants and every control at the given pairs, on one (split, language) group.

    Returns:
        None if the group has no question with a gold answer and a row at its pair.
    """
    true, vanilla = at_pairs(data.true_cube(component), pairs), data.items.vanilla
    mask = data.items.in_group(*group) & ~np.isnan(true) & ~np.isnan(vanilla)
    if not mask.any():
        return None
    repaired, broken = mask & (true > vanilla), mask & (true < vanilla)
    unparseable = at_pairs(data.true_cube(component, "unparseable"), pairs)
    test = data.change(true, vanilla, mask)
    has_options = bool((mask & data.items.has_options).any())
    format_repairs = int((data.items.unparseable[repaired] == 1).sum())
    return PairTest(
        split=group[0],
        lang=group[1],
        in_sample=in_sample,
        vanilla=data.mean(vanilla, mask),
        transplant=data.mean(true, mask),
        gain=data.difference(true, vanilla, mask),
        repaired=int(repaired.sum()),
        broken=int(broken.sum()),
        p_value=test.p_value,
        p_method=test.method,
        changed_clusters=len(set(data.items.clusters_of(repaired | broken))),
        repaired_format=format_repairs if has_options else None,
        repaired_content=int(repaired.sum()) - format_repairs if has_options else None,
        broken_unparseable=int((unparseable[broken] == 1).sum()) if has_options else None,
        vanilla_unparseable=data.share(data.items.unparseable, mask),
        unparseable=data.share(np.where(data.items.has_options, unparseable, np.nan), mask),
        controls=controls_at(data, component, pairs, mask),
        strata=strata_gains(data, true, mask),
    )


def controls_at(
    data: RunData, component: Component, pairs: Pairs, mask: Mask
) -> list[ControlAtPair]:
    """Each control at the given pairs, on the questions in `mask` that have it."""
    values = control_values(data, component, pairs)
    there = {arm: mask & ~np.isnan(cells) for arm, cells in values.items()}
    return [
        _control_at(data, arm, values[arm], pairs, own) for arm, own in there.items() if own.any()
    ]


def control_values(data: RunData, component: Component, pairs: Pairs) -> dict[Arm, Floats]:
    """Each control at the given pairs, shape (items,), with the donor that is drawn blindly."""
    values = {arm: at_pairs(data.cube(arm), pairs) for arm in data.controls_of(component)}
    if strata := strata_arms(data, component):
        given = {name: values[arm] for name, arm in strata.items()}
        values[blind_arm(component)] = weigh(data.donor_shares, given)
    return values


def _control_at(data: RunData, arm: Arm, values: Floats, pairs: Pairs, mask: Mask) -> ControlAtPair:
    true = at_pairs(data.true_cube(arm.component), pairs)
    same_layer = bool((pairs[mask, 0] == pairs[mask, 1]).all())
    return ControlAtPair(
        control=arm.control,
        stratum=arm.stratum,
        accuracy=data.mean(values, mask),
        gain=data.difference(values, data.items.vanilla, mask),
        difference=data.difference(true, values, mask),
        identity=arm.control == "self" and same_layer and arm.component in IDENTITY_COMPONENTS,
    )


def strata_gains(data: RunData, true: Floats, mask: Mask) -> list[StratumGain]:
    """Gain in each group that the items' strata make, within `mask`."""
    strata, vanilla = data.items.strata, data.items.vanilla
    found = []
    for name in sorted({name for row in np.flatnonzero(mask) for name in strata[row]}):
        labels = [own.get(name) if there else None for own, there in zip(strata, mask, strict=True)]
        values = sorted({label for label in labels if label is not None})
        for value in values if len(values) <= MOST_STRATUM_VALUES else []:
            chosen = np.array([label == value for label in labels], dtype=np.bool_)
            before = data.mean(vanilla, chosen)
            gain = data.difference(true, vanilla, chosen)
            found.append(StratumGain(name, value, before, gain))
    return found
