"""A sweep on many workers: work units of it as tasks of Ray, on this machine or on a cluster.

Ray places the workers, carries work units to them and notices when one is lost; here is only what a
work unit is (`worker`), who gets the next one (`worker_pool`), and the run folder that all of them
write to. Ray is imported when it is used: the package does without it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from crosslatent.distributed.cluster import LOCAL, Cluster, connected, resources
from crosslatent.distributed.worker import ModelSource, SweepJob
from crosslatent.distributed.worker_pool import Result, WorkerPool, unheard
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.run_path import run_path
from crosslatent.runs.schema import Failure
from crosslatent.sweeps import SweepOutcome
from crosslatent.sweeps.bookkeeping import Show, Tally, Tracker, check_strict, silent
from crosslatent.sweeps.prepared import Prepared, command_line
from crosslatent.sweeps.sweep_run import timed
from crosslatent.sweeps.work_units import Kind, RowRange, WorkUnit, cut

__all__ = ["LOCAL", "Cluster", "ModelSource", "SweepJob", "run_on_ray"]

SMALLEST, LARGEST = 64, 4096
"""Rows of a work unit, at least and at most: what a lost worker loses, and what a work unit's
prompts and part cost once more."""

SLICES_EACH = 16
"""Work units for each worker at least, if there are rows enough: slow ones then hold up little."""

ITEMS = 16
"""Items of a work unit of the tables beside the rows."""


def run_on_ray(
    job: SweepJob,
    cluster: Cluster,
    *,
    progress: Show | None = None,
    slice_rows: int | None = None,
    tell: Callable[[str], None] = unheard,
    warned: Callable[[str], None] = unheard,
) -> SweepOutcome:
    """Run a sweep into a run folder, or what is missing of it, on workers of Ray.

    No model is loaded in this process. Which rows there are does not depend on the workers.

    Args:
        job: the sweep.
        cluster: where the workers are, and how many.
        progress: called after every work unit.
        slice_rows: rows of a work unit; None for a number that keeps all workers busy.
        tell: gets a sentence when nothing can be done but wait.
        warned: gets what a user should know, before rows are answered.

    Raises:
        UsageError: Ray cannot be used, or see `sweeps.run_sweep`.
        SweepError: workers die again and again, or see `sweeps.run_sweep`.
    """
    started = time.monotonic()
    new, strict = job.running["new"], job.running["strict"]
    job = replace(job, spec=timed(job.spec, run_path(job.location), new=new))
    with connected(cluster) as ray, WorkerPool(ray, job, resources(ray, cluster), tell) as pool:
        prepared: Prepared = pool.ask(pool.first(), "prepare")
        # The worker that resolved the sweep was not what the user called.
        prepared = replace(prepared, manifest={**prepared.manifest, "command": command_line()})
        check_strict(strict, {failure.item: failure.reason for failure in prepared.failures})
        # The pool is dismissed before the folder is given up. What a worker writes while it ends is
        # of this session, or is refused by the next one's fence, or set aside as late.
        with RunFolder.open(run_path(job.location), prepared.manifest, new=new) as folder, pool:
            folder.write_items(prepared.items)
            notes = (*prepared.notes, *folder.notes)
            for note in notes:
                warned(note)
            run_json = prepared.manifest
            pool.greet(lambda worker: worker.check.remote(folder.session, run_json))
            tally = Tally(strict)
            run = _Run(prepared, folder, pool, progress or silent, tally)
            with prepared.recording(folder, tally):
                run.fill_rows(slice_rows)
                for kind in prepared.extras:
                    run.fill_extra(kind)
            pool.dismiss()  # before stock is taken for the last time
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
        each = wanted // (self.pool.resources.workers * SLICES_EACH)
        size = slice_rows or min(max(each, SMALLEST), LARGEST)
        pieces = cut(ranges, "rows", size)
        left = Counter(row_range.item for piece in pieces for row_range in piece.ranges)
        items = len(self.prepared.grid.items)
        tracker = Tracker(self.show, items - len(left), items, wanted)
        for result in self._done(cut(ranges, "rows", size)):
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
