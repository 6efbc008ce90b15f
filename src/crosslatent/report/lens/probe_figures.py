"""A probe's figures: languages in the specific subspace and their angles, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from crosslatent.core.subspace import Floats
from crosslatent.lens.space import Space
from crosslatent.report import colours, formatting
from crosslatent.report.drawing import (
    WIDTH,
    colour_scale,
    in_page,
    layer_name,
    save,
    styled,
    svg_of,
)
from crosslatent.report.figure import Drawn
from crosslatent.report.lens import marks
from crosslatent.report.lens.layer_figures import over_layers
from crosslatent.report.lens.marks import LanguageMark
from crosslatent.report.lens.probe_words import of_language
from crosslatent.report.lens.views import (
    LayerView,
    drawn_langs,
    even_angle,
    outside,
    some_layers,
    square,
)
from crosslatent.report.safe import short
from crosslatent.report.views import Passage

MOST_PANELS = 9
LAST_ANGLES = 3
LABELLED_ANGLES = 12
"""Up to so many languages the matrix has room for its numbers."""
_LETTERS = ((0.034, 0.062), (0.02, 0.045))
"""Width and height of a label's letter, as a share of the side of a small panel and a large one."""
_MARK = 0.032
_OFFSETS = {"left": -1, "center": 0, "right": 1, "middle": 0, "top": 1, "bottom": -1}
_ALIGN = {"left": "right", "right": "left", "center": "center"}
_UPRIGHT = {"middle": "center_baseline", "top": "bottom", "bottom": "top"}
_SIDE = WIDTH / 72


def write_figures(space: Space, views: Sequence[LayerView], folder: Path) -> list[Drawn]:
    """Write every figure that the space can fill; those over all layers are for the page, too."""
    with styled():
        save(languages(space, views), folder / "languages")
        if len(space.languages) > 2:
            save(angles(space, views), folder / "angles")
        return [
            Drawn("", in_page(save(figure, folder / name), escape(caption)), caption, name)
            for name, caption, figure in over_layers(space, views)
        ]


def of_layers(space: Space, views: Sequence[LayerView]) -> list[Passage]:
    """The figures of one layer at a time, for the page."""
    looks = marks.marks(space.languages, space.central)
    kinds: list[tuple[str, Callable[[Axes, LayerView], object], float]] = []
    if views[0].means.shape[1] == 1:
        height = 0.6 + max(0.35 * len(looks), 1.4)
        kinds.append((_strip_caption(space), lambda a, v: _strip(a, space, v, looks), height))
    else:
        kinds.append(
            (_plane_caption(space), lambda a, v: _plane(a, space, v, looks, large=True), _SIDE)
        )
    if len(looks) > 2:
        kinds.append((_angles_caption(space), lambda a, v: _angles(a, v, looks), _SIDE))
    with styled():
        return [
            Passage(
                figures=[_shown(caption, draw, view, height) for caption, draw, height in kinds]
            )
            for view in views
        ]


def _shown(
    caption: str, draw: Callable[[Axes, LayerView], object], view: LayerView, height: float
) -> Drawn:
    figure = Figure(figsize=(_SIDE, height), layout="constrained")
    draw(figure.add_subplot(), view)
    return Drawn(str(view.layer), in_page(svg_of(figure), escape(caption)), caption)


def _strip_caption(space: Space) -> str:
    return (
        f"Languages on the only axis of the specific subspace. {_points(space)}arge marks the "
        f"languages\u2019 means; {_central(space)}. Zero is the mean of the means. Which way the "
        "axis points means nothing."
    )


def _plane_caption(space: Space) -> str:
    kept = space.rank if space.points is None else space.points.values.shape[2]
    of = "" if kept == space.rank else f", of the {kept} that are known of the texts"
    return (
        "Languages in the specific subspace, along the two axes on which the means differ most"
        f"{of}. {_points(space)}arge marks the languages\u2019 means; {_central(space)}. Both axes "
        "have the same scale, which changes from layer to layer, and so may the axes; which way "
        "they point means nothing."
    )


def _points(space: Space) -> str:
    return "L" if space.points is None else "Small marks are held-out texts, l"


def _central(space: Space) -> str:
    return f"{of_language(space.central)}, the central language, is outlined"


def _angles_caption(space: Space) -> str:
    count = len(space.languages)
    return (
        "Angles between the languages\u2019 means, seen from the mean of them all, in the whole "
        f"specific subspace. {count} languages that are all equally far apart are at "
        f"{even_angle(count):.0f}\u00b0 to each other; blue pairs are closer than that, orange "
        "ones farther."
    )


def languages(space: Space, views: Sequence[LayerView]) -> Figure:
    """Languages in the specific subspace, a panel for each of some layers."""
    shown = [views[place] for place in some_layers(space.layers, MOST_PANELS)]
    looks = marks.marks(space.languages, space.central)
    strip = shown[0].means.shape[1] == 1
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    high = (0.4 if len(looks) <= 6 else 0.22) * len(looks) + 0.6 if strip else 2.75
    figure = Figure(figsize=(2.6 * columns, high * rows + 0.6), layout="constrained")
    for place, view in enumerate(shown):
        axis = figure.add_subplot(rows, columns, place + 1)
        if strip:
            _strip(axis, space, view, looks)
        else:
            _plane(axis, space, view, looks, large=False)
        left = outside(view)
        away = f" ({formatting.count(left, 'text')} outside)" if left else ""
        axis.set_title(f"{layer_name(view.layer)}{away}")
    every = len(shown) == len(space.layers)
    which = "every layer" if every else f"{len(shown)} of {len(space.layers)} layers"
    small = "" if space.points is None else "; small marks: held-out texts"
    axes = "the axis" if strip else "the two axes"
    title = f"Means along {axes} on which languages differ most, {which}{small}."
    figure.suptitle(title, fontsize=8.5, x=0.01, ha="left")
    return figure


def _plane(
    axis: Axes, space: Space, view: LayerView, looks: Sequence[LanguageMark], *, large: bool
) -> None:
    centre, side = square(view)
    axis.set_xlim(centre[0] - side / 2, centre[0] + side / 2)
    axis.set_ylim(centre[1] - side / 2, centre[1] + side / 2)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(axis_title(view, 0), fontsize=7.5)
    axis.set_ylabel(axis_title(view, 1), fontsize=7.5)
    _texts(axis, space, view, looks)
    labels = [look.label if large else _code(look) for look in looks]
    for look, mean, label, place in zip(
        looks, view.means, labels, label_places(view, labels, large=large), strict=True
    ):
        _mean(axis, mean, look)
        _write(axis, mean, label, place, bold=look.central, size=9 if large else 7)


def label_places(view: LayerView, labels: Sequence[str], *, large: bool) -> list[str]:
    """Where the languages' labels hide each other least, see `marks.PLACES`."""
    centre, side = square(view)
    unit = (view.means - centre) / side + 0.5
    found = marks.label_places(unit, labels, letter=_LETTERS[large], mark=_MARK)
    return [marks.PLACES[place] for place in found]


def axis_title(view: LayerView, axis: int) -> str:
    """Which axis, and how much of the differences it holds."""
    held = view.shares[axis]
    of = "" if math.isnan(held) else f": {formatting.percent(float(held))} of the differences"
    return f"axis {axis + 1}{of}"


def _code(look: LanguageMark) -> str:
    """Codes: names are too long for small multiples."""
    return short(look.lang, marks.LONGEST_CODE)


def _strip(axis: Axes, space: Space, view: LayerView, looks: Sequence[LanguageMark]) -> None:
    """One row a language; its texts spread over the row's height so that they can be seen."""
    _texts(axis, space, view, looks)
    for row, look in enumerate(looks):
        _mean(axis, np.array([view.means[row, 0], row]), look)
    axis.set_yticks(range(len(looks)), [look.label for look in looks])
    axis.set_ylim(len(looks) - 0.4, -0.6)
    axis.set_xlabel(axis_title(view, 0), fontsize=7.5)
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)


def jitter(count: int) -> Floats:
    """Offsets within a row that look random and are the same every time."""
    spread: Floats = 0.62 * ((np.arange(1.0, count + 1.0) * 0.6180339887) % 1 - 0.5)
    return spread


def _texts(axis: Axes, space: Space, view: LayerView, looks: Sequence[LanguageMark]) -> None:
    if view.texts is None:
        return
    langs = np.array(drawn_langs(space))
    for row, look in enumerate(looks):
        values = view.texts[langs == look.lang]
        along = values[:, 1] if values.shape[1] > 1 else row + jitter(len(values))
        axis.plot(
            values[:, 0],
            along,
            marks.MARKERS[look.symbol],
            color=colours.LANGUAGES[look.colour],
            markersize=2,
            alpha=0.45,
            markeredgewidth=0,
        )


def _mean(axis: Axes, mean: Floats, look: LanguageMark) -> None:
    axis.plot(
        mean[0],
        mean[1],
        marks.MARKERS[look.symbol],
        color=colours.LANGUAGES[look.colour],
        markersize=7,
        markeredgecolor=colours.INK if look.central else "white",
        markeredgewidth=1.2 if look.central else 0.8,
        clip_on=False,
        zorder=3,
    )


def _write(axis: Axes, point: Floats, label: str, place: str, *, bold: bool, size: float) -> None:
    upright, sideways = place.split()
    gap = 4.5 if upright == "middle" or sideways == "center" else 3.5
    axis.annotate(
        label,
        (point[0], point[1]),
        (gap * _OFFSETS[sideways], gap * _OFFSETS[upright]),
        textcoords="offset points",
        ha=_ALIGN[sideways],
        va=_UPRIGHT[upright],
        fontsize=size,
        gid="strong" if bold else None,
        color=colours.INK,
        zorder=4,
        annotation_clip=False,
    )


def angles(space: Space, views: Sequence[LayerView]) -> Figure:
    """Angles between languages in the last layers."""
    shown = list(views[-LAST_ANGLES:])
    looks = marks.marks(space.languages, space.central)
    side = max(2.2, 0.2 * len(looks))
    figure = Figure(figsize=(side * len(shown) + 0.9, side + 1.0), layout="constrained")
    for place, view in enumerate(shown):
        axis = figure.add_subplot(1, len(shown), place + 1)
        _angles(axis, view, looks)
        axis.set_title(layer_name(view.layer))
    return figure


def angle_scale(languages: int, scale: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """A diverging scale over 0 to 180 degrees whose middle is the angle of languages at random."""
    middle = even_angle(languages) / 180
    tones = [colour for _, colour in reversed(scale)]
    return list(zip([0.0, middle / 2, middle, (1 + middle) / 2, 1.0], tones, strict=True))


def _angles(axis: Axes, view: LayerView, looks: Sequence[LanguageMark]) -> None:
    """A matrix without its diagonal, where there is nothing to see."""
    cells = view.angles.copy()
    np.fill_diagonal(cells, np.nan)
    stops = angle_scale(len(looks), colours.DIVERGING_LIGHT)
    scale = LinearSegmentedColormap.from_list("angles", stops)
    mesh = axis.pcolormesh(cells, cmap=scale, vmin=0, vmax=180, gid="mesh")
    axis.set(xlim=(0, len(cells)), ylim=(len(cells), 0))
    axis.set_aspect("equal")
    places, labels = [place + 0.5 for place in range(len(looks))], [_code(look) for look in looks]
    axis.set_xticks(places, labels, rotation=90 if len(looks) > 6 else 0, fontsize=7)
    axis.set_yticks(places, labels, fontsize=7)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    if len(cells) <= LABELLED_ANGLES:
        for (row, column), value in np.ndenumerate(cells):
            if not math.isnan(value):
                colour = "#fefefe" if value < 40 or value > 155 else "#111111"
                axis.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center",
                          fontsize=6.5, color=colour, gid="mesh")  # fmt: skip
    colour_scale(axis, mesh, "degrees", [0, 45, 90, 135, 180])
