"""Carries a training job out: fork, trunk, loop, and what is left on disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import torch

from crosslatent.core.errors import TrainingError
from crosslatent.core.seen import read_seen
from crosslatent.lens.training.batches import Split, split_rows
from crosslatent.lens.training.checkpoints import Checkpointer, Progressed, locked, open_folder
from crosslatent.lens.training.fork import fork, make_masters, parameters_of
from crosslatent.lens.training.frozen_cache import Cut, FrozenCache, compute_frozen_cache
from crosslatent.lens.training.job import Job, Made, Trained
from crosslatent.lens.training.loop import TRUNK, Loop, Show, TrainProgress
from crosslatent.lens.training.lora import add_lora, check_weights
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.record import (
    EARLY,
    FINISHED,
    FOLDER,
    INTERRUPTED,
    NAN,
    RECORD,
    TrainRecord,
    read_record,
    write_record,
    write_seen,
)
from crosslatent.lens.training.saving import Fitted, measure, restore, save, settled
from crosslatent.lens.training.trained_blocks import TrainedBlocks, resolve_precision
from crosslatent.model import Model
from crosslatent.model.modes import plain_settings


@plain_settings()
def carry_out(
    job: Job, out: Path | None, cache: Path | None, *, new: bool = False, show: Show | None = None
) -> Trained:
    """Train, and write what was trained; see `training.train`.

    Raises:
        ModelError, UsageError, RunFolderError, TrainingError: see `training.train`.
    """
    job = replace(job, model=replace(job.model, identity=job.model.identity_now))
    check_weights(job.model, lora=job.spec.lora is not None, blocks=job.blocks)
    split = split_rows(job.groups, job.spec.held_out, job.spec.seed)
    processes = Processes.here(cpu=job.model.device.type == "cpu")
    record = job.record()
    record.rows = {
        "train": len(split.train),
        "held_out": len(split.held_out),
        "left_out": job.left_out,
    }
    with locked(out) if out is not None and processes.writes else nullcontext():
        checkpointer = _checkpointer(job, out, processes, new=new)
        fitted = _fit(job)
        if checkpointer is not None and (done := _finished(checkpointer.out)) is not None:
            if processes.writes and read_seen(checkpointer.out) is None:
                write_seen(job.seen, checkpointer.out)  # an earlier version trained on the same
            tuned = restore(job, fitted, checkpointer.out, done)
            return Trained(replace(tuned, seen=read_seen(checkpointer.out)), done, out, None)
        at = _train(job, fitted, split, checkpointer, record, cache, processes, show)
        tuned = replace(settled(job, fitted, out), seen=job.seen)
        if checkpointer is not None and processes.writes:
            save(job, tuned, fitted, checkpointer.out, record)
            checkpointer.prune()
        processes.wait()
    return Trained(tuned, record, out, at)


def _checkpointer(
    job: Job, out: Path | None, processes: Processes, *, new: bool
) -> Checkpointer | None:
    if out is None:
        return None
    if processes.writes:
        open_folder(out, job.arguments(), new=new)
    processes.wait()
    return Checkpointer(out)


def _finished(out: Path) -> TrainRecord | None:
    """The record of a run that is done, with its model in place."""
    if not (out / FOLDER / RECORD).is_file():
        return None
    record = read_record(out)
    return record if record.stopped in (FINISHED, EARLY) else None


def _fit(job: Job) -> Fitted:
    """The fork, with the parameters that are trained."""
    if job.spec.lora is not None:
        tuned = fork(job.model, ())
        adapted = add_lora(tuned, job.blocks, job.spec.lora, seed=job.spec.seed)
        named = adapted.model.hf.named_parameters()
        inside = {id(weight) for weight in adapted.parameters}
        parameters = {name: weight for name, weight in named if id(weight) in inside}
        adapted.model.hf.train(False)
        return Fitted(adapted.model, parameters, adapted)
    tuned = fork(job.model, job.blocks)
    tuned.hf.train(False)
    return Fitted(tuned, parameters_of(tuned, job.blocks), None)


def _train(
    job: Job,
    fitted: Fitted,
    split: Split,
    checkpointer: Checkpointer | None,
    record: TrainRecord,
    cache: Path | None,
    processes: Processes,
    show: Show | None,
) -> int:
    """Train the fork and fill the record; returns the step at which this call began."""
    tuned, spec = fitted.model, job.spec
    precision = resolve_precision(job.model, spec.precision)
    cut = Cut(job.blocks[0], job.layers, precision)
    with _place_of_trunk(cache, checkpointer, processes) as place:
        begun = time.monotonic()
        # The fork computes what the untouched model does, and is ours to run.
        trunks = _trunks(job, tuned, cut, place, processes, record, show)
        trunk_seconds = time.monotonic() - begun
        make_masters(list(fitted.parameters.values()))
        top = TrainedBlocks(tuned, cut.first, cut.layers)
        dtype = torch.promote_types(tuned.dtype, torch.float32)
        objective = job.make(Made(tuned, top, trunks, precision, dtype))
        modules = [tuned.blocks[block].whole for block in job.blocks]
        loop = Loop(
            objective, fitted.parameters, modules, split, spec, processes, checkpointer, show
        )
        began = checkpointer.step() if checkpointer is not None else 0
        recompute = job.blocks if spec.gradient_checkpointing else ()
        try:
            with top.standing_in(recompute=recompute):
                loop.run()
                record.saved = measure(job, fitted, loop)
        except TrainingError:
            _note(record, loop.progressed, fitted, NAN, trunk_seconds)
            _write(record, checkpointer, processes)
            raise
        except KeyboardInterrupt:
            _note(record, loop.progressed, fitted, INTERRUPTED, trunk_seconds)
            _write(record, checkpointer, processes)
            raise
        _note(record, loop.progressed, fitted, loop.progressed.stopped or FINISHED, trunk_seconds)
    return began


@contextmanager
def _place_of_trunk(
    cache: Path | None, checkpointer: Checkpointer | None, processes: Processes
) -> Iterator[Path]:
    """Where states go; removed once training is done, unless the user named the place."""
    if cache is not None:
        yield cache
        return
    if checkpointer is not None:
        place = checkpointer.out / FOLDER / TRUNK
    else:
        place = Path(processes.agree(mkdtemp(prefix="crosslatent-") if processes.writes else ""))
    done = False
    try:
        yield place
        done = True
    finally:
        # An interrupted run resumes from the files in its folder.
        if processes.writes and (done or checkpointer is None):
            shutil.rmtree(place, ignore_errors=True)


def _trunks(
    job: Job,
    tuned: Model,
    cut: Cut,
    place: Path,
    processes: Processes,
    record: TrainRecord,
    show: Show | None,
) -> dict[str, FrozenCache]:
    """What enters the trained blocks, by language."""
    total = sum(len(set(texts)) for texts in job.texts.values())
    begun, done = time.monotonic(), 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        if show is not None:
            show(TrainProgress(TRUNK, done, total, None, time.monotonic() - begun))

    trunks = {
        lang: compute_frozen_cache(tuned, texts, cut, place, processes=processes, show=more)
        for lang, texts in job.texts.items()
    }
    computed = sum(trunk.computed for trunk in trunks.values())
    record.trunk = {"texts": total, "computed": computed, "reused": total - computed}
    return trunks


def _note(
    record: TrainRecord, progressed: Progressed, fitted: Fitted, stopped: str, trunk: float
) -> None:
    """Put what the loop did into the record."""
    record.parameters = sum(weight.numel() for weight in fitted.parameters.values())
    record.not_adapted = fitted.adapted.left_out if fitted.adapted is not None else 0
    record.curve = list(progressed.curve)
    record.steps = progressed.step
    record.best_step = progressed.best_step
    record.stopped = stopped
    record.seconds = {**progressed.seconds, TRUNK: trunk}


def _write(record: TrainRecord, checkpointer: Checkpointer | None, processes: Processes) -> None:
    if checkpointer is not None and processes.writes:
        write_record(record, checkpointer.out)
