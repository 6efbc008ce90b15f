"""The main job on the shipped model: sweep its tasks, pick a pair on the pilot split, report.

Everything that decides the outcome is fixed here and written to each run's ``run.json`` before a
row exists: seed, splits, controls, and the one comparison that counts (`HEADLINE`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from crosslatent.analysis import Headline, declaration
from crosslatent.analysis.headline import BLIND
from crosslatent.analysis.pair_choice import PairChoice, pilot_pair
from crosslatent.core.specs import CONTROLS
from crosslatent.distributed import (
    ModelSource,
    SweepJob,
    WorkerPool,
    cores_here,
    run_on_workers,
    workers_at,
)
from crosslatent.model import Model, loading, shipped_model
from crosslatent.report import ReportPaths, build_report
from crosslatent.runs.reader import RunReader
from crosslatent.sweeps import Progress, SweepOutcome, SweepSpec, run_sweep
from crosslatent.sweeps.bookkeeping import Show
from crosslatent.tasks import Task, load_task

TUNE, TEST = "pilot", "final"
TASKS = ("demo-facts", "demo-codes")
HEADLINE = Headline(
    task=TASKS[0], component="ffn", tune=TUNE, test=TEST, least_gain=0.05, controls=BLIND
)
SHIPPED = ModelSource(
    str(loading.SHIPPED), device="cpu", dtype="float32", name=loading.SHIPPED_NAME
)
MOST_PROCESSES = 4
"""Beyond so many, most of the time is that of the report."""
SEED = 0
RUNS = "runs"
MARKER = f"{RUNS}/{TASKS[0]}/run.json"
"""What an earlier demo leaves behind first; by it a folder is known as a demo's."""

SPEC = SweepSpec(
    component=("attn", "ffn"),
    pairs="all",
    controls=CONTROLS,
    # Controls answer for the figures that are reported; on the pilot split nothing is.
    control_splits=(TEST,),
    seed=SEED,
)


def spec_of(name: str) -> SweepSpec:
    """What is swept of one of the demo's tasks: all of `SPEC`, or what its page shows."""
    if name == HEADLINE.task:
        return SPEC
    # Its answers are open, so what chance gives is counted from samples.
    return {**SPEC, "component": ("attn",), "controls": ("shuffled", "noise"), "samples": 9}


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What the demo left behind.

    Attributes:
        report: the files of the report.
        runs: the run folders.
        rows: answers of this call.
        seconds: wall time of the sweeps of this call.
    """

    report: ReportPaths
    runs: tuple[Path, ...]
    rows: int
    seconds: float


@contextmanager
def demo_workers() -> Iterator[WorkerPool | None]:
    """Processes that load the shipped model, one per core and at most `MOST_PROCESSES`.

    None where there is one core, or a system on which a sweep has one process.
    """
    processes = min(cores_here(), MOST_PROCESSES) if os.name == "posix" else 1
    if processes == 1:
        yield None
        return
    with workers_at(processes, SHIPPED) as pool:
        yield pool


def task_of(name: str) -> Task:
    """One of the demo's tasks, with the questions that it asks."""
    return load_task(name).select(splits=(TUNE, TEST))


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The best pair on a few pilot questions, chosen on these same questions.

    Attributes:
        vanilla: questions that are right unmodified.
        pair: the best pair of the declared component, with its number of right answers.
    """

    vanilla: int
    pair: PairChoice


def first_look(model: Model, n: int = 24) -> FirstLook:
    """Sweep the declared component over a few pilot questions, without controls: seconds."""
    pilot = task_of(TASKS[0]).select(splits=(TUNE,))
    few = replace(pilot, items=pilot.items[:: len(pilot.items) // n][:n])
    with TemporaryDirectory() as folder:
        run_sweep(model, few, SweepSpec(component=HEADLINE.component, seed=SEED), folder)
        reader = RunReader(Path(folder))
        with reader.connect() as rows:
            found = rows.sql("SELECT count(*) FROM rows WHERE control = 'vanilla' AND correct")
            (vanilla,) = found.fetchall()[0]
        return FirstLook(vanilla, pilot_pair(reader, HEADLINE.component, split=TUNE))


def run_demo(
    out: Path,
    *,
    model: Model | None = None,
    pool: WorkerPool | None = None,
    progress: Callable[[str, Progress], None] | None = None,
) -> DemoOutcome:
    """Run the demo into `out`, or what is missing of it, and write its report.

    Args:
        out: gets ``report.html``, ``summary.json``, figures, tables and the run folders.
        model: answers in this process; by default `shipped_model()`.
        pool: answers instead of a model, see `demo_workers`.
        progress: called after every step of every batch, with the task's name.

    Raises:
        RunFolderError: `out` cannot be written, or holds something else.
    """
    answering = pool or model or shipped_model()
    runs, rows, seconds = [], 0, 0.0
    for name in TASKS:
        runs.append(out / RUNS / name)
        outcome = _sweep(name, runs[-1], answering, _labelled(progress, name))
        rows += outcome.rows
        seconds += outcome.seconds
    return DemoOutcome(build_report(runs, out, seed=SEED), tuple(runs), rows, seconds)


def _sweep(
    name: str, out: Path, answering: WorkerPool | Model, progress: Show | None
) -> SweepOutcome:
    """Sweep one of the demo's tasks, on workers or with a model in this process."""
    task, spec = task_of(name), spec_of(name)
    requested = {"task": name, **spec}
    headline = declaration(HEADLINE) if name == HEADLINE.task else None
    if isinstance(answering, Model):
        return run_sweep(
            answering, task, spec, out, progress=progress, requested=requested, headline=headline
        )
    job = SweepJob(task, spec, str(out.absolute()), requested=requested, headline=headline)
    return run_on_workers(job, answering, progress=progress)


def _labelled(progress: Callable[[str, Progress], None] | None, name: str) -> Show | None:
    if progress is None:
        return None
    return lambda state: progress(name, state)
