"""What is carried: donors by what they share with the question, at the picked pair. No rivals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosslatent.analysis.carried import SpelledGroup, Spelling
from crosslatent.analysis.data import control_name
from crosslatent.analysis.picked import ControlAtPair, PairTest
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component
from crosslatent.report import formatting, gains, verdicts
from crosslatent.report.forest import SPREAD, STRATA_ORDER, Forest, Row, row, sizes
from crosslatent.report.verdicts.diagnosis import Carried, Spelled
from crosslatent.report.views import Panel


def stratum_name(run: RunSummary, name: str) -> str:
    """A control or stratum, called what it is in this run."""
    arms = {(one.control, one.stratum) for one in run.bounds_versus}
    arms |= {(c.control, c.stratum) for p in run.picked for t in p.tests for c in t.controls}
    return formatting.stratum(
        name,
        with_options=run.coverage.with_options > 0,
        with_labels=run.coverage.with_labels > 0,
        symbols=("shuffled", "same_symbol") in arms,
    )


def strata_panels(run: RunSummary, split: str | None) -> list[Panel]:
    """The strata at the pooled pair, one panel for each component."""
    panels = []
    for component in run.components:
        test = gains.outcome(gains.pooled(run, component), split)
        found = {control_name(c.control, c.stratum): c for c in test.controls} if test else {}
        shown = {name: found[name] for name in STRATA_ORDER if name in found}
        if test is not None and shown:
            panels.append(_panel(run, component, test, shown))
    return panels


def spelling_panels(run: RunSummary, split: str | None) -> list[Panel]:
    """Gains at the pooled pair by how the right answer is spelled, one panel for each component."""
    return [
        _spelling_panel(run, one)
        for one in run.spelling
        if one.split == split and one.difference.n > 0
    ]


def _spelling_panel(run: RunSummary, one: Spelling) -> Panel:
    note = verdicts.exploratory(run.exploratory, "spelling")
    said = verdicts.SPELLED.say(Spelled(one, note))
    groups = (("same spelling", one.same), ("other spelling", one.other))
    rows = [line for name, group in groups for line in _spelling_rows(name, group)]
    gap = formatting.with_interval(one.difference, difference=True)
    unknown = (
        f" {formatting.first_upper(formatting.count(one.unknown, 'question'))} left out: the "
        "answer in the "
        "language of the counterpart (aux_answer) is not known."
        if one.unknown
        else ""
    )
    caption = (
        f"Points gained or lost on the {one.split} questions of each kind, by whether the right "
        f"answer is spelled the same in both languages{note}. Same minus other spelling: {gap}. "
        f"{sizes([group.gain for _, group in groups if group.gain.n])}. {SPREAD}{unknown}"
    )
    title = formatting.first_upper(formatting.component(one.component))
    return Panel(title, [said] if said else [], Forest(tuple(rows), True, caption))


def _spelling_rows(name: str, group: SpelledGroup) -> Iterator[Row]:
    if not group.gain.n:
        return
    few = ", too few for a sentence" if group.gain.n < verdicts.FEWEST else ""
    asked = _languages(group.languages)
    before = formatting.percent(group.vanilla.value)
    detail = f"n\u202f=\u202f{group.gain.n}{few} ({asked}); unmodified {before}"
    yield row(f"True counterpart, {name}", "true", group.gain, detail)
    if group.donor is not None and group.over_donor is not None and group.donor.n:
        gap = formatting.with_interval(group.over_donor, difference=True)
        detail = f"true minus this: {gap}"
        yield row(f"Another question, {name}", "control", group.donor, detail)


MOST_LANGUAGES = 4
"""Named beside a group; of more, the rest is counted."""


def _languages(counts: Mapping[str, int]) -> str:
    named = [f"{formatting.language(lang)} {n}" for lang, n in counts.items()]
    if len(named) > MOST_LANGUAGES:
        rest = len(named) - MOST_LANGUAGES + 1
        named[MOST_LANGUAGES - 1 :] = [f"{rest} other languages"]
    return formatting.listing(named)


def _panel(
    run: RunSummary, component: Component, test: PairTest, shown: dict[str, ControlAtPair]
) -> Panel:
    note = verdicts.exploratory(run.exploratory, "strata")
    carried = Carried(
        component,
        test.gain,
        shown.get("shuffled/same_answer"),
        shown.get("shuffled/same_symbol"),
        shown.get("shuffled/different_answer"),
        note,
    )
    said = verdicts.CARRIED.say(carried) if "shuffled/same_symbol" in shown else ""
    rows = [
        row("True counterpart", "true", test.gain),
        *(_row(stratum_name(run, name), control) for name, control in shown.items()),
    ]
    caption = (
        f"Points gained or lost on the {test.split} questions that have such a donor{note}. "
        f"{sizes([control.gain for control in shown.values()])}. {SPREAD} Donors are chosen by "
        "their answers, so these are a diagnosis and no controls."
    )
    title = formatting.first_upper(formatting.component(component))
    return Panel(title, [said] if said else [], Forest(tuple(rows), True, caption))


def _row(name: str, control: ControlAtPair) -> Row:
    gap = formatting.with_interval(control.difference, difference=True)
    few = ", too few for a sentence" if control.gain.n < verdicts.FEWEST else ""
    detail = f"true minus this: {gap}; n\u202f=\u202f{control.gain.n}{few}"
    return row(formatting.first_upper(name), "control", control.gain, detail)
