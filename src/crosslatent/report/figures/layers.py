"""Which layers matter, as source and as target."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.items import ALL
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, draw, row, sizes


def _parts(run: Reported) -> Sequence[str]:
    return [
        f"{profile.component}-{side}"
        for profile in run.summary.layers
        for side in ("source", "target")
    ]


@register_figure("layers", parts=_parts)
def layers(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points that the pairs of a layer gain beyond those of the other layers of its side."""
    component, side = run.part.rsplit("-", 1)
    profile = next(one for one in run.summary.layers if one.component == component)
    gains = profile.by_source if side == "source" else profile.by_target
    rows = tuple(
        row(
            f"{side} layer {one.layer}",
            "true",
            one.margin,
            f"mean gain of its pairs {formatting.points(one.mean.value)}",
        )
        for one in gains
    )
    where = "all" if profile.split == ALL else profile.split
    text = (
        f"Points that the pairs of a {side} layer gain beyond those of the other {side} layers, on "
        f"average ({where} questions). Where the others lose, a layer that changes nothing lies "
        f"above them. {sizes([one.margin for one in gains])}. {SPREAD} Not corrected for the "
        "number of layers."
    )
    title = f"{formatting.first_upper(formatting.component(component))}, as {side}"
    return draw(axes, caption, title, Forest(rows, True, text))
