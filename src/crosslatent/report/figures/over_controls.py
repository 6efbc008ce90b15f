"""What an upper bound is worth: minus the strongest control that knows no answer."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.bounds import OverControls, Rival
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes


@register_figure("over_controls")
def over_controls(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points that the union over all pairs rises above the same union over each control."""
    pairs = [(one, rival) for one in run.summary.over_controls for rival in one.rivals]
    text = (
        "Points that the union over all pairs rises above the same union with vectors that know "
        "nothing of the answer; the strongest of them, which leaves least, is filled. p: "
        "permutation test that swaps true and control by fact, two-sided. The true counterpart "
        "must beat each of them, so p is not corrected. "
        f"{sizes([rival.difference for _, rival in pairs])}. {SPREAD}"
    )
    rows = tuple(_row(one, rival) for one, rival in pairs)
    return draw(axes, caption, "Upper bound minus the strongest control", Forest(rows, True, text))


def _row(one: OverControls, rival: Rival) -> Row:
    true, union = formatting.percent(rival.true.value), formatting.percent(rival.union.value)
    component = formatting.first_upper(formatting.component(one.component))
    return row(
        f"{component}, {formatting.control(rival.control)}",
        "true" if rival == one.strongest else "control",
        rival.difference,
        f"{true} against {union}, {formatting.p_equals(rival.test.p_two_sided)}",
    )
