"""A probe's figures for papers: PNG, PDF and SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from crosslatent.core.subspace import Floats
from crosslatent.lens.space import Space
from crosslatent.report import colours, formatting
from crosslatent.report.lens import marks, probe_charts
from crosslatent.report.lens.drawing import (
    layer_axis,
    layer_name,
    layer_places,
    log_axis,
    save,
    style,
)
from crosslatent.report.lens.layer_charts import has_separability, kinds
from crosslatent.report.lens.marks import Mark
from crosslatent.report.lens.views import LayerView, drawn_langs, outside, some_layers, square
from crosslatent.report.safe import short
from crosslatent.stats import Estimate

MOST_PANELS = 9
LAST_ANGLES = 3
_LETTER = (0.034, 0.062)
"""Width and height of a label's letter, as a share of a panel's side."""
_MARK = 0.032
_OFFSETS = {"left": -1, "center": 0, "right": 1, "middle": 0, "top": 1, "bottom": -1}
_ALIGN = {"left": "right", "right": "left", "center": "center"}
_UPRIGHT = {"middle": "center_baseline", "top": "bottom", "bottom": "top"}


def write_figures(space: Space, views: Sequence[LayerView], folder: Path) -> None:
    """Write every figure that the space can fill as ``NAME.png``, ``.pdf`` and ``.svg``."""
    with mpl.rc_context(style()):
        for name, figure in _figures(space, views):
            save(figure, folder / name)


def _figures(space: Space, views: Sequence[LayerView]) -> Iterator[tuple[str, Figure]]:
    yield "languages", languages(space, views)
    yield "singular-values", singular_values(space, views)
    if any(view.between is not None for view in views):
        yield "between", between(space, views)
    if has_separability(views):
        yield "separability", separability(space, views)
    if len(space.languages) > 2:
        yield "angles", angles(space, views)


def languages(space: Space, views: Sequence[LayerView]) -> Figure:
    """Languages in the specific subspace, a panel for each of some layers."""
    shown = [views[place] for place in some_layers(space.layers, MOST_PANELS)]
    looks = marks.marks(space.languages, space.central)
    langs = np.array(drawn_langs(space))
    strip = shown[0].means.shape[1] == 1
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    high = (0.4 if len(looks) <= 6 else 0.22) * len(looks) + 0.6 if strip else 2.75
    figure = Figure(figsize=(2.6 * columns, high * rows + 0.6), layout="constrained")
    for place, view in enumerate(shown):
        axis = figure.add_subplot(rows, columns, place + 1)
        if strip:
            _strip(axis, view, looks, langs)
        else:
            _plane(axis, view, looks, langs)
        left = outside(view)
        away = f" ({formatting.count(left, 'text')} outside)" if left else ""
        axis.set_title(f"{layer_name(view.layer)}{away}")
    figure.suptitle(
        _languages_title(space, len(shown), strip=strip), fontsize=8.5, x=0.01, ha="left"
    )
    return figure


def _languages_title(space: Space, shown: int, *, strip: bool) -> str:
    which = (
        "every layer" if shown == len(space.layers) else f"{shown} of {len(space.layers)} layers"
    )
    small = "" if space.points is None else "; small marks: held-out texts"
    axes = "the axis" if strip else "the two axes"
    return f"Means along {axes} on which languages differ most, {which}{small}."


def _plane(axis: Axes, view: LayerView, looks: Sequence[Mark], langs: Any) -> None:
    centre, side = square(view)
    axis.set_xlim(centre[0] - side / 2, centre[0] + side / 2)
    axis.set_ylim(centre[1] - side / 2, centre[1] + side / 2)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(probe_charts.axis_title(view, 0), fontsize=7.5)
    axis.set_ylabel(probe_charts.axis_title(view, 1), fontsize=7.5)
    if view.texts is not None:
        for look in looks:
            _texts(axis, view.texts[langs == look.lang], look)
    unit = (view.means - centre) / side + 0.5
    labels = [_label(look) for look in looks]
    places = marks.label_places(unit, labels, letter=_LETTER, mark=_MARK)
    for look, mean, label, place in zip(looks, view.means, labels, places, strict=True):
        _mean(axis, mean, look)
        _write(axis, mean, label, marks.PLACES[place], bold=look.central)


def _label(look: Mark) -> str:
    """Codes: names are too long for small multiples."""
    return short(look.lang, marks.LONGEST_CODE)


def _strip(axis: Axes, view: LayerView, looks: Sequence[Mark], langs: Any) -> None:
    for row, look in enumerate(looks):
        if view.texts is not None:
            values = view.texts[langs == look.lang][:, 0]
            heights = row + probe_charts.jitter(len(values))
            _texts(axis, np.stack([values, heights], axis=1), look)
        _mean(axis, np.array([view.means[row, 0], row]), look)
    axis.set_yticks(range(len(looks)), [look.label for look in looks])
    axis.set_ylim(len(looks) - 0.4, -0.6)
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)


def _texts(axis: Axes, values: Floats, look: Mark) -> None:
    axis.plot(
        values[:, 0],
        values[:, 1],
        marks.MARKERS[look.symbol],
        color=marks.LIGHT[look.colour],
        markersize=2,
        alpha=0.45,
        markeredgewidth=0,
    )


def _mean(axis: Axes, mean: Floats, look: Mark) -> None:
    axis.plot(
        mean[0],
        mean[1],
        marks.MARKERS[look.symbol],
        color=marks.LIGHT[look.colour],
        markersize=7,
        markeredgecolor=colours.INK if look.central else "white",
        markeredgewidth=1.2 if look.central else 0.8,
        clip_on=False,
        zorder=3,
    )


def _write(axis: Axes, point: Floats, label: str, place: str, *, bold: bool) -> None:
    upright, sideways = place.split()
    gap = 4.5 if upright == "middle" or sideways == "center" else 3.5
    axis.annotate(
        label,
        (point[0], point[1]),
        (gap * _OFFSETS[sideways], gap * _OFFSETS[upright]),
        textcoords="offset points",
        ha=_ALIGN[sideways],
        va=_UPRIGHT[upright],
        fontsize=7,
        fontweight="bold" if bold else "normal",
        color=colours.INK,
        zorder=4,
        annotation_clip=False,
    )


def singular_values(space: Space, views: Sequence[LayerView]) -> Figure:
    """Singular values by layer, and what share of the differences each component holds."""
    values = np.array([view.singular_values for view in views])
    several = values.shape[1] > 1
    figure = Figure(figsize=(7.4 if several else 4.2, 3.0), layout="constrained")
    axis = figure.add_subplot(1, 2 if several else 1, 1)
    places = layer_places(space.layers)
    tones = LinearSegmentedColormap.from_list("tones", [colours.ACCENT, colours.PALE])
    for component in range(values.shape[1]):
        colour = tones(component / max(values.shape[1] - 1, 1))
        _line(axis, places, values[:, component], colour, width=2.0 if component == 0 else 1.1)
    if (values > 0).all():
        log_axis(axis)
    axis.set_ylabel("singular values" if several else "singular value")
    layer_axis(axis, space.layers)
    if several:
        _shares(figure.add_subplot(1, 2, 2), space, views, figure)
    return figure


def _shares(axis: Axes, space: Space, views: Sequence[LayerView], figure: Figure) -> None:
    cells = 100 * np.array([view.explained for view in views]).T
    scale = LinearSegmentedColormap.from_list("scale", colours.SEQUENTIAL_LIGHT)
    places = layer_places(space.layers)
    edges = [k - 0.5 for k in range(len(views))]
    rows = np.arange(len(cells) + 1) + 0.5
    top = float(np.nanmax(cells)) if np.isfinite(cells).any() else 1.0
    image = axis.pcolormesh(edges, rows, cells[:, :-1], cmap=scale, vmin=0, vmax=top)
    final = [places[-1] - 0.5, places[-1] + 0.5]
    axis.pcolormesh(final, rows, cells[:, -1:], cmap=scale, vmin=0, vmax=top)
    layer_axis(axis, space.layers)
    axis.grid(visible=False)
    axis.set_ylim(rows[-1], rows[0])
    axis.set_yticks(range(1, len(cells) + 1, 1 + len(cells) // 10))
    axis.set_ylabel("component")
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, label="% of the differences")
    bar.outline.set_visible(False)


def between(space: Space, views: Sequence[LayerView]) -> Figure:
    """Share of the variance of single states between languages, by layer."""
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axis = figure.add_subplot()
    values = [math.nan if view.between is None else 100 * view.between for view in views]
    _line(axis, layer_places(space.layers), np.array(values), colours.ACCENT, width=1.8, dots=True)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("% of variance between languages")
    layer_axis(axis, space.layers)
    return figure


_OF_RULE = {"linear": colours.ACCENT, "full": colours.LOSS, "specific": colours.GREY}


def separability(space: Space, views: Sequence[LayerView]) -> Figure:
    """Share of held-out texts whose language a linear rule names, by layer."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = figure.add_subplot()
    measured = [view.separability for view in views]
    for kind, label in kinds(views).items():
        found = [None if one is None else getattr(one, kind) for one in measured]
        colour = _OF_RULE[kind]
        _with_band(axis, layer_places(space.layers), found, colour, label)
    chance = next(100 * one.chance for one in measured if one is not None)
    axis.axhline(chance, color=colours.GREY, linewidth=1, linestyle=(0, (4, 3)), label="guessing")
    axis.set_ylim(0, 104)
    axis.set_ylabel("% of held-out texts classified right")
    layer_axis(axis, space.layers)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8)
    return figure


def _with_band(
    axis: Axes, places: list[float], found: Sequence[Estimate | None], colour: str, label: str
) -> None:
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


def _line(
    axis: Axes,
    places: Sequence[float],
    values: Floats,
    colour: Any,
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


def angles(space: Space, views: Sequence[LayerView]) -> Figure:
    """Angles between languages in the last layers."""
    shown = list(views[-LAST_ANGLES:])
    labels = [_label(look) for look in marks.marks(space.languages, space.central)]
    stops = probe_charts.angle_scale(len(labels), colours.DIVERGING_LIGHT)
    scale = LinearSegmentedColormap.from_list("angles", stops)
    side = max(2.2, 0.2 * len(labels))
    figure = Figure(figsize=(side * len(shown) + 0.9, side + 0.7), layout="constrained")
    axes = [figure.add_subplot(1, len(shown), place + 1) for place in range(len(shown))]
    image = None
    for axis, view in zip(axes, shown, strict=True):
        cells = view.angles.copy()
        np.fill_diagonal(cells, np.nan)
        image = axis.imshow(cells, cmap=scale, vmin=0, vmax=180)
        axis.set_title(layer_name(view.layer))
        axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        _number_cells(axis, cells, probe_charts.LABELLED_ANGLES)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 45, 90, 135, 180])
        bar.set_label("degrees")
        bar.outline.set_visible(False)
    return figure


def _number_cells(axis: Axes, cells: Floats, most: int) -> None:
    if len(cells) > most:
        return
    for (row, column), value in np.ndenumerate(cells):
        if not math.isnan(value):
            strong = value < 40 or value > 155
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5,
                      color="white" if strong else colours.INK)  # fmt: skip
