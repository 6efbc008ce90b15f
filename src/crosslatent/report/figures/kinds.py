"""Gains in the groups of questions that the task names, at the picked pair."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.picked import StratumGain
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row
from crosslatent.report.gains import outcome, pooled


@register_figure("kinds", parts=components)
def kinds(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points gained or lost at the picked pair, by kind of question."""
    test = outcome(pooled(run.summary, run.part), run.split)
    rows = tuple(map(_row, test.strata)) if test is not None else ()
    text = f"Points gained or lost on the {run.split} questions of each group. {SPREAD}"
    title = formatting.first_upper(formatting.component(run.part))
    return draw(axes, caption, title, Forest(rows, True, text))


def _row(stratum: StratumGain) -> Row:
    label = f"{stratum.name.replace('_', ' ')}: {stratum.value}"
    unmodified = formatting.percent(stratum.vanilla.value)
    detail = f"unmodified {unmodified}, n\u202f=\u202f{stratum.gain.n}"
    return row(formatting.first_upper(label), "true", stratum.gain, detail)
