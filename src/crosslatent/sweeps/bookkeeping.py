"""Failures, counts and progress of a sweep while it runs: one bad item never ends a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from crosslatent.core.errors import (
    MemoryShortError,
    ModelError,
    PromptError,
    SweepError,
    TaskError,
)
from crosslatent.engine import EnginePath
from crosslatent.engine.memory import is_out_of_memory
from crosslatent.runs.parts import SetAside
from crosslatent.runs.schema import Failure, FailureKind

MOST_IN_A_ROW = 5
"""Items that fail one after another for no reason that we know; then it is not the items."""

_NAMES: dict[FailureKind, str] = {
    "prompt": "could not be asked",
    "memory": "did not fit into memory",
    "error": "failed while running",
    "worker": "could not be finished, as workers died",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """What went wrong, and what was mended.

    Attributes:
        failed: items that could not be run, with reasons.
        not_finite: rows whose logits were not numbers, or whose highest one was infinite; in the
            whole run.
        set_aside: parts that could not be read; their rows were run again.
    """

    failed: tuple[Failure, ...] = ()
    not_finite: int = 0
    set_aside: tuple[SetAside, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything of the run is missing or no number; what was mended does not count."""
        return bool(self.failed or self.not_finite)

    def lines(self) -> Iterator[str]:
        """Counts and reasons, for people."""
        kinds = Counter(failure.kind for failure in self.failed)
        for kind, count in kinds.items():
            first = next(failure for failure in self.failed if failure.kind == kind)
            items = "1 item" if count == 1 else f"{count:,} items"
            yield f"{items} {_NAMES[kind]}; the first, {first.item!r}: {first.reason}"
        if self.not_finite:
            rows = "1 row has" if self.not_finite == 1 else f"{self.not_finite:,} rows have"
            yield f"{rows} logits that are not finite numbers (finite = false): do not trust them."


def failure_of(item: str, error: BaseException) -> Failure:
    """What is recorded of an item that raised something."""
    if isinstance(error, MemoryShortError) or is_out_of_memory(error):
        return Failure(item, "memory", _said(error))
    if isinstance(error, PromptError):
        return Failure(item, "prompt", _said(error))
    return Failure(item, "error", _said(error))


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    if isinstance(error, ModelError | PromptError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Streak:
    """Stops a sweep in which one item after another fails for no reason that we know."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []

    def add(self, failure: Failure | None) -> None:
        """Count an item that failed, or one that did not.

        Raises:
            SweepError: too many have failed in a row.
        """
        if failure is None:
            self._failures.clear()
        elif failure.kind == "error":
            self._failures.append(failure)
        if len(self._failures) >= MOST_IN_A_ROW:
            raise SweepError(_not_the_items(self._failures))


def _not_the_items(failures: Sequence[Failure]) -> str:
    return (
        f"{len(failures)} items in a row failed, the last one, {failures[-1].item!r}, with "
        f"{failures[-1].reason!r}: this is hardly the items' fault, so the sweep stopped; what was "
        "finished is kept, and the same command again does the rest."
    )


@dataclass(slots=True)
class Tally:
    """Counts while a sweep runs.

    Attributes:
        strict: whether an item that fails stops the sweep.
        rows: rows written by this call.
        failed: item -> what came of it, for items that could not be run by this call.
        paths: how rows were computed, and why no faster way was taken.
    """

    strict: bool
    rows: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)
    paths: dict[EnginePath, None] = field(default_factory=dict)

    def add(self, rows: int, paths: Iterable[EnginePath] = ()) -> None:
        """Count rows."""
        self.rows += rows
        self.paths.update(dict.fromkeys(paths))

    def fail(self, failures: Iterable[Failure | None]) -> None:
        """Count items that failed; None is none.

        Raises:
            SweepError: strict, and there is one.
        """
        for failure in failures:
            if failure is None:
                continue
            self.failed.setdefault(failure.item, failure)
            if self.strict:
                raise SweepError(
                    f"Item {failure.item!r} failed ({failure.reason}), and --strict stops at the "
                    "first: what was finished is kept."
                )


def check_strict(strict: bool, failures: Mapping[str, str]) -> None:
    """Refuse a strict sweep whose items cannot all be asked.

    Raises:
        TaskError: strict, and one of them cannot be.
    """
    if strict and failures:
        name, reason = next(iter(failures.items()))
        raise TaskError(f"Item {name!r} cannot be run: {reason}")


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
        unmodified: right answers of this run without a transplant, and how many were judged;
            (0, 0) where workers answer, or nothing can be judged.
        transplanted: the same of true transplants, over all their pairs.
    """

    stage: Stage
    done: int
    total: int
    rows: float
    all_rows: int
    seconds: float
    workers: int = 0
    unmodified: tuple[int, int] = (0, 0)
    transplanted: tuple[int, int] = (0, 0)


Show = Callable[[Progress], None]
Judged = Counter[tuple[str, bool]]


def judged(rows: Iterable[Mapping[str, Any]]) -> Judged:
    """How many of some rows (`runs.schema.ROWS`) are right and wrong, by control."""
    return Counter((row["control"], row["correct"]) for row in rows if row["correct"] is not None)


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
        judged: (control, right or wrong) -> rows that are answered, those of earlier runs too.
    """

    show: Show
    done: int
    total: int
    all_rows: int
    judged: Judged = field(default_factory=Counter)
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
        right = {name: self.judged[name, True] for name in ("vanilla", "none")}
        shares = [(n, n + self.judged[name, False]) for name, n in right.items()]
        counts = (self._rows, self.all_rows, seconds, self._workers)
        self.show(Progress(stage, done, total, *counts, *shares))
