"""The pre-registered headline comparison, and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from crosslatent.analysis.data import control_name
from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import ControlAtPair, PairTest, Picked
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.settings import real
from crosslatent.core.specs import Component, check_component
from crosslatent.stats import Estimate, PairedMethod

if TYPE_CHECKING:
    from crosslatent.analysis.run_summary import RunSummary

EVERY_CONTROL = ("shuffled/same_answer", "shuffled/different_answer", "noise", "mean", "self")
BLIND = ("shuffled/any", "noise", "mean", "self")
ALSO_BLIND = ("mean-main",)
"""Controls that know nothing of the gold answer: those that an upper bound has to beat. A donor
with the same answer brings the answer along, and a paraphrase the question: they tell what is
carried, and are no rivals. `ALSO_BLIND` are rivals where they were run, and nothing is missing
where not. Controls of other packages come after these, unless they say that they know the
answer."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The claim declared before any row exists: tuned on one split, tested on another.

    Attributes:
        component: what is transplanted.
        tune: split that the pair is picked on, languages pooled.
        test: split that the gain is measured on.
        task: name of the task; None = the run that carries the headline.
        least_gain: the gain that was aimed at.
        controls: controls that the claim must hold against, as `control_name` names them.
    """

    component: Component = "ffn"
    tune: str = "pilot"
    test: str = "final"
    task: str | None = None
    least_gain: float = 0.15
    controls: tuple[str, ...] = EVERY_CONTROL


@dataclass(frozen=True, slots=True)
class HeadlineResult:
    """What came of the declared headline.

    Attributes:
        place: of the run among those that were analysed, from 0: names of folders may be the same.
        p_value, p_method, changed_clusters: of the change, as in `PairTest`.
        conditions: each condition declared beforehand, and whether it holds; None = could not be
            judged, because something that it needs was not run.
        holds: every condition holds.
    """

    declared: Headline
    place: int
    run: str
    task: str
    source: int
    target: int
    vanilla: Estimate
    transplant: Estimate
    gain: Estimate
    repaired: int
    broken: int
    p_value: float | None
    p_method: PairedMethod
    changed_clusters: int
    n: int
    clusters: int
    controls: list[ControlAtPair]
    conditions: dict[str, bool | None]
    holds: bool
    warning: str | None


def read_headline(manifest: Mapping[str, Any]) -> Headline | None:
    """The headline that a run's ``run.json`` declares; None if it declares none.

    Raises:
        RunFolderError: the declaration has an unknown key.
        PairError: it names an unknown component.
    """
    declared = manifest.get("headline")
    if declared is None:
        return None
    known = [field.name for field in fields(Headline)]
    if not isinstance(declared, dict) or not set(declared) <= set(known):
        raise RunFolderError(
            f"The headline in run.json is {declared!r}, but it must be an object with keys out of "
            f"{', '.join(known)}."
        )
    headline = Headline(**declared)
    headline = replace(headline, controls=tuple(headline.controls))
    check_component(headline.component)
    return headline


def judge(
    declared: Headline, run: RunSummary, place: int = 0
) -> tuple[HeadlineResult | None, str | None]:
    """The declared headline on one run: the result, or the reason why there is none."""
    pick = _pooled(declared, run)
    if pick is None:
        return None, (
            f"The run {run.name} has no pair picked on the split {declared.tune!r} for "
            f"{declared.component}."
        )
    test = next((t for t in pick.tests if t.split == declared.test and t.lang == ALL), None)
    if test is None:
        return None, f"The run {run.name} has no judged rows on the split {declared.test!r}."
    choice = pick.choices[ALL]
    conditions = _conditions(declared, run, test)
    names = ("vanilla", "transplant", "gain", "repaired", "broken", "p_value", "p_method")
    same = {name: getattr(test, name) for name in (*names, "changed_clusters", "controls")}
    return HeadlineResult(
        declared=declared,
        place=place,
        run=run.name,
        task=run.task,
        source=choice.source,
        target=choice.target,
        **same,
        n=test.gain.n,
        clusters=test.gain.clusters,
        conditions=conditions,
        holds=all(conditions.values()),
        warning=choice.warning,
    ), None


def declaration(headline: Headline) -> dict[str, Any]:
    """The headline as it goes into ``run.json`` under the key ``headline``."""
    return asdict(headline)


def declared(
    text: str,
    task: str,
    components: Sequence[str],
    splits: Sequence[str],
    controls: Sequence[str],
) -> Headline:
    """The comparison that ``--declare`` names.

    Args:
        text: component and gain aimed at, such as ``ffn,0.05``.
        task: name of the task.
        components: what is swept.
        splits: of the questions that have one.
        controls: that are run.

    Raises:
        UsageError: it cannot be read, is of a component that is not swept, or cannot be judged.
    """
    name, _, aim = text.partition(",")
    try:
        component, least = check_component(name.strip()), real(aim)
    except ValueError as error:
        raise UsageError(
            f"--declare is {text!r}, but a component and the gain aimed at belong there, as a "
            "share: ffn,0.05 is 5 points."
        ) from error
    others = [one for one in ("final", "unseen", *splits) if one in splits and one != "pilot"]
    needed = [one.partition("/")[0] for one in BLIND]
    lacking = ", ".join(one for one in needed if one not in controls)
    if component not in components:
        wrong = f"{component} is not swept: give --component {component} too"
    elif "pilot" not in splits or not others:
        there = ", ".join(sorted(set(splits))) or "none"
        wrong = f"it needs questions of the split 'pilot' and of another one, but there is {there}"
    elif lacking:
        wrong = (
            f"{lacking} is not run, beside which it is judged: give --controls {','.join(needed)}"
        )
    else:
        return Headline(component, "pilot", others[0], task, least, BLIND)
    raise UsageError(f"--declare is {text!r}, but {wrong}.")


def _pooled(declared: Headline, run: RunSummary) -> Picked | None:
    return next(
        (
            pick
            for pick in run.picked
            if pick.component == declared.component
            and pick.pooling == "pooled"
            and pick.choices[ALL].split == declared.tune
        ),
        None,
    )


def _conditions(declared: Headline, run: RunSummary, test: PairTest) -> dict[str, bool | None]:
    value = test.gain.value
    controls = [c for c in test.controls if control_name(c.control, c.stratum) in declared.controls]
    complete = len(controls) == len(declared.controls)
    compared = {
        control_name(bound.control, bound.stratum)
        for bound in run.bounds_versus
        if bound.component == declared.component
    }
    return {
        "tested_on_another_split": not test.in_sample,
        "gain_reaches_aim": value is not None and value >= declared.least_gain,
        "gain_interval_above_zero": test.gain.above_zero,
        "no_control_above_zero": _for_all(complete, controls, above=False),
        "true_minus_each_control_above_zero": _for_all(complete, controls, above=True),
        "upper_bound_beside_every_control": compared >= set(declared.controls),
    }


def _for_all(complete: bool, controls: list[ControlAtPair], above: bool) -> bool | None:
    """A condition on every control: one failure settles it; without all controls it stays open."""
    if above:
        met = all(control.difference.above_zero for control in controls)
    else:
        met = not any(control.gain.above_zero for control in controls)
    if not met:
        return False
    return True if complete else None
