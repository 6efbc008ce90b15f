"""The folder of a training run: refused with other arguments, resumed from its checkpoint.

Layout below the output folder::

    training/arguments.json            what decides the result; by it a folder is known as ours
    training/checkpoint/
        weights.safetensors            the trained weights, in the dtype that they are trained in
        optimizer.safetensors          moments of AdamW
        best.safetensors               weights with the lowest held-out loss, with a patience alone
        state.json                     steps, curve, early stopping, how it stopped

A checkpoint is written beside the last one and takes its place as a whole. Once the trained model
is saved, only `state.json` stays.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import right_now
from crosslatent.core.untrusted import parse_json
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.record import FOLDER, MARKER, CurvePoint
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.runs.files import LOCK, prepare_folder, write_json

CHECKPOINT = "checkpoint"
_TENSORS = ("weights.safetensors", "optimizer.safetensors", "best.safetensors")
_STATE = "state.json"
_RESULTS = (
    "model*.safetensors*", "adapter_*", "config.json", "generation_config.json", "README.md",
)  # fmt: skip


CHECKPOINT_SECONDS = 60.0
"""Of training between checkpoints, unless steps are given."""
CHECKPOINT_SHARE = 0.05
"""Of the time that writing them may take; slow disks get fewer."""


@dataclass(slots=True)
class Progressed:
    """How far training is, apart from weights.

    Attributes:
        step: steps of the optimizer so far.
        best_step: step with the lowest held-out loss; None before the first evaluation.
        best_loss: that loss.
        worse: evaluations since then.
        stopped: how training ended; None while it goes on.
        seconds: time of each stage, over all sessions.
    """

    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float | None = None
    worse: int = 0
    stopped: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Checkpoint:
    """Everything that going on takes; tensors by name, on the CPU."""

    progressed: Progressed
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] | None = None


@dataclass(slots=True)
class Pace:
    """When the last checkpoint was written, and how long that took."""

    step: int = 0
    at: float = field(default_factory=time.monotonic)
    took: float = 0.0

    def note(self, step: int, took: float) -> None:
        """One was written at this step, in so many seconds."""
        self.step, self.at, self.took = step, time.monotonic(), took

    def is_due(self, step: int, spec: TrainSpec) -> bool:
        """Whether it is time for another one."""
        if spec.checkpoint_every is not None:
            return step - self.step >= spec.checkpoint_every
        wait = max(CHECKPOINT_SECONDS, self.took / CHECKPOINT_SHARE)
        return time.monotonic() - self.at >= wait


class Checkpointer:
    """Writes and reads the checkpoints of one run."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / FOLDER / CHECKPOINT
        self._before = self.path.with_name(f"{CHECKPOINT}.before")
        self._next = self.path.with_name(f"{CHECKPOINT}.next")

    def save(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint in the place of the last one.

        Raises:
            RunFolderError: it cannot be written.
        """
        shutil.rmtree(self._next, ignore_errors=True)
        if self.path.exists():
            shutil.rmtree(self._before, ignore_errors=True)
        tensors = (checkpoint.weights, checkpoint.optimizer, checkpoint.best)
        try:
            self._next.mkdir(parents=True)
            for name, weights in zip(_TENSORS, tensors, strict=True):
                if weights is not None:
                    save_file(weights, self._next / name)
            write_json(self._next / _STATE, asdict(checkpoint.progressed))
            if self.path.exists():
                self.path.rename(self._before)
            self._next.rename(self.path)
        except OSError as error:
            raise RunFolderError(
                f"Cannot write the checkpoint {str(self.path)!r} ({error.strerror or error}): make "
                "room, and the same command goes on from the one before."
            ) from error
        shutil.rmtree(self._before, ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """The last whole checkpoint, if there is one.

        Raises:
            RunFolderError: it is damaged.
        """
        folder = self._folder()
        if folder is None:
            return None
        with _damage(folder):
            weights, optimizer, best = (folder / name for name in _TENSORS)
            return Checkpoint(
                _state_in(folder),
                load_file(weights),
                load_file(optimizer),
                load_file(best) if best.is_file() else None,
            )

    def step(self) -> int:
        """The step of the last whole checkpoint, without reading any weight; 0 if there is none.

        Raises:
            RunFolderError: it is damaged.
        """
        folder = self._folder()
        if folder is None:
            return 0
        with _damage(folder):
            return _state_in(folder).step

    def prune(self) -> None:
        """Remove the weights from the last checkpoint: the saved model has them."""
        for old in (self._before, self._next):
            shutil.rmtree(old, ignore_errors=True)
        for name in _TENSORS:
            (self.path / name).unlink(missing_ok=True)

    def _folder(self) -> Path | None:
        return next((path for path in (self.path, self._before) if path.is_dir()), None)


def _state_in(folder: Path) -> Progressed:
    state = parse_json((folder / _STATE).read_text(encoding="utf-8"))
    return TypeAdapter(Progressed).validate_python(state)


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Errors inside mean that a checkpoint is damaged."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise RunFolderError(
            f"The checkpoint {str(folder)!r} is damaged ({str(error).splitlines()[0]}): start over "
            "with --new, or give another folder."
        ) from error


def open_folder(out: Path, arguments: Mapping[str, Any], *, new: bool) -> Checkpointer:
    """Start the folder of a run, or resume the one that is there.

    Args:
        out: the output folder.
        arguments: plain data that decides the result.
        new: throw away a run that is there.

    Raises:
        RunFolderError: the folder cannot be written, holds something else, or a run of other
            arguments.
    """
    existed = prepare_folder(out, MARKER)
    if existed and not new:
        refuse_difference(out, arguments)
        return Checkpointer(out)
    if existed:
        shutil.rmtree(out / FOLDER, ignore_errors=True)
        for file in (file for pattern in _RESULTS for file in out.glob(pattern)):
            file.unlink()
    (out / FOLDER).mkdir(exist_ok=True)
    write_json(out / MARKER, arguments)
    return Checkpointer(out)


def timed(spec: TrainSpec, out: Path | None, *, new: bool) -> TrainSpec:
    """The same with the time for its chat template: when the run in a folder began.

    All processes that train together get the same time.
    """
    if not spec.chat or spec.clock is not None:
        return spec
    there = None
    if out is not None and not new and (out / MARKER).is_file():
        with suppress(OSError, ValueError, AttributeError):  # `open_folder` says what is wrong
            there = parse_json((out / MARKER).read_text(encoding="utf-8")).get("spec", {})
    clock = (there or {}).get("clock") or right_now()
    return replace(spec, clock=Processes.here(cpu=not torch.cuda.is_available()).agree(clock))


def refuse_difference(out: Path, arguments: Mapping[str, Any]) -> None:
    """Refuse to resume a run that other arguments began.

    Raises:
        RunFolderError: they differ, or cannot be read.
    """
    try:
        there = parse_json((out / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"Cannot read {str(out / MARKER)!r} ({error}): give another folder, or start over with "
            "--new."
        ) from error
    different = list(_differences("", there, json.loads(json.dumps(arguments))))
    if different:
        raise RunFolderError(
            f"The training in {str(out)!r} was made with other arguments ({'; '.join(different)}): "
            "repeat them to resume, give another folder, or start over with --new."
        )


def _differences(name: str, there: Any, asked: Any) -> Iterator[str]:
    if there == asked or name == "spec.clock":  # what it changes, the data says
        return
    if isinstance(there, dict) and isinstance(asked, dict):
        for key in sorted({*there, *asked}):
            inner = f"{name}.{key}" if name else key
            yield from _differences(inner, there.get(key), asked.get(key))
        return
    yield f"{name}: {there!r} there, {asked!r} now"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other runs from writing to a folder.

    Raises:
        RunFolderError: another process is writing to it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(
            f"Another process is writing to the training in {str(out)!r}: wait for it, or give "
            "another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
