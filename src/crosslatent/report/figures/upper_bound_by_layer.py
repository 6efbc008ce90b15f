"""Unions per target and per source layer, beside the strongest control that knows no answer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.bounds import LayerTest
from crosslatent.analysis.data import control_name
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Mark, Row, draw, sizes
from crosslatent.report.gains import strongest_bound


def _parts(run: Reported) -> Sequence[str]:
    layered = run.summary.components if run.summary.n_layers > 1 else []
    return [f"{component}-{side}" for component in layered for side in ("target", "source")]


@register_figure("upper_bound_by_layer", parts=_parts)
def upper_bound_by_layer(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Share of questions that any layer of the other side solves, for each layer of a side."""
    component, side = run.part.rsplit("-", 1)
    bound = strongest_bound(run.summary, component)
    if bound is None:
        return pd.DataFrame()
    found = [one for one in run.summary.layer_tests if one.component == component]
    tests = {one.layer: one for one in found if one.side == side}
    other = "source" if side == "target" else "target"
    layers = bound.by_target if side == "target" else bound.by_source
    name = formatting.control(control_name(bound.control, bound.stratum))
    rows = tuple(
        Row(
            f"{side} layer {layer}",
            (Mark("true", "true counterpart", both.true), Mark("control", name, both.control)),
            f"difference {formatting.with_interval(both.difference, difference=True)}"
            f"{_holm(tests.get(layer))}",
        )
        for layer, both in enumerate(layers)
        if both.true.n
    )
    text = (
        f"Share of questions that any {other} layer solves, for each {side} layer. Filled: true "
        f"counterpart; open: {name}. {sizes([both.true for both in layers])}. {SPREAD} p: "
        "permutation test by fact, after Holm\u2019s correction for all layers of both sides."
    )
    title = f"{formatting.first_upper(formatting.component(component))}, by {side} layer"
    return draw(axes, caption, title, Forest(rows, False, text))


def _holm(test: LayerTest | None) -> str:
    if test is None or test.test.holm is None:
        return ""
    return f", {formatting.p_equals(test.test.holm)}"
