"""Share of right answers by selector, between the plain ways to answer and the upper bound."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import draw
from crosslatent.report.selector_verdicts import accuracy_forest


@register_figure("selectors")
def selectors(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Right answers of every selector on the questions that it was not fitted on."""
    if run.choosing.evaluation is None:
        return pd.DataFrame()
    return draw(axes, caption, "Right answers", accuracy_forest(run.choosing.evaluation))
