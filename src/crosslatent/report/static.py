"""The report's figures for papers: PNG, PDF and SVG, drawn by Matplotlib without a display."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crosslatent.analysis import Summary
from crosslatent.analysis.accuracy import PairGrid
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import (
    colours,
    conditions,
    diagnosis,
    evidence,
    formatting,
    gains,
    graded,
    map_panels,
    maps,
    safe,
    sections,
)
from crosslatent.report.forest import Forest, Mark, number
from crosslatent.report.views import Panel

FORMATS = ("png", "pdf", "svg")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": colours.GREY,
    "svg.hashsalt": "crosslatent",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    # Languages, splits and groups are named by users: a dollar sign in a name is no formula.
    "text.parse_math": False,
}
MOST_PIXELS = 2**15
"""Of a side of an image: a run may have any number of languages, and Agg ends at twice that."""
_COLOURS = {
    "true": colours.ACCENT,
    "loss": colours.LOSS,
    "base": colours.INK,
    "control": colours.GREY,
}
_MARKERS = {"reference": "D", "majority": "|"}


def write_figures(summary: Summary, folder: Path) -> None:
    """Write every figure that the summary can fill as ``TASK-NAME.png``, ``.pdf`` and ``.svg``.

    The files of a second run of the same task get a number.
    """
    wanted = summary.headline.declared.test if summary.headline is not None else None
    used: list[str] = []
    for run in summary.runs:
        used.append(safe.file_stem(run.task, used))
        with mpl.rc_context(_STYLE):
            for name, figure in _figures(run, gains.judged_split(run, wanted)):
                _save(figure, folder / f"{used[-1]}-{name}")


def _figures(run: RunSummary, split: str | None) -> Iterator[tuple[str, Figure]]:
    grids = map_panels.shown_grids(run, split)
    overview = [g for one in run.components if (g := map_panels.first_of(grids, one)) is not None]
    if overview:
        yield "heatmaps", _heatmaps(run, overview)
    accuracy = sections.accuracy_panel(run)
    compared = gains.compared_panel(run, split)
    scores = graded.scores_section(run, split)
    fidelity = graded.fidelity_section(run, split)
    over = evidence.over_controls(run)
    under = conditions.condition_panel(run, split)
    panels = {
        "accuracy": [accuracy] if accuracy is not None else [],
        "conditions": [under] if under is not None else [],
        "over-controls": [over] if over is not None else [],
        "upper-bound": sections.bound_panels(run),
        "gain": gains.gain_panels(run, split),
        "compared": [compared] if compared is not None else [],
        "controls": gains.control_panels(run, split),
        "strata": diagnosis.strata_panels(run, split),
        "scores": scores.panels if scores is not None else [],
        "fidelity": fidelity.panels if fidelity is not None else [],
    }
    for name, parts in panels.items():
        if parts:
            yield name, _forests(parts)


def _save(figure: Figure, stem: Path) -> None:
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    # The layout that this drawing found holds for every format: finding it again takes seconds.
    figure.set_layout_engine("none")
    dpi = min(160.0, MOST_PIXELS / max(figure.get_size_inches()))
    for kind in FORMATS:
        # Without a date two reports of one run folder are the same file.
        metadata = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
        figure.savefig(stem.with_name(f"{stem.name}.{kind}"), dpi=dpi, metadata=metadata)


def _heatmaps(run: RunSummary, grids: Sequence[PairGrid]) -> Figure:
    figure = Figure(figsize=(3.6 * len(grids) + 0.6, 3.9), layout="constrained")
    axes = [figure.add_subplot(1, len(grids), place + 1) for place in range(len(grids))]
    has_gain = grids[0].vanilla.value is not None
    end = 100 * maps.largest_gain(grids)
    stops = colours.DIVERGING_LIGHT if has_gain else colours.SEQUENTIAL_LIGHT
    scale = LinearSegmentedColormap.from_list("scale", list(stops))
    image = None
    for axis, grid in zip(axes, grids, strict=True):
        view = maps.map_view(grid)
        cells = np.array(view.z, dtype=np.float64)
        image = axis.imshow(
            cells, cmap=scale, vmin=-end if has_gain else 0, vmax=end, origin="lower"
        )
        _label_cells(axis, view, end)
        where = "" if grid.split == ALL else f", {safe.short(grid.split)} questions"
        axis.set(title=f"{formatting.component(grid.component)}{where}", xlabel="target layer")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        pick = gains.pooled(run, grid.component)
        if pick is not None:
            _outline(axis, *pick.choices[ALL].pair)
    axes[0].set_ylabel("source layer")
    label = "gain, points" if has_gain else "% of outputs changed"
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.7, label=label).outline.set_visible(False)
    return figure


def _label_cells(axis: Axes, view: maps.MapView, end: float) -> None:
    for source, line in enumerate(view.labels):
        for target, text in enumerate(line):
            value = view.z[source][target]
            strong = value is not None and abs(value) > 0.7 * end
            colour = "white" if strong else colours.INK
            axis.text(target, source, text, ha="center", va="center", fontsize=6.5, color=colour)


def _outline(axis: Axes, source: int, target: int) -> None:
    corner = (target - 0.5, source - 0.5)
    for colour, width in (("white", 3.6), (colours.INK, 1.6)):
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=width))


def _forests(panels: Sequence[Panel]) -> Figure:
    forests = [panel.forest for panel in panels if panel.forest is not None]
    rows = [len(forest.rows) for forest in forests]
    height = sum(0.34 * count + 0.75 for count in rows)
    figure = Figure(figsize=(7.0, height), layout="constrained")
    places = figure.add_gridspec(len(forests), 1, height_ratios=[count + 1.5 for count in rows])
    for place, (panel, forest) in enumerate(zip(panels, forests, strict=True)):
        axis = figure.add_subplot(places[place, 0])
        _forest(axis, forest)
        # Leave room for a legend between the title and the plot.
        axis.set_title(
            safe.short(panel.title, safe.LONGEST_TITLE),
            loc="left",
            fontsize=9.5,
            pad=24 if _has_legend(forest) else 6,
        )
    return figure


def _forest(axis: Axes, forest: Forest) -> None:
    for place, line in enumerate(forest.rows):
        for mark in reversed(line.marks):
            kind = forest.kind(mark)
            _mark(axis, mark, place, kind, whisker=mark is line.marks[0])
        axis.text(
            1.04, place, number(forest, line), transform=axis.get_yaxis_transform(), va="center"
        )
    axis.set_yticks(range(len(forest.rows)), [safe.short(line.label) for line in forest.rows])
    axis.set_ylim(len(forest.rows) - 0.5, -0.5)
    axis.set_xlim(*forest.limits)
    axis.set_xticks([value for value, _ in forest.ticks], [text for _, text in forest.ticks])
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=colours.PALE, linewidth=0.5)
    axis.set_axisbelow(True)
    if _has_legend(forest):
        _legend(axis)
    if forest.difference:
        axis.axvline(0, color=colours.INK, linewidth=0.8)


def _has_legend(forest: Forest) -> bool:
    return any(len(line.marks) > 1 for line in forest.rows)


def _legend(axis: Axes) -> None:
    """Name the marks of rows that have several, above the plot."""
    handles, labels = axis.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    axis.legend(
        named.values(),
        named.keys(),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
    )


def _mark(axis: Axes, mark: Mark, place: int, kind: str, *, whisker: bool) -> None:
    estimate = mark.estimate
    if estimate.value is None:
        return
    colour = _COLOURS.get(kind, colours.GREY)
    if estimate.low is not None and estimate.high is not None and whisker:
        axis.hlines(place, estimate.low, estimate.high, color=colour, linewidth=1.6)
    axis.plot(
        estimate.value,
        place,
        marker=_MARKERS.get(mark.kind, "o"),
        markersize=7 if mark.kind == "majority" else 5,
        color=colour,
        linestyle="none",
        clip_on=False,
        label=safe.short(mark.name),
        markerfacecolor="white" if mark.kind in ("control", "reference") else colour,
    )
