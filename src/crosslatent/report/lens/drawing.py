"""What the static figures of Lens have in common: style, formats, the axis of layers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from crosslatent.core.specs import FINAL, Layer
from crosslatent.report import colours

FORMATS = ("png", "pdf", "svg")
_SCRIPTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Thai",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)
_MOST_TICKS = 9


@cache
def style() -> dict[Any, Any]:
    """Settings of Matplotlib for every figure of Lens."""
    known = set(font_manager.get_font_names())
    return {
        "font.family": [font for font in _SCRIPTS if font in known] or ["sans-serif"],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": colours.GREY,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "svg.hashsalt": "crosslatent",
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        # Names come from users: a dollar sign in one is no formula.
        "text.parse_math": False,
    }


def save(figure: Figure, stem: Path) -> None:
    """Write a figure in every format; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # A letter that no font here has is drawn as a box; SVG keeps it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.draw_without_rendering()
        # The layout that this drawing found holds for every format: to find it takes seconds.
        figure.set_layout_engine("none")
        for kind in FORMATS:
            # Without a date two reports of one thing are the same file.
            metadata = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
            figure.savefig(stem.with_name(f"{stem.name}.{kind}"), dpi=160, metadata=metadata)


def layer_name(layer: Layer) -> str:
    """What a layer is called: ``block 3``, ``final norm``."""
    return "final norm" if layer == FINAL else f"block {layer}"


def layer_places(layers: Sequence[Layer]) -> list[float]:
    """Where layers stand along an axis: the state after the final norm a little apart."""
    count = len(layers) - 1
    return [*map(float, range(count)), count - 1 + max(1.4, 0.06 * count)]


def layer_ticks(layers: Sequence[Layer]) -> list[tuple[float, str]]:
    """Ticks along that axis, few enough to be read."""
    places = layer_places(layers)
    count = len(layers) - 1
    step = next(s for s in (1, 2, 4, 5, 8, 10, 20, 50, 100, 1000) if count <= s * _MOST_TICKS)
    far = [k for k in range(0, count, step) if places[-1] - k > 0.09 * places[-1]]
    return [*((places[k], str(k)) for k in far), (places[-1], "final")]


def log_axis(axis: Axes) -> None:
    """Set up a logarithmic y axis with plain numbers on it."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(which="both", length=0)


def layer_axis(axis: Axes, layers: Sequence[Layer]) -> None:
    """Set up the axis of layers of a plot."""
    ticks = layer_ticks(layers)
    axis.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    axis.set_xlabel("layer")
    axis.tick_params(length=0)
    axis.grid(axis="y", color=colours.PALE, linewidth=0.5)
    axis.set_axisbelow(True)
