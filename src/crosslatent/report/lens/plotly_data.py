"""Pieces of Plotly figures as plain data.

Colours are names of the page's CSS variables ("--ink"), which the page's script looks up: so a
figure follows light and dark. What a page gets of a figure is
``{"figure": {"data", "layout"}, "frames": [...]}``; a frame holds what one layer changes, trace by
trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Plain = dict[str, Any]


def base_layout(margin: dict[str, int]) -> Plain:
    """What the layouts of all figures share."""
    return {
        "margin": dict(margin),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "--ink"},
        "hoverlabel": {
            "bgcolor": "--card",
            "bordercolor": "--grey",
            "font": {"color": "--ink"},
            "namelength": 0,
        },
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
    }


def plain_axis(title: str) -> Plain:
    """An axis without marks, which does not zoom."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "fixedrange": True,
        "zeroline": False,
        "ticks": "",
        "gridcolor": "--line",
        "linecolor": "--grey",
        "tickangle": 0,
    }


def colour_bar(title: str, height: float, ticks: list[int] | None = None) -> Plain:
    """A colour scale below a figure, whose lower edge is at height 0 and upper one at 1."""
    bar: Plain = {
        "orientation": "h",
        "thickness": 8,
        "len": 0.6,
        "y": height,
        "yanchor": "top",
        "outlinewidth": 0,
        "ticks": "",
        "nticks": 5,
        "tickfont": {"size": 11},
        "title": {"text": title, "side": "bottom", "font": {"size": 11}},
    }
    return bar if ticks is None else {**bar, "tickvals": ticks}


def numbers(values: Iterable[float]) -> list[float]:
    """Numbers as `rounded` gives them."""
    return [rounded(value) for value in values]


def rounded(value: float) -> float:
    """Four digits are more than a screen can show, and halve the page."""
    return float(f"{value:.4g}")
