"""How often the answer of a donor with a different answer comes out."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.carried import Follow
from crosslatent.analysis.items import ALL
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Mark, Row, draw, sizes


@register_figure("follow")
def follow(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Share of outputs that give the donor's answer, with its vector and without."""
    entries = [one for one in run.summary.follow if one.split == (run.split or ALL)]
    text = (
        f"Share of outputs that give the donor\u2019s answer, {run.split or 'all'} questions. "
        f"{sizes([entry.share for entry in entries])}. {SPREAD}"
    )
    return draw(axes, caption, "", Forest(tuple(map(_row, entries)), False, text))


def _row(entry: Follow) -> Row:
    where = "all pairs, mean" if entry.pair is None else f"{entry.pair[0]} \u2192 {entry.pair[1]}"
    label = f"{formatting.first_upper(formatting.component(entry.component))}, {where}"
    gap = formatting.with_interval(entry.difference, difference=True)
    marks = (
        Mark("true", "with the vector of a question whose answer differs", entry.share),
        Mark("base", "unmodified", entry.vanilla_share),
    )
    return Row(label, marks, f"{gap} over unmodified")
