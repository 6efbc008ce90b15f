"""Conditions beside the unmodified model: a panel for the page and figures."""

from __future__ import annotations

from crosslatent.analysis.accuracy import ConditionFigures
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting
from crosslatent.report.forest import SPREAD, Forest, Row, row, sizes
from crosslatent.report.views import Panel

MOST = 40
"""Conditions that are drawn: of more, those that change accuracy most."""


def condition_panel(run: RunSummary, split: str | None) -> Panel | None:
    """Gains of the conditions, all languages together; None if there are none."""
    shown = _shown(run, split)
    if not shown:
        return None
    drawn = shown
    if len(shown) > MOST:
        far = sorted(shown, key=lambda one: -abs(one.gain.value or 0.0))[:MOST]
        drawn = [one for one in shown if one in far]
    left = len(shown) - len(drawn)
    beside = (
        f" {formatting.count(left, 'condition')} that change accuracy less are in the table."
        if left
        else ""
    )
    caption = (
        f"Points gained or lost against the unmodified answers on {_of(shown[0])}questions. "
        f"{sizes([one.gain for one in drawn])}. {SPREAD} p: permutation test by fact, after "
        f"Holm\u2019s correction for all conditions.{beside}"
    )
    return Panel("", [], Forest(tuple(map(_row, drawn)), True, caption))


def _shown(run: RunSummary, split: str | None) -> list[ConditionFigures]:
    """Those on the split that figures are shown of, else on all questions."""
    splits = {one.split for one in run.conditions}
    wanted = split if split in splits else ALL if ALL in splits else next(iter(splits), None)
    return [one for one in run.conditions if one.split == wanted and one.lang == ALL and one.gain.n]


def _row(one: ConditionFigures) -> Row:
    holm = "" if one.test.holm is None else f", {formatting.p_equals(one.test.holm)}"
    detail = (
        f"{formatting.percent(one.vanilla.value)} \u2192 {formatting.percent(one.accuracy.value)}; "
        f"{one.repaired} repaired, {one.broken} broken{holm}"
    )
    return row(one.name, "true", one.gain, detail)


def _of(one: ConditionFigures) -> str:
    return "all " if one.split == ALL else f"the {one.split} "
