"""A training run for any objective: fork, trunk, loop, and what is left on disk."""

from __future__ import annotations

import datetime as dt
import math
import shutil
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from crosslatent.core.errors import TrainingError
from crosslatent.core.seen import Seen, joined, read_seen
from crosslatent.core.settings import complete
from crosslatent.core.specs import Layer
from crosslatent.lens.space import Space, versions_of
from crosslatent.lens.training import record as records
from crosslatent.lens.training.checkpoints import (
    Checkpointer,
    Progressed,
    locked,
    open_folder,
    timed,
)
from crosslatent.lens.training.fork import TrainableFork, make_masters
from crosslatent.lens.training.frozen_cache import FrozenCache, compute_frozen_cache
from crosslatent.lens.training.loop import TRUNK, Loop, Objective, TrainProgress
from crosslatent.lens.training.lora import check_weights
from crosslatent.lens.training.model_card import write_card
from crosslatent.lens.training.parallel_rows import Ids, RowSplit, split_rows
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.record import FOLDER, TrainRecord
from crosslatent.lens.training.train_spec import TrainOptions, TrainSpec
from crosslatent.lens.training.trained_blocks import Cut, TrainedBlocks, resolve_precision
from crosslatent.model import Model
from crosslatent.model.modes import plain_settings


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What is to be trained.

    Attributes:
        objective: "lens" or "answers"; `make` builds it.
        model: the untouched model.
        options: where it is kept, and what is said of it.
        languages: the target languages; `central`: the central one, if there is one.
        layers: where states and references are read.
        texts: token ids by language.
        groups: what each row belongs to; a group is trained on or held out as a whole.
        left_out: rows that cannot be used.
        cut: texts that lost their end, by language.
        data: hash of everything that rows and objective are made of.
        seen: what it is trained on, and what it is built on was; see `everything_seen`.
    """

    objective: str
    make: Callable[[TrainedBlocks], Objective]
    model: Model
    spec: TrainSpec
    options: TrainOptions
    languages: list[str]
    central: str | None
    layers: tuple[Layer, ...]
    texts: Mapping[str, Sequence[Ids]]
    groups: Sequence[Hashable]
    left_out: int
    cut: dict[str, int]
    data: str
    seen: Seen

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are trained."""
        return self.spec.trained_blocks(self.model.n_layers)

    def arguments(self) -> dict[str, Any]:
        """Plain data that decides the result."""
        identity = self.model.identity
        parts = ("type", "weights_hash", "tokenizer_hash", "dtype")
        # When checkpoints are written, and in what dtype the end is saved, changes no step.
        aside = ("checkpoint_every", "save_dtype")
        spec = {name: value for name, value in self.spec.to_dict().items() if name not in aside}
        return {
            "objective": self.objective,
            "model": {part: identity.get(part) for part in parts},
            "languages": self.languages,
            "central": self.central,
            "data": self.data,
            "spec": spec,
        }

    def record(self, split: RowSplit) -> TrainRecord:
        """The record of a run that begins now."""
        about = self.options["about"] or {}
        held_out = len(split.held_out)
        rows = {"train": len(split.train), "held_out": held_out, "left_out": self.left_out}
        return TrainRecord(
            objective=self.objective,
            base={"name": self.model.name, "identity": dict(self.model.identity)},
            spec=self.spec.to_dict(),
            languages=self.languages,
            central=self.central,
            blocks=list(self.blocks),
            total_parameters=sum(weight.numel() for weight in self.model.hf.parameters()),
            rows=rows,
            cut=self.cut,
            space=about.get("space"),
            versions=versions_of("torch", "transformers", "tokenizers"),
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            command=list(about.get("command") or [Path(sys.argv[0]).name, *sys.argv[1:]]),
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model.

    Attributes:
        model: usable like any other; shares every weight that was not trained with the original.
        record: what was done.
        path: the folder it is in; None if none was given.
        resumed_at: the step from which this call went on; 0 if it began, None if an earlier call
            had finished and nothing was left to do.
    """

    model: Model
    record: TrainRecord
    path: Path | None
    resumed_at: int | None = 0


def begun(options: TrainOptions) -> tuple[TrainSpec, TrainOptions]:
    """The settings of training, with the time for its chat template, and all other options."""
    settings = complete(TrainOptions, options)
    spec = timed(settings["spec"] or TrainSpec(), settings["out"], new=settings["new"])
    return spec, settings


def everything_seen(own: Seen, model: Model, space: Space | None = None) -> Seen:
    """What a trained model has seen: its rows, and what the model before and the space had.

    A model before that has no record counts as an ordinary one; a space without a record leaves
    what is known incomplete.
    """
    before = [] if model.seen is None else [model.seen]
    seen = joined([own, *before, *([] if space is None else [space.seen])])
    assert seen is not None
    return seen


@plain_settings()
def carry_out(job: TrainingJob) -> Trained:
    """Train, and write what was trained; see `train`.

    Raises:
        ModelError, UsageError, RunFolderError, TrainingError: see `train`.
    """
    job = replace(job, model=replace(job.model, identity=job.model.identity_now))
    out, spec = job.options["out"], job.spec
    check_weights(job.model, lora=spec.lora is not None, blocks=job.blocks)
    split = split_rows(job.groups, spec.held_out, spec.seed)
    processes = Processes.here(cpu=job.model.device.type == "cpu")
    writes_to = out if processes.writes else None
    record = job.record(split)
    with locked(writes_to) if writes_to is not None else nullcontext():
        if writes_to is not None:
            open_folder(writes_to, job.arguments(), new=job.options["new"])
        processes.wait()
        tuned = TrainableFork.of(job.model, job.blocks, spec)
        if out is not None and (done := _finished(out)) is not None:
            if writes_to is not None and read_seen(out) is None:
                records.write_seen(job.seen, out)  # an earlier version trained on the same
            restored = replace(tuned.restore(out, done), seen=read_seen(out))
            return Trained(restored, done, out, None)
        began = _Execution(job, tuned, split, record, processes).train()
        model = replace(tuned.settled(out), seen=job.seen)
        if writes_to is not None:
            # What it was trained on before the weights, the record that all is there at last.
            records.write_seen(job.seen, writes_to)
            tuned.save(model, writes_to)
            write_card(writes_to, record)
            records.write_record(record, writes_to)
            Checkpointer(writes_to).prune()
        processes.wait()
    return Trained(model, record, out, began)


def _finished(out: Path) -> TrainRecord | None:
    """The record of a run that is done, with its model in place."""
    if not (out / FOLDER / records.RECORD).is_file():
        return None
    record = records.read_record(out)
    return record if record.stopped in (records.FINISHED, records.EARLY) else None


@dataclass(frozen=True, slots=True)
class _Execution:
    """A job on its way: trains the fork, and fills the record."""

    job: TrainingJob
    tuned: TrainableFork
    split: RowSplit
    record: TrainRecord
    processes: Processes

    def train(self) -> int:
        """Train; returns the step at which this call began."""
        job, tuned, processes = self.job, self.tuned, self.processes
        out, spec, show = job.options["out"], job.spec, job.options["progress"]
        cut = Cut(job.blocks[0], job.layers, resolve_precision(job.model, spec.precision))
        checkpointer = None if out is None else Checkpointer(out)
        with self._trunk_folder() as folder:
            started = time.monotonic()
            trunks = self._trunks(cut, folder)
            trunk_seconds = time.monotonic() - started
            make_masters(list(tuned.parameters.values()))
            top = TrainedBlocks(tuned.model, cut, trunks)
            modules = [tuned.model.blocks[block].whole for block in job.blocks]
            objective, split = job.make(top), self.split
            loop = Loop(
                objective, tuned.parameters, modules, split, spec, processes, checkpointer, show
            )
            began = checkpointer.step() if checkpointer is not None else 0
            stopped = None
            try:
                with top.standing_in(recompute=job.blocks if spec.gradient_checkpointing else ()):
                    loop.run()
                    self.record.saved = self._measured(loop)
            except (TrainingError, KeyboardInterrupt) as error:
                stopped = records.NAN if isinstance(error, TrainingError) else records.INTERRUPTED
                raise
            finally:
                self._note(loop.progressed, stopped, trunk_seconds)
                if stopped is not None and out is not None and processes.writes:
                    records.write_record(self.record, out)
        return began

    @contextmanager
    def _trunk_folder(self) -> Iterator[Path]:
        """Where states go; removed once training is done, unless the user named the place."""
        cache, out, processes = self.job.options["cache"], self.job.options["out"], self.processes
        if cache is not None:
            yield cache
            return
        temporary = (
            "" if out is not None or not processes.writes else mkdtemp(prefix="crosslatent-")
        )
        folder = Path(processes.agree(temporary)) if out is None else out / FOLDER / TRUNK
        done = False
        try:
            yield folder
            done = True
        finally:
            # An interrupted run resumes from the files in its folder.
            if processes.writes and (done or out is None):
                shutil.rmtree(folder, ignore_errors=True)

    def _trunks(self, cut: Cut, folder: Path) -> dict[str, FrozenCache]:
        """What enters the trained blocks, by language; the fork computes what the model does."""
        total = sum(len(set(texts)) for texts in self.job.texts.values())
        show, started, done = self.job.options["progress"], time.monotonic(), 0

        def more(count: int) -> None:
            nonlocal done
            done += count
            if show is not None:
                show(TrainProgress(TRUNK, done, total, None, time.monotonic() - started))

        model, together = self.tuned.model, self.processes
        trunks = {
            lang: compute_frozen_cache(model, texts, cut, folder, processes=together, show=more)
            for lang, texts in self.job.texts.items()
        }
        computed = sum(trunk.computed for trunk in trunks.values())
        self.record.trunk = {"texts": total, "computed": computed, "reused": total - computed}
        return trunks

    def _measured(self, loop: Loop) -> dict[str, Any]:
        """Round trained weights as they are saved, and measure the held-out rows as in the curve.

        Returns:
            What `TrainRecord.saved` holds.
        """
        lost = self.tuned.round_off()
        loss, terms = loop.measure() or (None, {})
        finite = {name: value if math.isfinite(value) else None for name, value in terms.items()}
        known = loss is not None and math.isfinite(loss)
        return {
            "dtype": self.tuned.saved_dtype,
            "loss": loss if known else None,
            "terms": finite,
            "lost": lost,
        }

    def _note(self, progressed: Progressed, stopped: str | None, trunk_seconds: float) -> None:
        """Put what the loop did into the record."""
        record, adapted = self.record, self.tuned.adapted
        record.parameters = sum(weight.numel() for weight in self.tuned.parameters.values())
        record.not_adapted = adapted.left_out if adapted is not None else 0
        record.curve = list(progressed.curve)
        record.steps, record.best_step = progressed.step, progressed.best_step
        record.stopped = stopped or progressed.stopped or records.FINISHED
        record.seconds = {**progressed.seconds, TRUNK: trunk_seconds}
