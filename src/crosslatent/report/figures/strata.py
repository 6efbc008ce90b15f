"""What is carried: donors by what they share with the question, at the picked pair."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.picked import ControlAtPair
from crosslatent.report import formatting, verdicts
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes
from crosslatent.report.gains import donors, stratum_name


@register_figure("strata", parts=components)
def strata(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points gained or lost at the picked pair with donors of each kind."""
    test, shown = donors(run.summary, run.part, run.split)
    if test is None or not shown:
        return pd.DataFrame()
    rows = (
        row("True counterpart", "true", test.gain),
        *(_row(stratum_name(run.summary, name), control) for name, control in shown.items()),
    )
    note = verdicts.exploratory(run.summary.exploratory, "strata")
    text = (
        f"Points gained or lost on the {test.split} questions that have such a donor{note}. "
        f"{sizes([control.gain for control in shown.values()])}. {SPREAD} Donors are chosen by "
        "their answers, so these are a diagnosis and no controls."
    )
    title = formatting.first_upper(formatting.component(run.part))
    return draw(axes, caption, title, Forest(rows, True, text))


def _row(name: str, control: ControlAtPair) -> Row:
    gap = formatting.with_interval(control.difference, difference=True)
    few = ", too few for a sentence" if control.gain.n < verdicts.FEWEST else ""
    detail = f"true minus this: {gap}; n\u202f=\u202f{control.gain.n}{few}"
    return row(formatting.first_upper(name), "control", control.gain, detail)
