"""The probe page's figures of one layer: languages in the specific subspace, and their angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from crosslatent.core.subspace import Floats
from crosslatent.lens.space import Space
from crosslatent.report import formatting
from crosslatent.report.lens import marks
from crosslatent.report.lens.marks import Mark
from crosslatent.report.lens.plotly_data import (
    Plain,
    base_layout,
    colour_bar,
    numbers,
    plain_axis,
    rounded,
)
from crosslatent.report.lens.views import LayerView, drawn_langs, even_angle, square
from crosslatent.report.safe import in_plotly, short

LETTER = (0.0165, 0.04)
"""Width and height of a label's letter, as a share of the scatter plot's side."""
RADIUS = 0.024
LABELLED_ANGLES = 8
"""Up to so many languages the matrix has room for its numbers."""


def scatter(space: Space, views: Sequence[LayerView]) -> Plain:
    """Languages along the two main axes of the specific subspace; at rank 1, along the only one."""
    looks = marks.marks(space.languages, space.central)
    langs = np.array(drawn_langs(space))
    strip = views[0].means.shape[1] == 1
    traces = [_texts_trace(look) for look in looks] if len(langs) else []
    frames = [
        (_strip_frame if strip else _plane_frame)(view, looks, langs, len(traces)) for view in views
    ]
    data = [*traces, *(_mean_trace(look, strip=strip) for look in looks)]
    return {"figure": {"data": data, "layout": _scatter_layout(looks, strip)}, "frames": frames}


def _texts_trace(look: Mark) -> Plain:
    return {
        "type": "scatter",
        "mode": "markers",
        "hoverinfo": "skip",
        "marker": {
            "size": 4.5,
            "opacity": 0.45,
            "color": f"--lang-{look.colour}",
            "symbol": marks.SYMBOLS[look.symbol],
        },
    }


def _mean_trace(look: Mark, *, strip: bool) -> Plain:
    return {
        "type": "scatter",
        "mode": "markers" if strip else "markers+text",
        "text": [f"<b>{in_plotly(look.label)}</b>" if look.central else in_plotly(look.label)],
        "hovertemplate": f"{in_plotly(look.name)}<extra></extra>",
        "textfont": {"size": 12, "color": "--ink", "shadow": "--halo"},
        "cliponaxis": False,
        "marker": {
            "size": 15 if look.central else 13,
            "color": f"--lang-{look.colour}",
            "symbol": marks.SYMBOLS[look.symbol],
            "line": {"width": 2, "color": "--ink" if look.central else "--card"},
        },
    }


def _plane_frame(view: LayerView, looks: Sequence[Mark], langs: Any, traces: int) -> Plain:
    centre, side = square(view)
    unit = (view.means - centre) / side + 0.5
    places = marks.label_places(unit, [look.label for look in looks], letter=LETTER, mark=RADIUS)
    data: list[Plain] = []
    if traces and view.texts is not None:
        data = [_coordinates(view.texts[langs == look.lang]) for look in looks]
    data += [
        {**_coordinates(mean[None]), "textposition": marks.PLACES[place]}
        for mean, place in zip(view.means, places, strict=True)
    ]
    ends = [[rounded(c - side / 2), rounded(c + side / 2)] for c in centre]
    layout = {
        "xaxis.range": ends[0],
        "yaxis.range": ends[1],
        "xaxis.title.text": axis_title(view, 0),
        "yaxis.title.text": axis_title(view, 1),
    }
    return {"data": data, "layout": layout}


def _strip_frame(view: LayerView, looks: Sequence[Mark], langs: Any, traces: int) -> Plain:
    """One row a language; its texts spread over the row's height so that they can be seen."""
    data: list[Plain] = []
    if traces and view.texts is not None:
        for row, look in enumerate(looks):
            values = view.texts[langs == look.lang][:, 0]
            data.append({"x": numbers(values), "y": numbers(row + jitter(len(values)))})
    data += [{"x": numbers(mean), "y": [row]} for row, mean in enumerate(view.means)]
    return {"data": data, "layout": {"xaxis.title.text": axis_title(view, 0)}}


def jitter(count: int) -> Floats:
    """Offsets within a row that look random and are the same every time."""
    spread: Floats = 0.62 * ((np.arange(1.0, count + 1.0) * 0.6180339887) % 1 - 0.5)
    return spread


def axis_title(view: LayerView, axis: int) -> str:
    """Which axis, and how much of the differences it holds."""
    held = view.shares[axis]
    of = "" if math.isnan(held) else f": {formatting.percent(float(held))} of the differences"
    return f"axis {axis + 1}{of}"


def _scatter_layout(looks: Sequence[Mark], strip: bool) -> Plain:
    layout = base_layout({"l": 30, "r": 12, "t": 8, "b": 40})
    plain: Plain = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": ""}
    layout["xaxis"] = {**plain_axis(""), **plain, "showline": True}
    layout["yaxis"] = {**plain_axis(""), **plain, "showline": True}
    if strip:
        layout["margin"]["l"] = 96
        layout["xaxis"]["showticklabels"] = True
        layout["yaxis"] |= {
            "showticklabels": True,
            "tickvals": list(range(len(looks))),
            "ticktext": [in_plotly(look.label) for look in looks],
            "range": [len(looks) - 0.4, -0.6],
            "showline": False,
        }
    return layout


def angles(space: Space, views: Sequence[LayerView]) -> Plain:
    """Angles between languages, a matrix for every layer."""
    looks = marks.marks(space.languages, space.central)
    codes = [in_plotly(short(look.lang, marks.LONGEST_CODE)) for look in looks]
    places = list(range(len(looks)))
    numbered = len(looks) <= LABELLED_ANGLES
    trace = {
        "type": "heatmap",
        "x": places,
        "y": places,
        "xgap": 1,
        "ygap": 1,
        "zmin": 0,
        "zmax": 180,
        "colorscale": "angles",
        "hoverinfo": "text",
        "texttemplate": "%{z:.0f}" if numbered else "",
        "colorbar": colour_bar("degrees", -0.13, [0, 90, 180]),
    }
    layout = base_layout({"l": 46, "r": 12, "t": 8, "b": 78})
    ticks: Plain = {"tickvals": places, "ticktext": codes, "showgrid": False, "constrain": "domain"}
    layout["xaxis"] = {**plain_axis(""), **ticks, "tickangle": 0 if len(looks) <= 12 else -90}
    layout["yaxis"] = {**plain_axis(""), **ticks, "autorange": "reversed", "scaleanchor": "x"}
    frames = [
        {"data": [{"z": _angle_cells(view), "hovertext": _angle_hover(view, looks)}]}
        for view in views
    ]
    return {"figure": {"data": [trace], "layout": layout}, "frames": frames}


def angle_scale(languages: int, scale: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """A diverging scale over 0 to 180 degrees whose middle is the angle of languages at random."""
    middle = even_angle(languages) / 180
    colours = [colour for _, colour in reversed(scale)]
    stops = [0.0, middle / 2, middle, (1 + middle) / 2, 1.0]
    return list(zip(stops, colours, strict=True))


def _angle_cells(view: LayerView) -> list[list[float | None]]:
    """Without the diagonal, where there is nothing to see."""
    return [
        [None if row == column or math.isnan(cell) else round(cell, 1)
         for column, cell in enumerate(line)]
        for row, line in enumerate(view.angles.tolist())
    ]  # fmt: skip


def _angle_hover(view: LayerView, looks: Sequence[Mark]) -> list[list[str]]:
    return [
        [
            f"{in_plotly(first.name)} and {in_plotly(second.name)}: "
            f"{'undefined' if math.isnan(cell) else f'{cell:.0f}°'}"
            for second, cell in zip(looks, line, strict=True)
        ]
        for first, line in zip(looks, view.angles.tolist(), strict=True)
    ]


def _coordinates(values: Floats) -> Plain:
    return {"x": numbers(values[:, 0]), "y": numbers(values[:, 1])}
