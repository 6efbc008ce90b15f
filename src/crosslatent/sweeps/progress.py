"""Progress of a sweep while it runs: prompts that are captured, then rows that are answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["capture", "answer"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is.

    Attributes:
        stage: "capture" while activations are read, then "answer".
        done: prompts captured, or items whose rows are all there (in earlier runs too).
        total: prompts to capture, or all items.
        rows: rows of this run that are answered, parts of those under way included.
        all_rows: rows that this run has to answer.
        seconds: time that this stage has taken.
        workers: processes that answer; 0 for this one alone.
    """

    stage: Stage
    done: int
    total: int
    rows: float
    all_rows: int
    seconds: float
    workers: int = 0


Show = Callable[[Progress], None]


def silent(_state: Progress) -> None:
    """A `Show` that shows nothing."""


@dataclass(slots=True)
class Tracker:
    """Turns what happens into states of progress.

    Attributes:
        show: gets every state.
        done: items that an earlier run has finished.
        total: all items.
        all_rows: rows that this run has to answer.
    """

    show: Show
    done: int
    total: int
    all_rows: int
    _rows: float = field(default=0.0, init=False)
    _workers: int = field(default=0, init=False)
    _spent: dict[Stage, float] = field(default_factory=dict, init=False)
    _last_report: float = field(default_factory=time.monotonic, init=False)

    def captured(self, done: int, total: int) -> None:
        """So many of the prompts have been captured."""
        self._tell("capture", done, total)

    def answered(self, rows: float, workers: int = 0) -> None:
        """So many rows have been answered since the sweep began, by so many workers."""
        self._rows, self._workers = rows, workers
        self._tell("answer", self.done, self.total)

    def finished(self) -> None:
        """One more item has all its rows."""
        self.done += 1
        self._tell("answer", self.done, self.total)

    def _tell(self, stage: Stage, done: int, total: int) -> None:
        # The time since the last report counts for the stage reported now; stages take turns.
        now = time.monotonic()
        self._spent[stage] = seconds = self._spent.get(stage, 0.0) + now - self._last_report
        self._last_report = now
        state = Progress(stage, done, total, self._rows, self.all_rows, seconds, self._workers)
        self.show(state)
