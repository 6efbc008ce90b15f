"""The first card: the declared headline, else what was found on questions not chosen on.

And the figures that are reported beside every transplant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crosslatent.analysis.data import control_name
from crosslatent.analysis.headline import HeadlineResult
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting, gains, verdicts
from crosslatent.report.verdicts.effects import Beside
from crosslatent.report.verdicts.outcome import FINDING, OTHERS, copied, method, use
from crosslatent.report.views import Declared, HeadlineView
from crosslatent.selectors import Choosing
from crosslatent.selectors.findings import Finding

_CONDITIONS = {
    "tested_on_another_split": "tested on questions that had no part in choosing the pair",
    "gain_reaches_aim": "the gain reaches the {aim} points aimed at",
    "gain_interval_above_zero": "the interval of the gain lies above zero",
    "no_control_above_zero": "no control at the same pair has an interval above zero",
    "true_minus_each_control_above_zero": "true minus each control lies above zero",
    "upper_bound_beside_every_control": "the upper bound is shown beside every control",
}

EXPLORATORY = (
    "Exploratory: nothing was declared before the answers existed (crosslatent sweep --declare)."
)


@dataclass(frozen=True, slots=True)
class Lead:
    """What a page starts with where no comparison was declared.

    Attributes:
        sentence: what was found.
        finding: its figures; None if nothing could be tried.
        advice: what to do now.
        notes: how questions were split, and what the figures must be read with.
    """

    sentence: str
    finding: Finding | None
    advice: str
    notes: Sequence[str]


def lead_of(choosing: Sequence[Choosing]) -> Lead | None:
    """The finding of the first run that has one; None if none has."""
    for one in choosing:
        if one.finding is not None:
            found = one.finding
            return Lead(FINDING.say(found), found, use(found), [one.divided])
    return None


def lead_view(lead: Lead) -> HeadlineView:
    """The card of a finding."""
    found = lead.finding
    if found is None:
        said = [lead.sentence, *filter(None, lead.notes)]
        return HeadlineView("\u2013", False, "not tried", said, [], [], lead.advice)
    plain = found.best_plain if found.verdict == "plain" else None
    gain = found.gain if plain is None else plain.gain
    return HeadlineView(
        number=formatting.points(gain.value),
        loss=(gain.value or 0.0) < 0,
        unit=f"points, {formatting.interval(gain, difference=True)}",
        sentences=[lead.sentence, *filter(None, lead.notes), EXPLORATORY],
        beside=[
            f"{formatting.first_upper(method(found, way.name))}: "
            f"{formatting.with_interval(way.accuracy, difference=False)}, against the unmodified "
            f"model {formatting.with_interval(way.gain, difference=True)}."
            for way in found.plain
        ],
        conditions=_of_transplant(found) if plain is None else [],
        verdict=lead.advice,
    )


def _of_transplant(found: Finding) -> list[Declared]:
    """What a transplant must be better than."""
    shown = [
        Declared(
            f"better than with {OTHERS[each.name]}: "
            f"{formatting.with_interval(each.over, difference=True)}",
            _state(each.over.above_zero),
            "",
        )
        for each in found.controls
    ]
    open_ = [
        Declared(f"better than with {OTHERS[name]}", _state(None), "not run")
        for name in found.uncovered
    ]
    return [Declared("the gain lies above zero", _state(found.changes), ""), *shown, *open_]


def lead_title(lead: Lead) -> str:
    """The page's title: what was done, and from what to what."""
    found = lead.finding
    if found is None or found.verdict == "nothing":
        return "Nothing that was tried is shown to help" if found else "Nothing was tried"
    done = copied(found)
    if found.verdict == "plain" and found.best_plain is not None:
        done, after = method(found, found.best_plain.name), found.best_plain.accuracy
    else:
        after = found.accuracy
    before = formatting.percent(found.vanilla.value)
    luck = ", and so may other vectors" if found.verdict == "luck" else ""
    return (
        f"{formatting.first_upper(done).rstrip(',')}: {before} \u2192 "
        f"{formatting.percent(after.value)} on {found.gain.n:,} questions{luck}"
    )


def beside(run: RunSummary) -> list[str]:
    """Other ways to answer against the best pair, and the pair that the paper recommends."""
    said = [
        verdicts.WAYS.say(Beside(way, verdicts.exploratory(run.exploratory, _kind(way.name))))
        for way in run.ways
    ]
    return [sentence for sentence in said if sentence]


def _kind(way: str) -> str:
    return "surer" if way == "surer_calibrated" else way


def headline_view(headline: HeadlineResult, runs: Sequence[RunSummary]) -> HeadlineView:
    """The card of the comparison that was declared before any answer existed."""
    gain = headline.gain
    declared = headline.declared
    run = next((one for one in runs if one.name == headline.run), None)
    what, aim = formatting.component(declared.component), formatting.points(declared.least_gain)
    carried = f"{what} output of block {headline.source} carried to block {headline.target}"
    where = f"{headline.n} {declared.test} questions about {headline.clusters} facts"
    before, after = (
        formatting.percent(headline.vanilla.value),
        formatting.percent(headline.transplant.value),
    )
    changes = (
        f"{formatting.count(headline.repaired, 'answer')} repaired, {headline.broken} broken"
        f"{gains.test_note(headline.p_value, headline.p_method)}."
        f"{gains.few_note(gain, headline.changed_clusters)}"
    )
    picked = (
        f"The pair was picked on the {declared.tune} questions; this comparison was declared "
        "before any answer existed."
    )
    shares = f"{before} right unmodified, {after} with the {carried}."
    pair = headline.source, headline.target
    sentences = [
        f"{formatting.first_upper(verdicts.GAIN.say(gain))} on {where}: {shares}",
        f"{changes} {picked}",
        gains.where_named(run, declared.component, pair) if run is not None else "",
        headline.warning or "",
    ]
    return HeadlineView(
        number=formatting.points(gain.value),
        loss=(gain.value or 0.0) < 0,
        unit=f"points, {formatting.interval(gain, difference=True)}",
        sentences=[sentence for sentence in sentences if sentence],
        beside=beside(run) if run is not None else [],
        conditions=[
            Declared(_CONDITIONS[name].format(aim=aim), _state(held), _against(headline, name))
            for name, held in headline.conditions.items()
        ],
        verdict=verdicts.HEADLINE.say(headline.conditions),
    )


def _against(headline: HeadlineResult, condition: str) -> str:
    """The controls that a condition fails for, with their figures."""
    failing = {
        "no_control_above_zero": [(c, c.gain) for c in headline.controls if c.gain.above_zero],
        "true_minus_each_control_above_zero": [
            (c, c.difference) for c in headline.controls if not c.difference.above_zero
        ],
    }.get(condition, [])
    return "; ".join(
        f"{formatting.control(control_name(control.control, control.stratum))}: "
        f"{formatting.with_interval(estimate, difference=True)}"
        for control, estimate in failing
        if control_name(control.control, control.stratum) in headline.declared.controls
    )


def _state(held: bool | None) -> str:
    return "open" if held is None else "holds" if held else "fails"
