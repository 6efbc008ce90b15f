"""The gain of the picked pair, split into what the edit takes away and what it brings."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.gain_split import WHOLE, GainPart, SplitBeside
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes
from crosslatent.report.gain_parts import NAMES, beside, beside_name, split_of


@register_figure("parts_of_gain", parts=components)
def parts_of_gain(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Nats that each part of the edit adds to the lead of the right answer."""
    one = split_of(run.summary, run.part, run.split)
    if one is None or not one.whole.gap.n:
        return pd.DataFrame()
    *parts, whole = one.parts
    rows = (
        *map(_row, (whole, *parts)),
        *(_beside(beside_name(run.summary, other), other) for other in beside(one)),
    )
    text = (
        f"Change of the right answer\u2019s lead, in nats, on the {run.split} questions. Loss, "
        f"size, language and content add up to the whole. {sizes([whole.gap])}. {SPREAD}"
    )
    title = formatting.first_upper(formatting.component(run.part))
    return draw(axes, caption, title, Forest(rows, True, text, plain=True))


def _row(part: GainPart) -> Row:
    name = NAMES[part.name] if part.name == WHOLE else f"{part.name}: {NAMES[part.name]}"
    points = formatting.with_interval(part.correct, difference=True)
    detail = f"right answers: {points} points"
    return row(formatting.first_upper(name), "true", part.gap, detail, part.name)


def _beside(name: str, other: SplitBeside) -> Row:
    detail = f"true minus this: {formatting.signed_interval(other.over_gap)}"
    return row(formatting.first_upper(name), "control", other.gap, detail)
