"""Progress of a sweep on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crosslatent.cli.errors import say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

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


Show = Callable[[str, State], None]


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
def progress(label: str) -> Iterator[Callable[[State], None]]:
    """Yield a function that shows a state of the sweep called `label`."""
    with progresses() as show:
        yield lambda state: show(label, state)


@contextmanager
def progresses() -> Iterator[Show]:
    """Yield a function that shows a state of one of several sweeps, given its label."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = (TextColumn("items"), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, *more, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)


@dataclass(slots=True)
class Lines:
    """Progress as a line of text every now and then."""

    _paces: dict[str, Pace] = field(default_factory=dict)
    _shown: dict[str, float] = field(default_factory=dict)

    def __call__(self, label: str, state: State) -> None:
        """Print the state, if the last line is old."""
        text = self._paces.setdefault(label, Pace()).text(state)
        if state.seconds - self._shown.get(label, 0.0) >= _SECONDS_PER_LINE:
            self._shown[label] = state.seconds
            say(f"{label}: {state.done} of {state.total} items, {state.rows:,} rows, {text}")


@dataclass(slots=True)
class Bars:
    """Progress as one bar for each sweep."""

    _display: Progress
    _sweeps: dict[str, tuple[TaskID, Pace]] = field(default_factory=dict)

    def __call__(self, label: str, state: State) -> None:
        """Move the sweep's bar."""
        if label not in self._sweeps:
            self._sweeps[label] = (self._display.add_task(label, total=None, pace=""), Pace())
        bar, pace = self._sweeps[label]
        text = pace.text(state)
        self._display.update(bar, completed=state.done, total=state.total, pace=text)
