"""The probe page's figures over all layers: variance, separability, singular values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crosslatent.lens.space import Space
from crosslatent.report import formatting
from crosslatent.report.lens.drawing import layer_name, layer_places, layer_ticks
from crosslatent.report.lens.plotly_data import Plain, base_layout, colour_bar, plain_axis, rounded
from crosslatent.report.lens.probe_words import share
from crosslatent.report.lens.views import LayerView, known
from crosslatent.stats import Estimate

SAME = "nearest mean"
"""Name of the line that represents both kinds of nearest mean."""
RULES = {
    "linear": "learned rule",
    "full": "nearest mean, whole space",
    "specific": "nearest mean, specific subspace",
}
"""Shares of texts classified correctly, with the names of their lines."""


def between(space: Space, views: Sequence[LayerView]) -> Plain:
    """Share of the variance between languages, layer by layer."""
    values = [None if view.between is None else 100 * view.between for view in views]
    hover = [
        f"{layer_name(view.layer)}: {formatting.percent(view.between)} of the variance"
        for view in views
    ]
    data = _line(space, values, hover, "--accent")
    return _by_layer(space, data, "% of the variance of single states", from_zero=True)


def has_separability(views: Sequence[LayerView]) -> bool:
    """Whether any layer has a share of texts classified correctly."""
    return bool(kinds(views))


def kinds(views: Sequence[LayerView]) -> dict[str, str]:
    """The shares of texts classified correctly that can be drawn, with the names of their lines.

    At full rank the nearest mean is the same in the whole space and in the specific subspace, which
    holds all differences of the means: then one line is drawn, since the two would coincide.
    """
    names = dict(RULES)
    found = {kind: [_value(view, kind) for view in views] for kind in names}
    if found["full"] == found["specific"]:
        names = {"linear": RULES["linear"], "full": SAME}
    return {
        kind: name
        for kind, name in names.items()
        if any(value is not None for value in found[kind])
    }


def _value(view: LayerView, kind: str) -> float | None:
    one = None if view.separability is None else getattr(view.separability, kind)
    return None if one is None else one.value


def separability(space: Space, views: Sequence[LayerView]) -> Plain:
    """Share of held-out texts whose language a linear rule names, layer by layer."""
    measured = [view.separability for view in views]
    data: list[Plain] = []
    for kind, label in kinds(views).items():
        found = [None if one is None else getattr(one, kind) for one in measured]
        colour = {"linear": "--accent", "full": "--loss", "specific": "--grey"}[kind]
        data += _with_interval(space, found, colour, label)
    chance = next(one.chance for one in measured if one is not None)
    payload = _by_layer(space, data, "% of held-out texts classified right", from_zero=True)
    payload["figure"]["layout"]["yaxis"]["range"] = [0, 104]
    payload["figure"]["layout"]["shapes"].append(
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": 100 * chance,
            "y1": 100 * chance,
            "line": {"color": "--grey", "width": 1.5, "dash": "dash"},
        }
    )
    payload["figure"]["layout"]["annotations"] = [
        {
            "xref": "paper",
            "x": 1,
            "y": 100 * chance,
            "text": "guessing",
            "showarrow": False,
            "xanchor": "right",
            "yanchor": "bottom",
            "font": {"size": 12, "color": "--soft"},
        }
    ]
    return payload


def explained(space: Space, views: Sequence[LayerView]) -> Plain:
    """Share of the differences that each component holds, components by layers."""
    cells = np.array([view.explained for view in views]).T
    values = np.array([view.singular_values for view in views]).T
    count = len(cells)
    trace = {
        "type": "heatmap",
        "x": layer_places(space.layers),
        "y": list(range(1, count + 1)),
        "z": [[None if math.isnan(c) else round(100 * c, 2) for c in line] for line in cells],
        "hovertext": [
            [
                f"{layer_name(view.layer)}, component {row + 1}: "
                f"{formatting.percent(known(cell))} of "
                f"the differences, singular value {value:.3g}"
                for view, cell, value in zip(views, cells[row], values[row], strict=True)
            ]
            for row in range(count)
        ],
        "hoverinfo": "text",
        "zmin": 0,
        "xgap": 1 if len(views) <= 40 else 0,
        "ygap": 1,
        "colorscale": "sequential",
        "colorbar": colour_bar("% of the differences", -0.26),
    }
    payload = _by_layer(space, [trace], "component", from_zero=False)
    layout = payload["figure"]["layout"]
    layout["margin"]["b"] = 92
    layout["shapes"][0]["layer"] = "above"
    layout["yaxis"] |= {
        "autorange": "reversed",
        "showgrid": False,
        "tick0": 1,
        "dtick": 1 + count // 10,
    }
    return payload


def spread(space: Space, views: Sequence[LayerView]) -> Plain:
    """The only singular value of two languages, layer by layer."""
    values = [float(view.singular_values[0]) for view in views]
    hover = [
        f"{layer_name(view.layer)}: singular value {value:.3g}"
        for view, value in zip(views, values, strict=True)
    ]
    data = _line(space, list(values), hover, "--accent")
    return _by_layer(space, data, "singular value", from_zero=True)


def _line(
    space: Space, values: Sequence[float | None], hover: Sequence[str], colour: str
) -> list[Plain]:
    """A line over the blocks, and a mark apart for the state after the final norm."""
    places = layer_places(space.layers)
    size = 7 if len(places) <= 40 else 4
    base: Plain = {
        "type": "scatter",
        "hoverinfo": "text",
        "cliponaxis": False,
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": size},
    }
    shown = [None if value is None else rounded(value) for value in values]
    return [
        {
            **base,
            "mode": "lines+markers",
            "x": places[:-1],
            "y": shown[:-1],
            "hovertext": list(hover[:-1]),
        },
        {
            **base,
            "mode": "markers",
            "x": places[-1:],
            "y": shown[-1:],
            "hovertext": list(hover[-1:]),
            "marker": {"color": colour, "size": 9},
        },
    ]


def _with_interval(
    space: Space, found: Sequence[Estimate | None], colour: str, where: str
) -> list[Plain]:
    values = [None if one is None or one.value is None else 100 * one.value for one in found]
    hover = [
        f"{where}, {layer_name(layer)}: {share(one)}"
        for layer, one in zip(space.layers, found, strict=True)
    ]
    lines = _line(space, values, hover, colour)
    for line, part in zip(lines, (found[:-1], found[-1:]), strict=True):
        ends = [_ends(one) for one in part]
        line["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [up for up, _ in ends],
            "arrayminus": [down for _, down in ends],
            "color": colour,
            "thickness": 1.2,
            "width": 0,
        }
    return lines


def _ends(one: Estimate | None) -> tuple[float, float]:
    """How far the interval reaches above and below the value, in percent."""
    if one is None or one.value is None or one.low is None or one.high is None:
        return 0.0, 0.0
    return rounded(100 * (one.high - one.value)), rounded(100 * (one.value - one.low))


def _by_layer(space: Space, data: list[Plain], title: str, *, from_zero: bool) -> Plain:
    places, ticks = layer_places(space.layers), layer_ticks(space.layers)
    layout = base_layout({"l": 52, "r": 14, "t": 10, "b": 44})
    layout["xaxis"] = {
        **plain_axis("layer"),
        "tickvals": [place for place, _ in ticks],
        "ticktext": [text for _, text in ticks],
        "range": [-0.6, places[-1] + 0.6],
        "showgrid": False,
    }
    layout["yaxis"] = {**plain_axis(title), "rangemode": "tozero" if from_zero else "normal"}
    # A line at the layer that is looked at; frames move it.
    mark = {"color": "--grey", "width": 1.2}
    layout["shapes"] = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "line": mark,
         "layer": "below"}
    ]  # fmt: skip
    frames = [{"layout": {"shapes[0].x0": place, "shapes[0].x1": place}} for place in places]
    return {"figure": {"data": data, "layout": layout}, "frames": frames}
