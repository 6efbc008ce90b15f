"""The sweep itself, in this process: every item, variant and pair of layers, into a run folder.

What a run lacks is found in its folder, so a sweep that was stopped, by whatever, goes on where its
last part ends. `distributed` does the same with many workers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, Unpack

from crosslatent.core.errors import RunFolderError
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import right_now
from crosslatent.engine import EnginePath, chosen_path
from crosslatent.model import Model
from crosslatent.runs.manifest import clock_of
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.run_path import RunPath, run_path
from crosslatent.sweeps.bookkeeping import (
    Faults,
    Show,
    Streak,
    Tally,
    Tracker,
    check_strict,
    judged,
    silent,
)
from crosslatent.sweeps.extras import ITEMS_TOGETHER
from crosslatent.sweeps.plan import SweepPlan, plan_sweep
from crosslatent.sweeps.prepared import Prepared, prepare
from crosslatent.sweeps.spec import RunSettings, SweepSpec
from crosslatent.sweeps.work import RowWorker, extras
from crosslatent.sweeps.work_units import Kind
from crosslatent.tasks import Task


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What a sweep left behind.

    Attributes:
        path: the run folder.
        rows: rows written by this call.
        faults: items that could not be run, rows that are no numbers, parts that were set aside.
        seconds: wall time of this call.
        paths: how rows were computed by this call, and why no faster way was taken.
        status: totals of the whole run, as in run.json.
        notes: what a user should know of the prompts, and of resuming.
    """

    path: RunPath
    rows: int
    faults: Faults
    seconds: float
    paths: tuple[EnginePath, ...]
    status: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> dict[str, str]:
        """Item -> why it could not be run."""
        return {failure.item: failure.reason for failure in self.faults.failed}


@documented(RunSettings)
def run_sweep(
    model: Model,
    task: Task,
    spec: SweepSpec,
    out: str | Path | RunPath,
    *,
    progress: Show | None = None,
    requested: dict[str, Any] | None = None,
    failures: Mapping[str, str] | None = None,
    headline: dict[str, Any] | None = None,
    part_seconds: float = 20.0,
    warned: Callable[[str], None] | None = None,
    **running: Unpack[RunSettings],
) -> SweepOutcome:
    """Run a sweep into a run folder, or what is missing of it.

    Args:
        model: the model.
        task: the questions.
        spec: what to run.
        out: the run folder, or its URL; a run of the same arguments that is there is resumed.
        progress: called after every step of every batch.
        requested: the arguments as the user gave them, kept in run.json.
        failures: item -> why it cannot be run, as far as that is known already.
        headline: a comparison declared before any row exists, kept in run.json.
        part_seconds: work that is collected into a part, and lost if the process is killed.
        warned: gets what a user should know, before rows are answered.
        {settings}

    Raises:
        UsageError: see `plan_sweep`; an engine that does not serve the model; with `strict`, an
            item that cannot be asked.
        SweepError: one item after another fails; with `strict`, one that fails while it is run.
        RunFolderError: the folder cannot be written, or holds something else.
    """
    location = run_path(out)
    how = complete(RunSettings, running)
    new, strict = how["new"], how["strict"]
    plan = plan_sweep(model, task, timed(spec, location, new=new), failures)
    check_strict(strict, plan.failures)
    path = chosen_path(model, how["engine"])
    prepared = prepare(plan, requested, headline)
    started = time.monotonic()
    with RunFolder.open(location, prepared.manifest, new=new) as folder:
        folder.write_items(prepared.items)
        notes = (*plan.notes, *folder.notes)
        if warned is not None:
            for note in notes:
                warned(note)
        tally = Tally(strict)
        run = _Run(plan, prepared, folder, progress or silent, tally, part_seconds)
        with prepared.recording(folder, tally):
            run.fill_rows(path, how["batch_rows"])
            for kind in prepared.extras:
                run.fill_extra(kind)
        faults, status = prepared.finish(folder, tuple(tally.failed.values()))
    seconds = time.monotonic() - started
    return SweepOutcome(location, tally.rows, faults, seconds, tuple(tally.paths), status, notes)


def timed(spec: SweepSpec, location: RunPath, *, new: bool) -> SweepSpec:
    """The same with the time for its chat template: when the run was made.

    Args:
        spec: what to run.
        location: its run folder.
        new: whether a run there is thrown away.

    Raises:
        RunFolderError: run.json is there and cannot be read.
    """
    if not spec.get("chat") or spec.get("clock") is not None:
        return spec
    return {**spec, "clock": (None if new else clock_of(location)) or right_now()}


@dataclass(slots=True)
class _Run:
    """One call of a sweep at work on an open folder."""

    plan: SweepPlan
    prepared: Prepared
    folder: RunFolder
    show: Show
    tally: Tally
    part_seconds: float

    def fill_rows(self, path: EnginePath, batch_rows: int | None) -> None:
        """Answer the rows that the folder lacks."""
        ranges = self.prepared.missing(self.folder)
        if not ranges:
            return
        left = Counter(row_range.item for row_range in ranges)
        items = len(self.prepared.grid.items)
        wanted = sum(len(row_range.places) for row_range in ranges)
        before = Counter(self.folder.judged)
        tracker = Tracker(self.show, items - len(left), items, wanted, before)
        worker = RowWorker(self.plan, path, batch_rows, tracker.captured)
        with _Parts(self.folder, self.part_seconds) as parts:
            for done in worker.answer(ranges, tracker.answered):
                self.tally.fail([done.failure])
                self.tally.add(len(done.rows), done.paths)
                tracker.judged.update(judged(done.rows))
                parts.add(done.rows)
                left[done.row_range.item] -= 1
                if not left[done.row_range.item] and done.rows:
                    tracker.finished()

    def fill_extra(self, kind: Kind) -> None:
        """Make what one of the tables beside the rows lacks."""
        ranges = self.prepared.missing_extra(self.folder, kind, self.tally.failed)
        tracker = Tracker(self.show, 0, len(ranges), 0)
        streak = Streak()
        number = 0
        for start in range(0, len(ranges), ITEMS_TOGETHER):
            group = ranges[start : start + ITEMS_TOGETHER]
            for made, failure in extras(self.plan, kind, group, streak):
                self.tally.fail([failure])
                if made is not None:
                    self.folder.extras[kind].write(self.folder.part_name(number), made)
                    number += 1
            tracker.captured(start + len(group), len(ranges))


class _Parts:
    """Collects rows into parts, so that a crash loses some seconds of work.

    What is collected is written on leaving, interrupted or not.
    """

    def __init__(self, folder: RunFolder, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._rows: list[dict[str, Any]] = []
        self._number = 0
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Where the location cannot be written, another try would hide why.
        if kind is None or not issubclass(kind, RunFolderError):
            self.flush()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take the rows of one row_range."""
        self._rows += rows
        if time.monotonic() - self._flushed > self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected as a part."""
        rows, self._rows = self._rows, []
        if rows:
            self._folder.rows.write(self._folder.part_name(self._number), rows)
            self._number += 1
        self._flushed = time.monotonic()
