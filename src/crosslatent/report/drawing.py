"""Figures drawn once by Matplotlib: PNG, PDF and SVG files, and the same SVG inside a page."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from crosslatent.core.specs import FINAL, Layer
from crosslatent.report import colours, safe

FORMATS = ("png", "pdf", "svg")
WIDTH = 340.0
"""Width of a figure in points: about that of a column of the page."""
MOST_PIXELS = 2**15
"""Of a side of an image: a run may have any number of languages, and Agg ends at twice that."""
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
_VARIABLES = {
    colours.INK: "--ink",
    colours.SOFT: "--soft",
    colours.ACCENT: "--accent",
    colours.LOSS: "--loss",
    colours.GREY: "--grey",
    colours.PALE: "--line",
    "#ffffff": "--card",
    **{colour: f"--lang-{place}" for place, colour in enumerate(colours.LANGUAGES[:-1])},
}
"""Colours of figures, and the variables of the page's style that follow light and dark."""
_PIECES = (
    (re.compile(r"^.*?(?=<svg\b)", re.DOTALL), ""),
    (re.compile(r"<metadata>.*?</metadata>", re.DOTALL), ""),
    (re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL), ""),
    (re.compile(r'(<svg\b[^>]*?) width="[^"]*"'), r"\1"),
    (re.compile(r'(<svg\b[^>]*?) height="[^"]*"'), r"\1"),
    (re.compile(r' id="cell-'), ' data-cell="'),
    (re.compile(r' id="layer-'), ' data-layer="'),
    (re.compile(r' id="(strong|mesh)"'), r' class="\1"'),
    (re.compile(r' id="[A-Za-z][\w.]*_\d+"'), ""),
    (re.compile(r"font: ([\d.]+px) [^;\"]*"), r"font-size: \1"),
    (re.compile(r"font-family: [^;\"]*; ?"), ""),
)
"""What is changed in an SVG file so that it can be a part of a page: sizes, names and fonts."""
_SHARED = re.compile(r"(?<=[\"#])[mp][0-9a-f]{10}\b")
"""Names of marks and clips: Matplotlib's are of what they look like."""
_MOST_TICKS = 9


@cache
def _style() -> dict[Any, Any]:
    known = set(font_manager.get_font_names())
    return {
        "font.family": [font for font in _SCRIPTS if font in known] or ["sans-serif"],
        "font.size": 9,
        "text.color": colours.INK,
        "axes.labelcolor": colours.INK,
        "xtick.color": colours.INK,
        "ytick.color": colours.INK,
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


@contextmanager
def styled() -> Iterator[None]:
    """The style of all figures; a letter that no font here has is drawn as a box (SVG keeps it)."""
    with mpl.rc_context(_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are drawn in."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure


def width_of(axes: Axes) -> float:
    """Width of the figure that axes are drawn in, in points."""
    return 72 * figure_of(axes).get_figwidth()


def svg_of(figure: Figure) -> str:
    """A figure as an SVG file's text, see `in_page`."""
    FigureCanvasAgg(figure)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        # The layout that this drawing found holds for every format: to find it takes seconds.
        figure.set_layout_engine(None)
    text = io.StringIO()
    # Without a date two reports of one thing are the same file.
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def save(figure: Figure, stem: Path) -> str:
    """Write a figure in every format of `FORMATS`; the same figure gives the same bytes.

    Returns:
        The figure as an SVG file's text, see `in_page`.
    """
    text = svg_of(figure)
    stem.parent.mkdir(parents=True, exist_ok=True)
    dpi = min(160.0, MOST_PIXELS / max(figure.get_size_inches()))
    for kind in FORMATS:
        file = stem.with_name(f"{stem.name}.{kind}")
        if kind == "svg":
            file.write_text(text, encoding="utf-8")
        else:
            metadata = {"CreationDate": None} if kind == "pdf" else None
            figure.savefig(file, dpi=dpi, metadata=metadata)
    return text


def in_page(svg: str, label: str = "") -> str:
    """An SVG file's text as a part of a page: fonts and colours are those of the page.

    Args:
        svg: as `save` gives it.
        label: what the figure shows, for those who do not see it; escaped already.
    """
    # Figures of a page that share a mark would all lose it where the first of them is not shown.
    own = f"{zlib.crc32(svg.encode(errors='replace')):08x}"
    for pattern, replacement in _PIECES:
        svg = pattern.sub(replacement, svg)
    svg = _SHARED.sub(rf"\g<0>-{own}", svg)
    svg = re.sub("|".join(_VARIABLES), lambda found: f"var({_VARIABLES[found[0]]})", svg)
    svg = svg.replace("<svg ", f'<svg role="group" aria-label="{label}" ', 1)
    return str(safe.in_page(svg))


def layer_name(layer: Layer) -> str:
    """What a layer is called: ``block 3``, ``final norm``."""
    return "final norm" if layer == FINAL else f"block {layer}"


def layer_places(layers: Sequence[Layer]) -> list[float]:
    """Where layers are along an axis: the state after the final norm a little apart."""
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


def colour_scale(
    axis: Axes, mesh: QuadMesh, label: str, ticks: Sequence[float] | None = None
) -> None:
    """A scale of colours below the axes of a mesh."""
    figure = figure_of(axis)
    # Of 50 colours and more, Matplotlib makes an image, which follows neither light nor dark.
    low, high = mesh.get_clim()
    assert low is not None
    assert high is not None
    steps = np.linspace(low, high, 41)
    if ticks is None:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    bar = figure.colorbar(
        mesh,
        ax=axis,
        location="bottom",
        shrink=0.6,
        aspect=35,
        ticks=ticks,
        boundaries=steps,
        values=(steps[1:] + steps[:-1]) / 2,
    )
    bar.set_label(label, fontsize=7.5)
    bar.ax.tick_params(length=0, labelsize=7.5)
    bar.outline.set_visible(False)
    for part in bar.ax.collections:
        part.set_gid("mesh")
