"""Heat maps over (source, target): what they show, in words, and as Plotly figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosslatent.analysis.accuracy import Matrix, PairGrid
from crosslatent.analysis.accuracy import grid as grid_of
from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component, Pair
from crosslatent.report import colours, forest, formatting, gains, verdicts
from crosslatent.report.safe import in_script
from crosslatent.report.verdicts.grid_verdicts import Maps
from crosslatent.report.views import Passage
from crosslatent.runs.contents import readable

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from crosslatent.report.figure import Drawn, Reported
    from crosslatent.runs.reader import RunReader

LABELLED_LAYERS = 12
"""Models with more layers than this get no numbers in the cells: they would not fit."""

LEAST_LIMIT = 0.05
"""The colour scale spans at least this gain, so that noise does not look like an effect."""


@readable()
def heatmap(
    reader: RunReader,
    component: Component,
    *,
    split: str | None = None,
    lang: str | None = None,
    mark: Pair | None = None,
    seed: int = 0,
) -> go.Figure:
    """Gain of every (source, target) pair of a run; share of changed outputs without gold answers.

    Args:
        reader: the run folder.
        component: what was transplanted.
        split: split to look at; None = all.
        lang: language to look at; None = all.
        mark: a pair to outline.
        seed: of the intervals shown on hover.
    """
    data = RunData(reader)
    mask = data.items.in_group(split, lang)
    return _figure(grid_of(data, component, split or ALL, lang or ALL, mask, seed), mark)


def _figure(grid: PairGrid, mark: Pair | None) -> go.Figure:
    """One grid as a Plotly figure. `mark`: a pair to outline."""
    import plotly.graph_objects as go

    view = map_view(grid)
    result = go.Figure(
        go.Heatmap(
            z=view.z,
            text=view.labels,
            hovertext=[[text.replace("\n", "<br>") for text in line] for line in view.hover],
            hoverinfo="text",
            texttemplate="%{text}",
            xgap=1,
            ygap=1,
            coloraxis="coloraxis",
        )
    )
    end = 100 * _largest_gain([grid])
    result.update_layout(
        template="none",
        margin={"l": 46, "r": 8, "t": 8, "b": 46},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": colours.INK},
        xaxis=_axis("target layer (where the vector lands)", len(view.z)),
        yaxis=_axis("source layer (where it is read)", len(view.z)),
        coloraxis=_colour_axis(view.has_gain, end),
        # Two outlines, so that one of them contrasts with any cell.
        shapes=[] if mark is None else [_outline(mark, "white", 5), _outline(mark, colours.INK, 2)],
    )
    return result


@dataclass(frozen=True, slots=True)
class MapView:
    """What one grid shows: z in points (or percent changed), cell labels, texts on hover."""

    has_gain: bool
    z: Matrix
    labels: list[list[str]]
    hover: list[list[str]]
    n: int


def map_view(grid: PairGrid) -> MapView:
    """Turn a grid into what a heat map shows, [source][target]."""
    has_gain = grid.vanilla.value is not None
    shares = grid.gain if has_gain else grid.changed
    size = len(shares)
    return MapView(
        has_gain=has_gain,
        z=[[None if cell is None else round(100 * cell, 2) for cell in line] for line in shares],
        labels=[[_label(cell, size, has_gain) for cell in line] for line in shares],
        hover=[[_hover(grid, i, j) for j in range(size)] for i in range(size)],
        n=grid.n,
    )


def _largest_gain(grids: Sequence[PairGrid]) -> float:
    """Largest gain or loss in some grids, at least `LEAST_LIMIT`; 1 without any gains."""
    gains = [abs(cell) for grid in grids for cell in _cells(grid.gain)]
    return max(LEAST_LIMIT, *gains) if gains else 1.0


def shown_grids(run: RunSummary, split: str | None) -> list[PairGrid]:
    """Grids to show: never over several splits; `split` first, with its languages, then the others.

    A run without named splits, or with one, has a grid of all its questions. A language that is all
    there is is not shown twice.
    """
    splits = {grid.split for grid in run.grids if grid.split != ALL}
    langs = {grid.lang for grid in run.grids if grid.lang != ALL}
    found = [
        grid
        for grid in run.grids
        if (grid.split != ALL) == (len(splits) > 1) and (grid.lang == ALL or len(langs) > 1)
    ]
    # Stable: within a split, all languages together come first.
    return sorted(found, key=lambda grid: (grid.split != split, grid.lang != ALL))


def own_grids(run: RunSummary, component: str, split: str | None) -> list[PairGrid]:
    """`shown_grids` of one component."""
    return [grid for grid in shown_grids(run, split) if grid.component == component]


def map_sentence(run: RunSummary, grids: Sequence[PairGrid], split: str | None) -> str:
    """How to read the maps that are seen first."""
    seen = [next(grid for grid in grids if grid.component == one) for one in run.components]
    if not seen:
        return ""
    cells = [cell for grid in seen for line in grid.gain for cell in line if cell is not None]
    picks = [pick for one in run.components if (pick := gains.pooled(run, one)) is not None]
    return verdicts.MAP.say(
        Maps(
            judged=seen[0].vanilla.value is not None,
            gains=any(cell > 0 for cell in cells),
            losses=any(cell < 0 for cell in cells),
            tuned=picks[0].choices[ALL].split if picks else None,
            tested=any(gains.outcome(pick, split) for pick in picks),
        )
    )


def heat_maps(reported: Reported, figures: Sequence[Drawn], *, alone: bool = False) -> Passage:
    """Drawn heat maps, with the data of their views.

    Args:
        reported: the run.
        figures: the maps, of a component each.
        alone: each with a scale of its own, and of the questions that gains are shown on; else
            with one scale, so that they can be compared, and a choice of questions.
    """
    run, split = reported.summary, reported.split
    if not figures:
        return Passage()
    shown = [own_grids(run, figure.part, split)[: 1 if alone else None] for figure in figures]
    return Passage(
        [map_sentence(run, shown_grids(run, split), split)],
        figures,
        maps=[_payload(run, grids, alone=alone) for grids in shown],
        chooser=[title_of(grid) for grid in shown[0]],
    )


def _payload(run: RunSummary, grids: Sequence[PairGrid], *, alone: bool) -> str:
    """The views to switch between, and the colours for light and dark, as JSON in a page."""
    views = [map_view(grid) for grid in grids]
    gains_shown = views[0].has_gain
    return in_script(
        {
            "views": [
                {
                    "z": view.z,
                    "text": view.labels,
                    "hover": view.hover,
                    "limit": 100 * (_largest_gain([grid]) if alone else limit(run, grid)),
                    "note": caption_of(grid),
                }
                for view, grid in zip(views, grids, strict=True)
            ],
            "diverging": gains_shown,
            "light": colours.DIVERGING_LIGHT if gains_shown else colours.SEQUENTIAL_LIGHT,
            "dark": colours.DIVERGING_DARK if gains_shown else colours.SEQUENTIAL_DARK,
        }
    )


def caption_of(grid: PairGrid) -> str:
    """What a map is of, on how many questions."""
    sizes = f"n = {grid.n}" if grid.vanilla.value is None else forest.sizes([grid.vanilla])
    return f"{title_of(grid)}: {sizes}; unmodified {formatting.percent(grid.vanilla.value)}."


def limit(run: RunSummary, grid: PairGrid) -> float:
    """End of the colour scale: one for all components, so that their maps can be compared."""
    return _largest_gain(
        [other for other in run.grids if (other.split, other.lang) == (grid.split, grid.lang)]
    )


def _cells(matrix: Matrix) -> Iterator[float]:
    return (cell for line in matrix for cell in line if cell is not None)


def _label(cell: float | None, size: int, has_gain: bool) -> str:
    if cell is None or size > LABELLED_LAYERS:
        return ""
    rounded = round(100 * cell)
    if not has_gain:
        return str(rounded)
    return f"{formatting.MINUS if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded)}"


def _hover(grid: PairGrid, source: int, target: int) -> str:
    changed = grid.changed[source][target]
    if changed is None:
        return f"{source} \u2192 {target}: not run"
    lines = [f"source {source} \u2192 target {target}"]
    gain, accuracy = grid.gain[source][target], grid.accuracy[source][target]
    if gain is not None:
        low, high = grid.gain_low[source][target], grid.gain_high[source][target]
        ends = (
            f"{formatting.points(low)} to {formatting.points(high)}"
            if low is not None
            else "no interval"
        )
        lines.append(f"gain {formatting.points(gain)} points ({ends})")
        lines.append(
            f"accuracy {formatting.percent(accuracy)}, unmodified "
            f"{formatting.percent(grid.vanilla.value)}"
        )
    lines.append(f"changes {formatting.percent(changed)} of outputs; n = {grid.n}")
    return "\n".join(lines)


def title_of(grid: PairGrid) -> str:
    """The questions of a grid: their languages and split."""
    which = "all questions" if grid.split == ALL else f"{grid.split} questions"
    return f"{formatting.first_upper(formatting.language(grid.lang))}, {which}"


def _axis(title: str, size: int) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 6, "font": {"size": 12}},
        "dtick": 1 if size <= LABELLED_LAYERS else 4,
        "tickangle": 0,
        "tickfont": {"size": 11},
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "constrain": "domain",
        "fixedrange": True,
    }


def _colour_axis(has_gain: bool, end: float) -> dict[str, Any]:
    scale = colours.DIVERGING_LIGHT if has_gain else colours.SEQUENTIAL_LIGHT
    return {
        "colorscale": scale,
        "cmin": -end if has_gain else 0,
        "cmax": end,
        "colorbar": {
            "orientation": "h",
            "thickness": 8,
            "len": 0.6,
            "y": -0.15,
            "yanchor": "top",
            "outlinewidth": 0,
            "ticks": "",
            "nticks": 5,
            "tickfont": {"size": 11},
            "title": {
                "text": "points above or below the unmodified answers"
                if has_gain
                else "% of outputs changed",
                "side": "bottom",
                "font": {"size": 11},
            },
        },
    }


def _outline(pair: Pair, colour: str, width: float) -> dict[str, Any]:
    source, target = pair
    return {
        "type": "rect",
        "x0": target - 0.5,
        "x1": target + 0.5,
        "y0": source - 0.5,
        "y1": source + 0.5,
        "line": {"color": colour, "width": width},
    }
