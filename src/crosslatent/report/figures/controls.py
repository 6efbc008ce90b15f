"""True transplant and every control that knows no answer, at the same pair."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.data import control_name
from crosslatent.analysis.picked import ControlAtPair
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import (
    SPREAD,
    VERDICT_ORDER,
    Forest,
    Row,
    draw,
    in_order,
    row,
    sizes,
)
from crosslatent.report.gains import outcome, pooled


@register_figure("controls", parts=components)
def controls(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points gained or lost at the picked pair with the true counterpart and each control."""
    test = outcome(pooled(run.summary, run.part), run.split)
    names = {control_name(one.control, one.stratum): one for one in test.controls} if test else {}
    shown = [names[name] for name in in_order(names, VERDICT_ORDER)]
    if test is None or not shown:
        return pd.DataFrame()
    text = (
        f"Points gained or lost against the unmodified answers on the {run.split} questions, all "
        f"at one pair. {sizes([test.gain, *(one.gain for one in shown)])}. {SPREAD}"
    )
    rows = (row("True counterpart", "true", test.gain), *map(_row, shown))
    title = formatting.first_upper(formatting.component(run.part))
    return draw(axes, caption, title, Forest(rows, True, text))


def _row(control: ControlAtPair) -> Row:
    name = formatting.control(control_name(control.control, control.stratum))
    gap = formatting.with_interval(control.difference, difference=True)
    detail = "changes nothing by construction" if control.identity else f"true minus this: {gap}"
    return row(formatting.first_upper(name), "control", control.gain, detail)
