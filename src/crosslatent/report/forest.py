"""Rows of dots with intervals: positions for HTML, shared by the static figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crosslatent.report import formatting
from crosslatent.stats import Estimate

SPREAD = "Whiskers: 95\u202f% intervals from resampling independent facts."
STRATA_ORDER = ("shuffled/same_answer", "shuffled/same_symbol", "shuffled/different_answer")
"""Donors chosen by their answers: a diagnosis."""
VERDICT_ORDER = ("shuffled/any", "shuffled", "paraphrase", "self", "mean", "noise")
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
    """

    rows: tuple[Row, ...]
    difference: bool
    caption: str
    losses: bool = field(default=True, kw_only=True)

    def kind(self, mark: Mark) -> str:
        """The kind of a mark, which gives its colour: a loss does not have that of a gain."""
        value = mark.estimate.value
        lost = self.difference and self.losses and value is not None and value < 0
        return "loss" if mark.kind == "true" and lost else mark.kind

    @property
    def kinds(self) -> set[str]:
        """Kinds of the marks that are drawn, for the legend."""
        return {mark.kind for line in self.rows for mark in line.marks}

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the scale."""
        if not self.difference:
            return 0.0, 1.0
        step = self._step
        seen = [number for row in self.rows for mark in row.marks for number in _numbers(mark)]
        low, high = min(0.0, *seen, 0.0), max(0.0, *seen, 0.0)
        low, high = math.floor(low / step - 0.1) * step, math.ceil(high / step + 0.1) * step
        return max(low, -1.0), min(high, 1.0)  # a share cannot change by more

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(value, label) along the scale."""
        if not self.difference:
            return [(k / 4, formatting.percent(k / 4).replace(".0", "")) for k in range(5)]
        low, high = self.limits
        count = round((high - low) / self._step)
        values = [low + k * self._step for k in range(count + 1)]
        return [(value, formatting.points(value).replace(".0", "")) for value in values]

    def place(self, value: float) -> float:
        """Position of a value along the scale, in percent."""
        low, high = self.limits
        return round(100 * (value - low) / (high - low), 2)

    @property
    def _step(self) -> float:
        seen = [abs(n) for row in self.rows for mark in row.marks for n in _numbers(mark)]
        widest = max(seen, default=0.0)
        return next((step for step in (0.02, 0.05, 0.1, 0.2, 0.25) if widest <= 3 * step), 0.5)


def row(label: str, kind: str, estimate: Estimate, detail: str = "", name: str = "") -> Row:
    """A row with one mark."""
    return Row(label, (Mark(kind, name or label, estimate),), detail)


def number(forest: Forest, line: Row) -> str:
    """The number at the right of a row: value and interval of its first mark."""
    return formatting.with_interval(line.marks[0].estimate, difference=forest.difference)


def sizes(estimates: Sequence[Estimate]) -> str:
    """``n = 60 questions (15 facts)``, or the range over several estimates."""
    return (
        f"n\u202f=\u202f{_range([e.n for e in estimates])} questions, "
        f"{_range([e.clusters for e in estimates])} independent facts"
    )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return f"{low:,}" if low == high else f"{low:,}\u2013{high:,}"


def _numbers(mark: Mark) -> list[float]:
    estimate = mark.estimate
    return [v for v in (estimate.value, estimate.low, estimate.high) if v is not None]
