"""How many more answers are in another language with transplants, by language."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.grades import FidelityAtPair
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes


@register_figure("fidelity_change", parts=components)
def fidelity_change(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points of answers more (or fewer) in another language at the picked pair."""
    shown = [
        entry
        for entry in run.summary.fidelity_at_pair
        if (entry.component, entry.pooling, entry.split) == (run.part, "pooled", run.split)
    ]
    text = (
        "Points of answers more (or fewer) in another language than the question\u2019s, on the "
        f"{run.split} questions at the picked pair, where the language of both answers could be "
        f"identified. {sizes([entry.difference for entry in shown])}. {SPREAD}"
    )
    title = f"With {formatting.component(run.part)} transplants, against unmodified"
    return draw(axes, caption, title, Forest(tuple(map(_row, shown)), True, text, losses=False))


def _row(entry: FidelityAtPair) -> Row:
    before, after = entry.vanilla.value, entry.transplant.value
    detail = (
        f"{formatting.percent(before)} to {formatting.percent(after)}; identified in "
        f"{entry.vanilla_identified} and {entry.transplant_identified} of {entry.outputs}"
    )
    label = formatting.first_upper(formatting.language(entry.lang))
    return row(label, "true", entry.difference, detail)
