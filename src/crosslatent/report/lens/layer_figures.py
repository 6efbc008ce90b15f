"""A probe's figures over all layers: variance, separability, components of the differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from crosslatent.core.subspace import Floats
from crosslatent.lens.space import Space
from crosslatent.report import colours
from crosslatent.report.drawing import (
    WIDTH,
    colour_scale,
    layer_axis,
    layer_places,
    log_axis,
)
from crosslatent.report.lens.views import (
    LayerView,
)
from crosslatent.stats import Estimate

RULES = {
    "linear": ("learned rule", colours.ACCENT),
    "full": ("nearest mean, whole space", colours.LOSS),
    "specific": ("nearest mean, specific subspace", colours.GREY),
}
"""Shares of texts classified correctly, with the names and colours of their lines."""
_SIDE = WIDTH / 72


def over_layers(space: Space, views: Sequence[LayerView]) -> Iterator[tuple[str, str, Figure]]:
    """Name, caption and figure of everything that is shown over all layers."""
    if any(view.between is not None for view in views):
        said = "Of the variance of single texts\u2019 states, the share that lies between the "
        yield "between", f"{said}languages\u2019 means.", between(space, views)
    if kinds(views):
        full_rank = space.rank == len(space.languages) - 1
        yield "separability", _rules_caption(views, full_rank), separability(space, views)
    if len(space.languages) == 2:
        said = (
            "How far the two means lie apart: the only singular value of the centred means; it "
            "grows with the states, so compare layers with care."
        )
    else:
        said = (
            "Components of the differences: singular values of the centred means. Their squares "
            "as shares of their sum say how many dimensions the differences between languages "
            "take."
        )
        yield "explained", said, explained(space, views)
    yield "singular-values", said, singular_values(space, views)


def _rules_caption(views: Sequence[LayerView], full_rank: bool) -> str:
    names = kinds(views)
    said = ["Can a linear rule tell the languages apart?"]
    if "linear" in names:
        said.append(
            "The learned rule (blue) is a ridge regression that never saw the text; it says what a "
            "linear rule can do."
        )
    if "specific" in names:
        said.append(
            "The nearest mean of other texts, in the whole space (orange) and in the specific "
            "subspace (grey), says what the means alone do."
        )
    elif "full" in names:
        said.append("The nearest mean of other texts (orange) says what the means alone do.")
        if full_rank:
            said.append(
                "It is the same in the specific subspace, which at full rank holds all differences "
                "of the means."
            )
    said.append("Bands: 95\u202f% intervals; where all texts agree there is none.")
    return " ".join(said)


def _by_layer(space: Space, label: str, height: float = 3.0) -> tuple[Figure, Axes]:
    """Axes over all layers, with a line at each that the page shows for the chosen one."""
    figure = Figure(figsize=(_SIDE, height), layout="constrained")
    axis = figure.add_subplot()
    for number, place in enumerate(layer_places(space.layers)):
        axis.axvline(place, color=colours.GREY, linewidth=0.0, gid=f"layer-{number}", zorder=0)
    axis.set_ylabel(label)
    return figure, axis


def between(space: Space, views: Sequence[LayerView]) -> Figure:
    """Share of the variance of single states between languages, by layer."""
    figure, axis = _by_layer(space, "% of variance between languages")
    values = [math.nan if view.between is None else 100 * view.between for view in views]
    _line(axis, layer_places(space.layers), np.array(values), colours.ACCENT, width=1.8, dots=True)
    axis.set_ylim(bottom=0)
    layer_axis(axis, space.layers)
    return figure


def kinds(views: Sequence[LayerView]) -> dict[str, str]:
    """The shares of texts classified correctly that can be drawn, with the names of their lines.

    At full rank the nearest mean is the same in the whole space and in the specific subspace, which
    holds all differences of the means: then one line is drawn, since the two would coincide.
    """
    found = {kind: [_rule(view, kind) for view in views] for kind in RULES}
    values = {
        kind: [None if one is None else one.value for one in rules] for kind, rules in found.items()
    }
    names = {kind: name for kind, (name, _) in RULES.items()}
    if values["full"] == values["specific"]:
        names = {"linear": names["linear"], "full": "nearest mean"}
    return {
        kind: name
        for kind, name in names.items()
        if any(value is not None for value in values[kind])
    }


def _rule(view: LayerView, kind: str) -> Estimate | None:
    found: Estimate | None = None
    if view.separability is not None:
        found = getattr(view.separability, kind)
    return found


def separability(space: Space, views: Sequence[LayerView]) -> Figure:
    """Share of held-out texts whose language a linear rule names, by layer."""
    figure, axis = _by_layer(space, "% of held-out texts classified right", 3.3)
    for kind, label in kinds(views).items():
        _with_band(axis, space, [_rule(view, kind) for view in views], RULES[kind][1], label)
    measured = [view.separability for view in views if view.separability is not None]
    chance = 100 * measured[0].chance
    axis.axhline(chance, color=colours.GREY, linewidth=1, linestyle=(0, (4, 3)), label="guessing")
    axis.set_ylim(0, 104)
    layer_axis(axis, space.layers)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8)
    return figure


def _with_band(
    axis: Axes, space: Space, found: Sequence[Estimate | None], colour: str, label: str
) -> None:
    places = layer_places(space.layers)
    rows = [(_percent(one, "value"), _percent(one, "low"), _percent(one, "high")) for one in found]
    values, low, high = np.array(rows).T
    _line(axis, places, values, colour, width=1.8, dots=True, label=label)
    axis.fill_between(places[:-1], low[:-1], high[:-1], color=colour, alpha=0.18, linewidth=0)
    axis.vlines(places[-1], low[-1], high[-1], color=colour, linewidth=1.6)


def _percent(one: Estimate | None, part: str) -> float:
    value = None if one is None else getattr(one, part)
    # No interval is drawn as one of no width: the band must not break where all texts agree.
    if value is None and part != "value":
        value = None if one is None else one.value
    return math.nan if value is None else 100 * value


def explained(space: Space, views: Sequence[LayerView]) -> Figure:
    """Share of the differences that each component holds, components by layers."""
    figure, axis = _by_layer(space, "component", 3.6)
    cells = 100 * np.array([view.explained for view in views]).T
    scale = LinearSegmentedColormap.from_list("scale", colours.SEQUENTIAL_LIGHT)
    places = layer_places(space.layers)
    edges = [k - 0.5 for k in range(len(views))]
    rows = np.arange(len(cells) + 1) + 0.5
    top = float(np.nanmax(cells)) if np.isfinite(cells).any() else 1.0
    mesh = axis.pcolormesh(edges, rows, cells[:, :-1], cmap=scale, vmin=0, vmax=top, gid="mesh")
    final = [places[-1] - 0.5, places[-1] + 0.5]
    axis.pcolormesh(final, rows, cells[:, -1:], cmap=scale, vmin=0, vmax=top, gid="mesh")
    layer_axis(axis, space.layers)
    axis.grid(visible=False)
    axis.set_ylim(rows[-1], rows[0])
    axis.set_yticks(range(1, len(cells) + 1, 1 + len(cells) // 10))
    axis.spines[:].set_visible(False)
    colour_scale(axis, mesh, "% of the differences")
    return figure


def singular_values(space: Space, views: Sequence[LayerView]) -> Figure:
    """Singular values by layer."""
    values = np.array([view.singular_values for view in views])
    figure, axis = _by_layer(space, "singular values" if values.shape[1] > 1 else "singular value")
    tones = LinearSegmentedColormap.from_list("tones", [colours.ACCENT, colours.PALE])
    for component in range(values.shape[1]):
        colour = tones(component / max(values.shape[1] - 1, 1))
        width = 2.0 if component == 0 else 1.1
        _line(axis, layer_places(space.layers), values[:, component], colour, width=width)
    if (values > 0).all():
        log_axis(axis)
    layer_axis(axis, space.layers)
    return figure


def _line(
    axis: Axes,
    places: Sequence[float],
    values: Floats,
    colour: str | tuple[float, ...],
    *,
    width: float,
    dots: bool = False,
    label: str = "_",
) -> None:
    """A line over the blocks, and a mark apart for the state after the final norm."""
    size = 3.5 if len(places) <= 40 else 2.2
    marker = "o" if dots else "None"
    axis.plot(places[:-1], values[:-1], marker=marker, markersize=size, color=colour,
              linewidth=width, label=label, clip_on=False)  # fmt: skip
    axis.plot(places[-1], values[-1], "o", color=colour, markersize=5, clip_on=False)
