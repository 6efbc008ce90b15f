"""The first page: what was found, an example, one heat map, how much is luck, and what it costs.

Its card is of the declared headline, else of what was found on questions not chosen on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosslatent.analysis import Summary
from crosslatent.analysis.data import control_name
from crosslatent.analysis.headline import HeadlineResult
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core import __version__
from crosslatent.report import formatting, gains, maps, verdicts
from crosslatent.report.compared_runs import IN_SHORT, TITLE
from crosslatent.report.examples import Example
from crosslatent.report.figure import Drawn, Reported
from crosslatent.report.verdicts.effects import Beside
from crosslatent.report.verdicts.outcome import FINDING, OTHERS, copied, method, use
from crosslatent.report.views import (
    Declared,
    FrontView,
    HeadlineView,
    OtherRun,
    Passage,
    RunView,
    Section,
)
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


BIBTEX = f"""@software{{crosslatent,
  author  = {{{{The crosslatent authors}}}},
  title   = {{crosslatent: transplanting activations across languages}},
  version = {{{__version__}}},
  year    = {{2026}},
  note    = {{The transplant is that of XTransplant, arXiv:2412.12686}},
}}"""
"""How to cite the package; CITATION.cff says the same."""


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


def front_view(
    reported: Sequence[Reported],
    runs: Sequence[RunView],
    drawn: Sequence[Mapping[str, list[Drawn]]],
    across: list[Section],
    *,
    declares: bool,
    lead: Lead | None = None,
) -> FrontView:
    """The first page.

    Args:
        reported: the runs.
        runs: their pages, in the same order.
        drawn: their figures, in the same order.
        across: what the runs say together.
        declares: whether any run declares a headline, be it that it could not be judged.
        lead: what the page starts with if none is declared; by default what was found in
            the first run that can say something.
    """
    summary = reported[0].analysis
    headline = summary.headline
    lead = None if declares else lead or lead_of([one.choosing for one in reported])
    place = _place(reported, headline, lead)
    summaries = [one.summary for one in reported]
    return FrontView(
        title=_title(summary, lead),
        models=formatting.listing(dict.fromkeys(run.model for run in summaries if run.model)),
        run=runs[place],
        headline=(card := _card(headline, lead, summaries)),
        said=[] if card else _said(reported[place]),
        headline_missing=summary.headline_missing if declares else None,
        example=_example(runs[place].examples),
        ways=Passage(figures=drawn[place].get("compared", [])),
        about="AB"[place] if summary.comparison is not None else "",
        blocks_title=_blocks_title(drawn[place]),
        blocks=_blocks(reported[place], drawn[place], _component(headline, lead)),
        missing=[
            *((run.title, run.missing) for run in runs if run.missing),
            *([(TITLE, [summary.comparison_missing])] if summary.comparison_missing else []),
        ],
        others=[
            OtherRun(run.name, run.title, _said(one))
            for k, (run, one) in enumerate(zip(runs, reported, strict=True))
            if k != place
        ],
        compared=[part for part in across if part.title in IN_SHORT],
        across=across,
    )


def _place(reported: Sequence[Reported], headline: HeadlineResult | None, lead: Lead | None) -> int:
    """The run that the page is about: the headline's, else that of the finding, else the first."""
    if headline is not None:
        return headline.place
    found = lead.finding if lead is not None else None
    places = (k for k, one in enumerate(reported) if found and one.choosing.finding == found)
    return next(places, 0)


def _component(headline: HeadlineResult | None, lead: Lead | None) -> str | None:
    """The component that the card is about; None if it names none."""
    if headline is not None:
        return headline.declared.component
    found = lead.finding if lead is not None else None
    return None if found is None else (found.used[0] if found.used else found.pair).component


def _card(
    headline: HeadlineResult | None, lead: Lead | None, runs: Sequence[RunSummary]
) -> HeadlineView | None:
    if headline is not None:
        return headline_view(headline, runs)
    return None if lead is None else lead_view(lead)


def _example(shown: Sequence[Example]) -> list[Example]:
    """The first one, and one with another outcome: a broken one, if any is."""
    others = [one for one in shown if one.outcome != shown[0].outcome]
    others.sort(key=lambda one: one.outcome != "broken")
    return [*shown[:1], *others[:1]]


def _blocks(
    reported: Reported, drawn: Mapping[str, list[Drawn]], component: str | None
) -> list[Passage]:
    """The figures that the page shows, those that the run has."""
    found = drawn.get("heatmap", [])
    figures = [one for one in found if one.part == component] or found[:1]
    shown = [maps.heat_maps(reported, figures, alone=True)] if figures else []
    for name in ("luck", "conditions"):
        shown += [Passage(figures=drawn[name])] if drawn.get(name) else []
    return shown


def _blocks_title(drawn: Mapping[str, list[Drawn]]) -> str:
    if "luck" in drawn:
        return "Where, and how much of it is luck"
    return "Every pair of layers" if "heatmap" in drawn else "Under conditions"


def _said(one: Reported) -> list[str]:
    """What a run says in a few sentences: its finding, else its upper bounds and other ways."""
    if one.choosing.finding is not None:
        return [FINDING.say(one.choosing.finding)]
    bounds = [verdicts.BOUND.say(bound) for bound in one.summary.over_controls]
    return [sentence for sentence in (*bounds, *beside(one.summary)) if sentence]


def carries(runs: Sequence[RunSummary]) -> bool:
    """Whether any run has transplants, and not conditions alone."""
    return any(run.components for run in runs) or not any(run.conditions for run in runs)


def _title(summary: Summary, lead: Lead | None) -> str:
    if summary.comparison is not None:
        return TITLE
    if lead is not None:
        return lead_title(lead)
    if summary.headline is None and not carries(summary.runs):
        return "A model under conditions"
    if summary.headline is None:
        return "Carrying one activation from one language to another"
    repaired = formatting.count(summary.headline.repaired, "answer")
    return f"Carrying one activation across: {repaired} repaired, {summary.headline.broken} broken"


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
    run = runs[headline.place]
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
        gains.where_named(run, declared.component, pair),
        headline.warning or "",
    ]
    return HeadlineView(
        number=formatting.points(gain.value),
        loss=(gain.value or 0.0) < 0,
        unit=f"points, {formatting.interval(gain, difference=True)}",
        sentences=[sentence for sentence in sentences if sentence],
        beside=beside(run),
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
