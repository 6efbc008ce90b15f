"""Points of difference of every selector to the fixed pilot pair."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import draw
from crosslatent.report.selector_verdicts import versus_pilot_forest


@register_figure("selectors_versus_pilot")
def selectors_versus_pilot(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points of accuracy more or fewer than the fixed pilot pair, by selector."""
    if run.choosing.evaluation is None:
        return pd.DataFrame()
    forest = versus_pilot_forest(run.choosing.evaluation)
    return draw(axes, caption, "Against the fixed pilot pair", forest)
