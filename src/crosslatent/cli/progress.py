"""Progress of a sweep on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from crosslatent.cli.errors import say

_SECONDS_PER_LINE = 15.0


class State(Protocol):
    """How far a sweep is (`crosslatent.sweeps.Progress`)."""

    @property
    def done(self) -> int:
        """Items that are finished, with those of an earlier run."""

    @property
    def total(self) -> int:
        """Items that the sweep has."""

    @property
    def rows(self) -> int:
        """Rows of this run."""

    @property
    def seconds(self) -> float:
        """Time that this run has taken."""


Show = Callable[[State], None]


@dataclass(slots=True)
class Pace:
    """Rate and time left; items that an earlier run had done do not count as fast ones."""

    _before: int | None = field(default=None, init=False)

    def text(self, state: State) -> str:
        """Rows a second and the time left, for people."""
        if self._before is None:
            self._before = state.done - 1
        here = state.done - self._before
        left = state.seconds / here * (state.total - state.done)
        rate = state.rows / state.seconds if state.seconds else 0.0
        return f"{rate:,.0f} rows/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """A time span for people: "8 s", "2 min 05 s", "3 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def progress(label: str) -> Iterator[Show]:
    """Yield a function that shows a state of the sweep called `label`."""
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("items"),
        TextColumn("{task.fields[pace]}"),
    )  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=None, pace="")
        pace = Pace()
        yield lambda state: bars.update(
            task, completed=state.done, total=state.total, pace=pace.text(state)
        )


def _lines(label: str) -> Show:
    pace = Pace()
    shown = 0.0

    def show(state: State) -> None:
        nonlocal shown
        text = pace.text(state)
        if state.seconds - shown >= _SECONDS_PER_LINE:
            shown = state.seconds
            say(f"{label}: {state.done} of {state.total} items, {state.rows:,} rows, {text}")

    return show
