"""What the picked pair makes of a graded score, by language."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.grades import ScoreAtPair
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, draw, row, sizes


def _parts(run: Reported) -> Sequence[str]:
    return list(
        dict.fromkeys(f"{one.metric}-{one.component}" for one in run.summary.scores_at_pair)
    )


@register_figure("scores_gain", parts=_parts)
def scores_gain(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points of a graded score gained or lost at the picked pair, by language."""
    shown = [
        score
        for score in run.summary.scores_at_pair
        if f"{score.metric}-{score.component}" == run.part
        and (score.split, score.pooling) == (run.split, "pooled")
    ]
    if not shown:
        return pd.DataFrame()
    name, component = formatting.metric(shown[0].metric), formatting.component(shown[0].component)
    rows = tuple(
        row(
            formatting.first_upper(formatting.language(score.lang)),
            "true",
            score.gain,
            _detail(score),
        )
        for score in shown
    )
    text = (
        f"Points of {name} gained or lost on the {run.split} questions at the picked pair. "
        f"{sizes([score.gain for score in shown])}. {SPREAD}"
    )
    title = f"{formatting.first_upper(name)} with {component} transplants"
    return draw(axes, caption, title, Forest(rows, True, text))


def _detail(score: ScoreAtPair) -> str:
    before, after = score.vanilla.value, score.transplant.value
    return f"{formatting.percent(before)} to {formatting.percent(after)}"
