"""For a paper: three figures at the width of a column, and three tables for LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from crosslatent.analysis.bounds import Rival
from crosslatent.analysis.data import control_name
from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import PairTest, Picked
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting
from crosslatent.report.figure import Drawn, Reported, draw_one
from crosslatent.report.forest import in_order
from crosslatent.report.gains import outcome, pooled, stratum_name
from crosslatent.report.table_files import float_of
from crosslatent.report.views import Table
from crosslatent.stats import Estimate

COLUMN = 240.0
"""Points: 84 mm, about a column of a page with two."""
FIGURES = ("heatmap", "luck", "compared", "conditions")


def write_paper(
    run: Reported, drawn: Mapping[str, list[Drawn]], component: str, folder: Path
) -> None:
    """Write the figures and tables of one run that it has.

    Args:
        run: what is shown.
        drawn: its figures, as they are on its page.
        component: of a figure for each component, that one is taken.
        folder: gets the files.
    """
    for name in FIGURES:
        parts = [one.part for one in drawn.get(name, [])]
        if parts:
            run.part = component if component in parts else parts[0]
            draw_one(name, run, folder / name, COLUMN)
    for name, table in tables(run.summary, run.split):
        (folder / f"{name}.tex").write_text(float_of(table, name), encoding="utf-8")


def tables(run: RunSummary, split: str | None) -> Iterator[tuple[str, Table]]:
    """The tables that a run has, by name."""
    picks = [
        (pick, test)
        for component in run.components
        if (pick := pooled(run, component)) is not None
        and (test := outcome(pick, split)) is not None
    ]
    if picks:
        yield "results", _results(run, picks)
    if run.over_controls:
        yield "bounds", _bounds(run)
    if run.ways:
        yield "ways", _ways(run)


def _results(run: RunSummary, picks: list[tuple[Picked, PairTest]]) -> Table:
    """The picked pair of each component on questions it was not picked on, and controls there."""
    rows = []
    for pick, test in picks:
        choice = pick.choices[ALL]
        name = formatting.first_upper(formatting.component(pick.component))
        where = f"{name}, {choice.source} \u2192 {choice.target}"
        rows.append([where, *_cells(test.transplant, test.gain), formatting.p_value(test.p_value)])
        controls = {control_name(one.control, one.stratum): one for one in test.controls}
        rows += [
            [stratum_name(run, one), *_cells(controls[one].accuracy, controls[one].gain), ""]
            for one in in_order(controls)
        ]
    test = picks[0][1]
    start = ["Unmodified", formatting.with_interval(test.vanilla, difference=False), "", ""]
    caption = (
        f"Right answers on {test.split} questions: one pair of layers for all of them"
        f"{' (picked on these same ones)' if test.in_sample else ''}, and other vectors at the "
        f"same pair. {_sizes([one.gain for _, one in picks])} p: {_methods(picks)}, two-sided."
    )
    return Table(["", "right", "gain, points", "p"], [start, *rows], caption, frozenset({1, 2, 3}))


def _bounds(run: RunSummary) -> Table:
    """The upper bound of each component beside its strongest control and samples."""
    sampled = {one.component: one for one in run.pass_at_k}
    rows = [
        [
            formatting.first_upper(formatting.component(one.component)),
            formatting.percent(one.strongest.true.value),
            _beside(one.strongest),
            formatting.with_interval(one.strongest.difference, difference=True),
            formatting.p_value(one.strongest.test.p_two_sided),
            formatting.percent(sampled[one.component].share.value)
            if one.component in sampled
            else "\u2013",
        ]
        for one in run.over_controls
    ]
    differences = [one.strongest.difference for one in run.over_controls]
    head = ["", "any pair", "strongest control", "difference, points", "p", "pass@K"]
    caption = (
        "Questions that at least one pair of layers solves, beside as many attempts with vectors "
        f"that know nothing of the answer. {_sizes(differences)} "
        "pass@K: the unmodified model sampled."
    )
    return Table(head, rows, caption, frozenset(range(1, 6)))


def _beside(rival: Rival) -> str:
    return f"{formatting.percent(rival.union.value)} ({formatting.control(rival.control)})"


def _ways(run: RunSummary) -> Table:
    """Other ways to answer, and the paper's own pair."""
    rows = []
    for one in run.ways:
        name = formatting.first_upper(formatting.control(one.name))
        if one.pair is not None:
            component, source, target = one.pair
            name += f", {formatting.component(component)} {source} \u2192 {target}"
        rows.append([name, *_cells(one.accuracy, one.gain)])
    caption = (
        f"Other ways to answer the {run.ways[0].split} questions, against the unmodified model. "
        f"{_sizes([one.gain for one in run.ways])}"
    )
    return Table(["", "right", "gain, points"], rows, caption, frozenset({1, 2}))


def _cells(accuracy: Estimate, gain: Estimate) -> list[str]:
    return [
        formatting.with_interval(accuracy, difference=False),
        formatting.with_interval(gain, difference=True),
    ]


def _methods(picks: list[tuple[Picked, PairTest]]) -> str:
    names = {"exact McNemar": "exact McNemar test", "permutation by cluster": "permutation by fact"}
    return formatting.listing(dict.fromkeys(names[test.p_method] for _, test in picks))


def _sizes(shown: list[Estimate]) -> str:
    return (
        f"n = {formatting.range_of([one.n for one in shown])} questions, "
        f"{formatting.range_of([one.clusters for one in shown])} facts; in parentheses, "
        "95\u202f% intervals that resample facts."
    )
