"""Gain at the picked pair, by language."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import PairTest
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes
from crosslatent.report.gains import pooled


@register_figure("gain", parts=components)
def gain(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points gained or lost at the pair picked over all languages, by language."""
    pick = pooled(run.summary, run.part)
    tests = [test for test in pick.tests if test.split == run.split] if pick else []
    if pick is None or not tests:
        return pd.DataFrame()
    text = (
        f"Points gained or lost on the {run.split} questions at the pair picked on "
        f"{pick.choices[ALL].split}. {sizes([test.gain for test in tests])}. {SPREAD}"
    )
    source, target = pick.choices[ALL].pair
    title = f"{formatting.first_upper(formatting.component(run.part))}, {source} \u2192 {target}"
    return draw(axes, caption, title, Forest(tuple(map(_row, tests)), True, text))


def _row(test: PairTest) -> Row:
    detail = f"{test.repaired} repaired, {test.broken} broken"
    return row(formatting.first_upper(formatting.language(test.lang)), "true", test.gain, detail)
