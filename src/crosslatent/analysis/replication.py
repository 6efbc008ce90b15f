"""A declared headline on other questions: replicated, refuted or undecided.

The rules are in docs/methods.md 5.6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crosslatent.analysis.data import RunData, control_name
from crosslatent.analysis.headline import Headline, read_headline
from crosslatent.analysis.inference import LEVEL, ends, visible
from crosslatent.analysis.items import Mask
from crosslatent.analysis.pair_choice import pilot_pair
from crosslatent.analysis.picked import ControlAtPair, controls_at
from crosslatent.analysis.shared_questions import SharedQuestions, same_model
from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import Pair
from crosslatent.stats import Estimate, Floats

REPLICATED, REFUTED, UNDECIDED = "replicated", "refuted", "undecided"


@dataclass(frozen=True, slots=True)
class Replication:
    """What came of the first run's declared headline on other questions of the second run.

    Attributes:
        declared: the headline.
        declared_again: the second run declares one of the same component, too.
        pair: that of the first run; where the models differ (`own_pair`), the second run's own,
            picked on its tuning split, whose questions are then left out.
        first: gain of the first run on its test split; None if it has none.
        gain: on the other questions of the second run.
        p_value: of that change, by clusters; this one test is not corrected.
        controls: those that the headline names, at the same pair; `not_run`: those that are not.
        visible: the smallest gain that such data show in 80 % of samples.
        verdict: replicated (the gain reaches the aim, its interval lies above zero and so do those
            of the differences to all controls), refuted (the interval lies below the aim, and such
            data would show a gain as large as that, or it lies below zero), or undecided.
    """

    declared: Headline
    declared_again: bool
    pair: Pair
    own_pair: bool
    first: Estimate | None
    gain: Estimate
    p_value: float | None
    controls: list[ControlAtPair]
    not_run: list[str]
    visible: float | None
    verdict: str


def replication(first: RunData, second: RunData, shared: SharedQuestions) -> Replication | None:
    """Judge the first run's headline on other questions of the second.

    None if there is no headline, if the second run neither is of the same task nor declares the
    same component, if its transplants are others (strength, tokens touched, direction), or if it
    has no rows of other questions at the pair.
    """
    headline, again = read_headline(first.manifest), read_headline(second.manifest)
    if headline is None:
        return None
    declared_again = again is not None and again.component == headline.component
    if not declared_again and _task(first) != _task(second):
        return None
    if _transplant(first) != _transplant(second):
        return None
    own_pair, mask = not same_model(first, second), _others(first, second, shared)
    if own_pair:
        mask &= second.items.split != headline.tune
    try:
        source = second if own_pair else first
        pair = pilot_pair(source.reader, headline.component, headline.tune).pair
    except RunFolderError:
        return None
    mask &= ~np.isnan(_after(second, headline, pair) + second.items.vanilla)
    if not mask.any():
        return None
    found = _judged(second, headline, pair, mask)
    return replace(
        found, declared_again=declared_again, own_pair=own_pair, first=_own(first, headline)
    )


def _transplant(data: RunData) -> tuple[Any, ...]:
    """What makes a transplant, beside its component and pair."""
    spec, task = data.spec, data.manifest.get("task") or {}
    return spec.get("strength", 1.0), spec.get("positions", 1), task.get("direction")


def _task(data: RunData) -> str | None:
    name: str | None = (data.manifest.get("task") or {}).get("name")
    return name


def _others(first: RunData, second: RunData, shared: SharedQuestions) -> Mask:
    """Questions of the second run about facts that the first does not ask about."""
    cluster = second.items.cluster
    mask = ~np.isin(cluster, np.unique(cluster[shared.second]))
    # A cluster is one of its task: another task may call other facts the same.
    return mask & ~np.isin(cluster, first.items.cluster) if _task(first) == _task(second) else mask


def _after(data: RunData, headline: Headline, pair: Pair) -> Floats:
    return data.true_cube(headline.component)[:, pair[0], pair[1]]


def _own(data: RunData, headline: Headline) -> Estimate | None:
    """The gain of the run that declares the headline; None if it has none."""
    try:
        pair = pilot_pair(data.reader, headline.component, headline.tune).pair
    except RunFolderError:
        return None
    mask = data.items.in_group(headline.test)
    gain = data.difference(_after(data, headline, pair), data.items.vanilla, mask)
    return gain if gain.n else None


def _judged(data: RunData, headline: Headline, pair: Pair, mask: Mask) -> Replication:
    after, vanilla = _after(data, headline, pair), data.items.vanilla
    pairs = np.tile(np.array(pair), (len(mask), 1))
    named = {
        control_name(one.control, one.stratum): one
        for one in controls_at(data, headline.component, pairs, mask)
    }
    found = Replication(
        declared=headline,
        declared_again=False,
        pair=pair,
        own_pair=False,
        first=None,
        gain=data.difference(after, vanilla, mask),
        p_value=data.change(after, vanilla, mask).p_value,
        controls=[named[name] for name in headline.controls if name in named],
        not_run=[name for name in headline.controls if name not in named],
        visible=visible(after[mask], vanilla[mask], data.items.clusters_of(mask)),
        verdict=UNDECIDED,
    )
    return replace(found, verdict=_verdict(found))


def _verdict(found: Replication) -> str:
    aim, gain, interval = found.declared.least_gain, found.gain, ends(found.gain)
    shown = gain.above_zero and found.p_value is not None and found.p_value < LEVEL
    beats = not found.not_run and all(one.difference.above_zero for one in found.controls)
    if shown and beats and (gain.value or 0.0) >= aim:
        return REPLICATED
    powerful = found.visible is not None and found.visible <= aim
    below = interval is not None and interval[1] < aim
    return REFUTED if below and (powerful or gain.below_zero) else UNDECIDED
