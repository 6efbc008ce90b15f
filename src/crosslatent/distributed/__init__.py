"""A sweep on many workers: processes of this machine, or of Ray, here or on a cluster.

A worker loads the model, does work units and writes their parts itself (`worker`); a pool decides
who gets the next one (`worker_pool`). Two backends start the workers, carry work units to them and
notice when one is lost: `process_workers` and, where Ray is installed, `cluster`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from crosslatent.distributed.cluster import (
    LOCAL,
    Cluster,
    RayWorkers,
    connected,
    cores_here,
    resources,
)
from crosslatent.distributed.process_workers import ProcessWorkers
from crosslatent.distributed.worker import ModelSource, SweepJob
from crosslatent.distributed.worker_pool import Result, WorkerPool, unheard
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.run_path import run_path
from crosslatent.runs.schema import Failure
from crosslatent.sweeps import SweepOutcome
from crosslatent.sweeps.bookkeeping import Show, Tally, Tracker, check_strict, silent
from crosslatent.sweeps.prepared import Prepared, command_line
from crosslatent.sweeps.spec import WorkerSettings
from crosslatent.sweeps.sweep_run import timed
from crosslatent.sweeps.work_units import Kind, RowRange, WorkUnit, cut

__all__ = [
    "LOCAL",
    "Cluster",
    "ModelSource",
    "SweepJob",
    "WorkerPool",
    "cores_here",
    "place_of",
    "run_on_workers",
    "workers_at",
]

SMALLEST, LARGEST = 64, 4096
"""Rows of a work unit, at least and at most: what a lost worker loses, and what a work unit's
prompts and part cost once more."""

SLICES_EACH = 16
"""Work units for each worker at least, if there are rows enough: slow ones then hold up little."""

ITEMS = 16
"""Items of a work unit of the tables beside the rows."""


def place_of(asked: WorkerSettings) -> Cluster | int:
    """Where the workers are to be: a cluster of Ray, or so many processes of this machine.

    Raises:
        UsageError: numbers that mean nothing.
    """
    if asked["ray"] is None:
        return asked["processes"]
    return Cluster(asked["ray"], asked["ray_workers"], asked["ray_gpus"])


@contextmanager
def workers_at(
    place: Cluster | int, source: ModelSource, tell: Callable[[str], None] = unheard
) -> Iterator[WorkerPool]:
    """Start workers that load a model; they end with the context.

    Args:
        place: a cluster of Ray, or so many processes of this machine.
        source: where each loads the model from; none is loaded in this process.
        tell: gets a sentence when nothing can be done but wait.

    Raises:
        UsageError: Ray cannot be used, or so many processes make no sense.
    """
    if isinstance(place, int):
        with WorkerPool(ProcessWorkers(source, place), tell) as pool:
            yield pool
        return
    with (
        connected(place) as ray,
        WorkerPool(RayWorkers(ray, source, resources(ray, place)), tell) as pool,
    ):
        yield pool


def run_on_workers(
    job: SweepJob,
    pool: WorkerPool,
    *,
    progress: Show | None = None,
    slice_rows: int | None = None,
    warned: Callable[[str], None] = unheard,
) -> SweepOutcome:
    """Run a sweep into a run folder, or what is missing of it, on workers.

    Which rows there are does not depend on the workers. They stay for another sweep, unless this
    one raises.

    Args:
        job: the sweep.
        pool: the workers, see `workers_at`.
        progress: called after every work unit.
        slice_rows: rows of a work unit; None for a number that keeps all workers busy.
        warned: gets what a user should know, before rows are answered.

    Raises:
        UsageError: see `sweeps.run_sweep`.
        SweepError: workers die again and again, or see `sweeps.run_sweep`.
    """
    started = time.monotonic()
    new, strict = job.running["new"], job.running["strict"]
    job = replace(job, spec=timed(job.spec, run_path(job.location), new=new))
    shared = pool.backend.share(job)
    prepared: Prepared = pool.ask("prepare", shared)
    # The worker that resolved the sweep was not what the user called.
    prepared = replace(prepared, manifest={**prepared.manifest, "command": command_line()})
    check_strict(strict, {failure.item: failure.reason for failure in prepared.failures})
    # After an error, workers end before the folder is given up. What one writes while it ends is
    # of this session, or is refused by the next one's fence, or set aside as late.
    with (
        RunFolder.open(run_path(job.location), prepared.manifest, new=new) as folder,
        pool.ended_by_errors(),
    ):
        folder.write_items(prepared.items)
        notes = (*prepared.notes, *folder.notes)
        for note in notes:
            warned(note)
        pool.greet("check", shared, folder.session, prepared.manifest)
        tally = Tally(strict)
        run = _Run(prepared, folder, pool, progress or silent, tally)
        with prepared.recording(folder, tally):
            run.fill_rows(slice_rows)
            for kind in prepared.extras:
                run.fill_extra(kind)
        faults, status = prepared.finish(folder, tuple(tally.failed.values()))
    seconds = time.monotonic() - started
    return SweepOutcome(
        folder.location, tally.rows, faults, seconds, tuple(tally.paths), status, notes
    )


@dataclass(slots=True)
class _Run:
    """One call of a sweep at work on an open folder."""

    prepared: Prepared
    folder: RunFolder
    pool: WorkerPool
    show: Show
    tally: Tally

    def fill_rows(self, slice_rows: int | None) -> None:
        """Have the rows answered that the folder lacks."""
        ranges = self.prepared.missing(self.folder)
        wanted = sum(len(row_range.places) for row_range in ranges)
        each = wanted // (self.pool.backend.workers * SLICES_EACH)
        size = slice_rows or min(max(each, SMALLEST), LARGEST)
        pieces = cut(ranges, "rows", size)
        left = Counter(row_range.item for piece in pieces for row_range in piece.ranges)
        items = len(self.prepared.grid.items)
        before = Counter(self.folder.judged)
        tracker = Tracker(self.show, items - len(left), items, wanted, before)
        for result in self._done(cut(ranges, "rows", size)):
            tracker.judged.update(result.part.judged if result.part is not None else ())
            tracker.answered(self.tally.rows, self.pool.size)
            left.subtract(row_range.item for row_range in result.piece.ranges)
            for item in _items(result.piece.ranges):
                if not left[item] and item not in self.tally.failed:
                    tracker.finished()

    def fill_extra(self, kind: Kind) -> None:
        """Have one of the tables beside the rows completed."""
        ranges = self.prepared.missing_extra(self.folder, kind, self.tally.failed)
        tracker = Tracker(self.show, 0, len(ranges), 0)
        done = 0
        for result in self._done(cut(ranges, kind, ITEMS)):
            done += len(result.piece.ranges)
            tracker.captured(done, len(ranges))

    def _done(self, work_units: Iterable[WorkUnit]) -> Iterator[Result]:
        for result in self.pool.do(work_units, self.folder.session):
            if result.part is None:
                lost = _items(result.piece.ranges)
                self.tally.fail(Failure(item, "worker", result.reason) for item in lost)
            else:
                self.tally.add(result.part.rows, result.part.paths)
                self.tally.fail(result.part.failures)
            yield result


def _items(ranges: Iterable[RowRange]) -> list[str]:
    return list(dict.fromkeys(row_range.item for row_range in ranges))
