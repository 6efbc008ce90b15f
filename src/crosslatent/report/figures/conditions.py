"""Gains of the conditions of a run, all languages together."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.accuracy import ConditionFigures
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes

MOST = 40
"""Conditions that are drawn: of more, those that change accuracy most."""


@register_figure("conditions")
def conditions(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points gained or lost under each condition against the unmodified answers."""
    shown = _shown(run.summary, run.split)
    far = sorted(shown, key=lambda one: -abs(one.gain.value or 0.0))[:MOST]
    drawn = [one for one in shown if one in far]
    left = len(shown) - len(drawn)
    more = formatting.count(left, "condition")
    beside = f" {more} that change accuracy less are in the table." if left else ""
    which = "all " if not shown or shown[0].split == ALL else f"the {shown[0].split} "
    text = (
        f"Points gained or lost against the unmodified answers on {which}questions. "
        f"{sizes([one.gain for one in drawn])}. {SPREAD} p: permutation test by fact, after "
        f"Holm\u2019s correction for all conditions.{beside}"
    )
    return draw(axes, caption, "", Forest(tuple(map(_row, drawn)), True, text))


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
