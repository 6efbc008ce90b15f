"""Heat map over (source, target): gain over the unmodified run, cell by cell."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from crosslatent.analysis.accuracy import PairGrid
from crosslatent.analysis.items import ALL
from crosslatent.core.specs import Pair
from crosslatent.report import colours, formatting, safe
from crosslatent.report.drawing import figure_of
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.gains import pooled
from crosslatent.report.maps import LABELLED_LAYERS, MapView, caption_of, limit, map_view, own_grids

_BAR = 40
"""Cells of the colour scale below a map."""


@register_figure("heatmap", parts=components)
def heatmap(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Gain of every pair of layers; share of changed outputs without gold answers."""
    grid = own_grids(run.summary, run.part, run.split)[0]
    view, end = map_view(grid), 100 * limit(run.summary, grid)
    unit = (
        "points above or below the unmodified answers" if view.has_gain else "% of outputs changed"
    )
    draw_map(axes, view, end, unit)
    where = "" if grid.split == ALL else f", {safe.short(grid.split)} questions"
    name = formatting.first_upper(formatting.component(run.part))
    axes.set(title=f"{name}{where}")
    pick = pooled(run.summary, run.part)
    if pick is not None:
        _outline(axes, pick.choices[ALL].pair)
    caption.append(caption_of(grid))
    return _table(grid)


def draw_map(axes: Axes, view: MapView, end: float, unit: str) -> None:
    """Cells of all pairs with their scale.

    Args:
        axes: what to draw on.
        view: the cells.
        end: of the scale, in points or percent.
        unit: what is drawn, below the scale.
    """
    stops = colours.DIVERGING_LIGHT if view.has_gain else colours.SEQUENTIAL_LIGHT
    scale = LinearSegmentedColormap.from_list("scale", list(stops))
    low = -end if view.has_gain else 0.0
    _cells(axes, view, scale, low, end)
    axes.set_xlabel("target layer (where the vector lands)")
    axes.set_ylabel("source layer (where it is read)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_aspect("equal")
    _bar(axes, scale, low, end, unit)


def _cells(
    axes: Axes, view: MapView, scale: LinearSegmentedColormap, low: float, high: float
) -> None:
    size = len(view.z)
    for source, line in enumerate(view.z):
        for target, value in enumerate(line):
            colour = "#ffffff" if value is None else scale((value - low) / (high - low))
            corner = target - 0.48, source - 0.48
            cell = Rectangle(corner, 0.96, 0.96, facecolor=colour, gid=f"cell-{source}-{target}")
            axes.add_patch(cell)
            if text := view.labels[source][target]:
                strong = value is not None and abs(value) > 0.7 * high
                axes.text(
                    *(target, source, text),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if strong else colours.INK,
                    gid=f"cell-{source}-{target}-label",
                )
    step = 1 if size <= LABELLED_LAYERS else 4
    axes.set(xticks=range(0, size, step), yticks=range(0, size, step))
    axes.set(xlim=(-0.5, size - 0.5), ylim=(-0.5, size - 0.5))


def _outline(axes: Axes, pair: Pair) -> None:
    # Two outlines, so that one of them contrasts with any cell.
    corner = (pair[1] - 0.5, pair[0] - 0.5)
    for colour, width in (("#ffffff", 3.6), (colours.INK, 1.6)):
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=width))


def _bar(axes: Axes, scale: LinearSegmentedColormap, low: float, high: float, title: str) -> None:
    figure = figure_of(axes)
    figure.set_size_inches(figure.get_figwidth(), figure.get_figwidth() * 1.12)
    bar = axes.inset_axes((0.2, -0.2, 0.6, 0.022))
    for place in range(_BAR):
        left = place / _BAR
        colour = scale(left + 0.5 / _BAR)
        patch = Rectangle(
            (left, 0), 1.05 / _BAR, 1, facecolor=colour, gid=f"cell-bar-{place}", linewidth=0
        )
        bar.add_patch(patch)
    for place, value in enumerate((low, (low + high) / 2, high)):
        text = formatting.points(value / 100) if low < 0 else f"{value:.0f}"
        bar.text(
            *(place / 2, -0.4, text),
            ha="center",
            va="top",
            fontsize=7.5,
            gid=f"cell-tick-{place}",
        )
    bar.set(xlim=(0, 1), ylim=(0, 1), yticks=[], xticks=[])
    bar.set_xlabel(title, fontsize=7.5, labelpad=12)
    bar.spines[:].set_visible(False)


def _table(grid: PairGrid) -> pd.DataFrame:
    """The pairs that were run, with what the map shows of them."""
    return pd.DataFrame.from_records(
        [
            {
                "source": source,
                "target": target,
                "accuracy": grid.accuracy[source][target],
                "value": grid.gain[source][target],
                "low": grid.gain_low[source][target],
                "high": grid.gain_high[source][target],
                "changed": changed,
            }
            for source, line in enumerate(grid.changed)
            for target, changed in enumerate(line)
            if changed is not None
        ]
    )
