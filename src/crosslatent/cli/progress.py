"""Progress of a sweep on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crosslatent.cli.errors import say
from crosslatent.cli.output import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SECONDS_PER_LINE = 15.0


class State(Protocol):
    """How far a sweep is (`crosslatent.sweeps.Progress`)."""

    @property
    def stage(self) -> str:
        """What is being done: "capture", then "answer"."""

    @property
    def done(self) -> int:
        """Prompts, or items, that are finished; with those of an earlier run."""

    @property
    def total(self) -> int:
        """Prompts, or items, that there are."""

    @property
    def rows(self) -> float:
        """Rows of this run."""

    @property
    def all_rows(self) -> int:
        """Rows that this run has to answer."""

    @property
    def seconds(self) -> float:
        """Time that this stage has taken."""

    @property
    def workers(self) -> int:
        """Processes that answer; 0 for this one alone."""


Show = Callable[[str, State], None]


def share(state: State) -> float:
    """How much of this stage of this run is done, from 0 to 1."""
    if state.stage == "capture":
        return state.done / state.total
    return min(state.rows / state.all_rows, 1.0) if state.all_rows else 1.0


def pace(state: State) -> str:
    """What is done, the rate and the time left, for people."""
    part = share(state)
    left = duration(state.seconds / part * (1 - part)) if part else "some time"
    if state.stage == "capture":
        return f"read {state.done:,} of {state.total:,} prompts, {left} left"
    rate = state.rows / state.seconds if state.seconds else 0.0
    by = "" if not state.workers else f" by {state.workers:,} workers"
    return (
        f"{state.done:,} of {state.total:,} items, {state.rows:,.0f} rows, {rate:,.0f} rows/s{by}, "
        f"{left} left"
    )


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
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        yield Bars(bars)


@dataclass(slots=True)
class Lines:
    """Progress as a line of text every now and then."""

    _shown: dict[tuple[str, str], float] = field(default_factory=dict)

    def __call__(self, label: str, state: State) -> None:
        """Print the state, if the last line is old."""
        key = (label, state.stage)
        if state.seconds - self._shown.get(key, 0.0) >= _SECONDS_PER_LINE:
            self._shown[key] = state.seconds
            say(f"{label}: {pace(state)}")


@dataclass(slots=True)
class Bars:
    """Progress as one bar for each sweep."""

    _display: Progress
    _sweeps: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, label: str, state: State) -> None:
        """Move the sweep's bar."""
        if label not in self._sweeps:
            self._sweeps[label] = self._display.add_task(label, total=1.0, pace="")
        self._display.update(self._sweeps[label], completed=share(state), pace=pace(state))
