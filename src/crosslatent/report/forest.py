"""Rows of dots with intervals: most figures of the reports are one."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from crosslatent.report import colours, formatting, safe
from crosslatent.report.drawing import WIDTH, figure_of, width_of
from crosslatent.stats import Estimate

MARGIN = 13.0
"""Points left free at both sides: half of ``100 %`` reaches over the end of the scale."""
_MOST_LINES = 6
"""Lines of a label, a title or a detail that are drawn."""
_COLOURS = {
    "true": colours.ACCENT,
    "loss": colours.LOSS,
    "lost": colours.LOSS,
    "base": colours.INK,
    "reference": colours.INK,
    "control": colours.GREY,
    "majority": colours.GREY,
}

SPREAD = "Whiskers: 95\u202f% intervals from resampling independent facts."
STRATA_ORDER = ("shuffled/same_answer", "shuffled/same_symbol", "shuffled/different_answer")
"""Donors chosen by their answers: a diagnosis."""
VERDICT_ORDER = ("shuffled/any", "shuffled", "paraphrase", "self", "mean", "mean-main", "noise")
"""How controls are listed: from the one that carries most of the counterpart to none of it."""
CONTROL_ORDER = (*STRATA_ORDER, *VERDICT_ORDER)


def in_order(names: Iterable[str], order: Sequence[str] = CONTROL_ORDER) -> list[str]:
    """Names of controls as they are listed; those of other packages come last."""
    given = set(names)
    return [
        *(name for name in order if name in given),
        *sorted(given.difference(CONTROL_ORDER)),
    ]


@dataclass(frozen=True, slots=True)
class Mark:
    """One estimate on a row. `kind`: true, base, control, or reference (another way to answer)."""

    kind: str
    name: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a forest: the first mark gives the number at the right."""

    label: str
    marks: tuple[Mark, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows on one scale.

    Attributes:
        difference: the scale is points of difference with a line at zero; else a share, 0 to 1.
        caption: what is shown, with n and how intervals were made.
        losses: what lies below zero is a loss, and has the colour of one.
        scale: the forest whose scale this one has, so that two can be compared; None = its own.
        plain: the scale is neither shares nor points, but plain numbers from zero; of a difference,
            to both sides of it.
        digits: of these numbers.
    """

    rows: tuple[Row, ...]
    difference: bool
    caption: str
    losses: bool = field(default=True, kw_only=True)
    scale: Forest | None = field(default=None, kw_only=True)
    plain: bool = field(default=False, kw_only=True)
    digits: int = field(default=2, kw_only=True)

    def kind(self, mark: Mark) -> str:
        """The kind of a mark, which gives its colour: a loss does not have that of a gain."""
        value = mark.estimate.value
        lost = self.difference and self.losses and value is not None and value < 0
        return "loss" if mark.kind == "true" and lost else mark.kind

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the scale."""
        if self.scale is not None:
            return self.scale.limits
        if self.plain:
            low = 1.1 * min(0.0, *self._seen, 0.0) if self.difference else 0.0
            return low, 1.1 * (max(self._seen, default=0.0) or 1.0)
        if not self.difference:
            return 0.0, 1.0
        step = self._step
        low, high = min(0.0, *self._seen, 0.0), max(0.0, *self._seen, 0.0)
        low, high = math.floor(low / step - 0.1) * step, math.ceil(high / step + 0.1) * step
        return max(low, -1.0), min(high, 1.0)  # a share cannot change by more

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(value, label) along the scale."""
        if self.scale is not None:
            return self.scale.ticks
        if self.plain:
            low, high = self.limits
            places = [
                value for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high
            ]
            return [(value, f"{value:g}".replace("-", formatting.MINUS)) for value in places]
        if not self.difference:
            return [(k / 4, formatting.percent(k / 4).replace(".0", "")) for k in range(5)]
        low, high = self.limits
        count = round((high - low) / self._step)
        values = [low + k * self._step for k in range(count + 1)]
        return [(value, formatting.points(value).replace(".0", "")) for value in values]

    @property
    def _seen(self) -> list[float]:
        return [number for line in self.rows for mark in line.marks for number in _numbers(mark)]

    @property
    def _step(self) -> float:
        widest = max(map(abs, self._seen), default=0.0)
        return next((step for step in (0.02, 0.05, 0.1, 0.2, 0.25) if widest <= 3 * step), 0.5)


def row(label: str, kind: str, estimate: Estimate, detail: str = "", name: str = "") -> Row:
    """A row with one mark."""
    return Row(label, (Mark(kind, name or label, estimate),), detail)


def number(forest: Forest, line: Row) -> str:
    """The number at the right of a row: value and interval of its first mark."""
    estimate = line.marks[0].estimate
    if forest.plain and forest.difference:
        return formatting.signed_interval(estimate)
    if forest.plain:
        low, value, high = (
            "" if one is None else f"{one:.{forest.digits}g}"
            for one in (estimate.low, estimate.value, estimate.high)
        )
        return (f"{value} ({low} to {high})" if low else value) or "not measured"
    return formatting.with_interval(estimate, difference=forest.difference)


def sizes(estimates: Sequence[Estimate]) -> str:
    """``n = 60 questions (15 facts)``, or the range over several estimates."""
    return (
        f"n\u202f=\u202f{formatting.range_of([e.n for e in estimates])} questions, "
        f"{formatting.range_of([e.clusters for e in estimates])} independent facts"
    )


def _numbers(mark: Mark) -> list[float]:
    estimate = mark.estimate
    return [v for v in (estimate.value, estimate.low, estimate.high) if v is not None]


def draw(axes: Axes, caption: list[str], title: str, forest: Forest) -> pd.DataFrame:
    """Draw a forest: of each row its label and number, the detail below, then the scale.

    Args:
        axes: what to draw on; its figure gets the height that is needed.
        caption: gets the forest's own.
        title: above the rows.
        forest: the rows.

    Returns:
        Every mark: `label`, `name`, `kind`, `value`, `low`, `high`, `n`, `clusters`, `seed`.
    """
    figure = figure_of(axes)
    figure.set_layout_engine("none")
    axes.set_axis_off()
    axes.set_xlim(*forest.limits)
    y = _head(axes, title, forest)
    for line in forest.rows:
        y = _line(axes, forest, line, y)
    for value, text in forest.ticks:
        axes.text(value, y + 1, text, ha="center", va="top", fontsize=8, color=colours.SOFT)
    height = y + 14
    axes.set_ylim(height, 0)
    width = width_of(axes)
    figure.set_size_inches(width / 72, height / 72)
    axes.set_position((MARGIN / width, 0, 1 - 2 * MARGIN / width, 1))
    caption.append(forest.caption)
    return pd.DataFrame.from_records(
        [
            {"label": line.label, "name": mark.name, "kind": mark.kind, **asdict(mark.estimate)}
            for line in forest.rows
            for mark in line.marks
        ]
    )


def _head(axes: Axes, title: str, forest: Forest) -> float:
    """Title and legend; how far down they reach, in points."""
    y = _write(axes, title, 0, size=11, letters=44, color=colours.INK, gid="strong")
    if not any(len(line.marks) > 1 for line in forest.rows):
        return y
    named = {mark.name: mark for line in forest.rows for mark in line.marks}
    for mark in named.values():
        axes.plot(
            0.012,
            y + 6,
            transform=axes.get_yaxis_transform(),
            clip_on=False,
            **_look(mark, forest.kind(mark)),
        )
        y = _write(axes, mark.name, y, size=8.5, letters=56, color=colours.SOFT, left=0.045)
    return y + 3


def _line(axes: Axes, forest: Forest, line: Row, y: float) -> float:
    kind = forest.kind(line.marks[0])
    strong = kind in ("true", "loss")
    axes.text(
        1,
        y + 2,
        number(forest, line),
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="top",
        fontsize=9,
        gid="strong" if strong else None,
        color=_COLOURS[kind] if strong else colours.SOFT,
    )
    y = _write(axes, line.label, y + 2, size=9.5, letters=34, color=colours.INK)
    y = _write(axes, line.detail, y, size=8, letters=70, color=colours.SOFT)
    ticks = [value for value, _ in forest.ticks]
    ink = [colours.INK if forest.difference and abs(v) < 1e-9 else colours.PALE for v in ticks]
    axes.vlines(ticks, y + 1, y + 15, color=ink, linewidth=0.6, zorder=0)
    for mark in reversed(line.marks):
        first = mark is line.marks[0]
        below = 0.0 if first or mark.kind != "base" else 5.0
        _mark(axes, mark, y + 8 + below, forest.kind(mark), whisker=first or below > 0)
    return y + 17


def _write(axes: Axes, text: str, y: float, *, size: float, letters: int, **look: Any) -> float:
    """Text from the left edge, on as many lines as it needs; how far down it reaches."""
    transform, left = axes.get_yaxis_transform(), look.pop("left", 0.0)
    fitting = int(letters * width_of(axes) / WIDTH)
    for part in textwrap.wrap(safe.in_figure(text), fitting)[:_MOST_LINES]:
        axes.text(left, y, part, transform=transform, va="top", fontsize=size, **look)
        y += 1.35 * size
    return y


def _mark(axes: Axes, mark: Mark, y: float, kind: str, *, whisker: bool) -> None:
    estimate = mark.estimate
    if estimate.value is None:
        return
    if whisker and estimate.low is not None and estimate.high is not None:
        axes.hlines(y, estimate.low, estimate.high, color=_COLOURS[kind], linewidth=1.6)
    axes.plot(estimate.value, y, clip_on=False, **_look(mark, kind))


def _look(mark: Mark, kind: str) -> dict[str, Any]:
    colour = _COLOURS[kind]
    return {
        "marker": {"reference": "D", "majority": "|"}.get(mark.kind, "o"),
        "markersize": {"majority": 9, "reference": 5}.get(mark.kind, 6.5),
        "color": colour,
        "linestyle": "none",
        "markeredgewidth": 1.6,
        "markerfacecolor": "#ffffff" if mark.kind in ("control", "reference") else colour,
    }
