"""What training leaves: weights in the dtype of their folder, measured in it, and written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from crosslatent.core.errors import RunFolderError, TrainingError
from crosslatent.lens.training.fork import HALF, round_off, settle
from crosslatent.lens.training.job import Job
from crosslatent.lens.training.loop import Loop
from crosslatent.lens.training.lora import Adapted
from crosslatent.lens.training.record import FOLDER, RECORD, TrainRecord, write_record, write_seen
from crosslatent.lens.training.train_spec import AUTO, FLOAT32, MODEL
from crosslatent.model import Model


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fork, ready to be trained.

    Attributes:
        model: the fork.
        parameters: what of it is trained, by name.
        adapted: its adapters; None if blocks are trained themselves.
    """

    model: Model
    parameters: Mapping[str, nn.Parameter]
    adapted: Adapted | None


def is_widened(job: Job) -> bool:
    """Whether the trained model is in float32, although the original is in half precision."""
    if job.spec.lora is not None or job.spec.save_dtype == MODEL:
        return False
    return any(weight.dtype in HALF for weight in job.model.hf.parameters())


def saved_dtype(job: Job) -> str:
    """Name of the dtype that what was trained is saved in."""
    if is_widened(job) or job.spec.lora is not None:
        return FLOAT32
    return str(job.model.dtype).removeprefix("torch.")


def measure(job: Job, fitted: Fitted, loop: Loop) -> dict[str, Any]:
    """Round trained weights to the dtype that they are saved in, and measure what is left.

    The loss is of the held-out rows, in the precision of training, as in the curve.

    Returns:
        What `TrainRecord.saved` holds.
    """
    lost = 0.0
    if fitted.adapted is None and not is_widened(job):
        lost = round_off(fitted.parameters, dict(job.model.hf.named_parameters()))
    loss, terms = loop.measure() or (None, {})
    return {
        "dtype": saved_dtype(job),
        "loss": _finite(loss),
        "terms": {name: _finite(value) for name, value in terms.items()},
        "lost": lost,
    }


def settled(job: Job, fitted: Fitted, out: Path | None) -> Model:
    """The fork as the model that was trained.

    Raises:
        TrainingError: there is no memory for all of it in float32.
    """
    name = str(out) if out is not None else f"{job.model.name} (trained)"
    try:
        return settle(fitted.model, job.model, name, widen=is_widened(job))
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "There is no memory for the whole trained model in float32: repeat the command with "
            "--save-dtype model, or on another --device, and it goes on from the last checkpoint."
        ) from error


def put(fitted: Fitted, weights: Mapping[str, Tensor]) -> None:
    """Give the trained parameters these values."""
    with torch.no_grad():
        for name, weight in fitted.parameters.items():
            weight.copy_(weights[name])


def save(job: Job, tuned: Model, fitted: Fitted, out: Path, record: TrainRecord) -> None:
    """Write what it was trained on, the model, its card, then the record that says all is there.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    from crosslatent.lens.training.card import write_card

    # Before the weights, so that they are nowhere without it.
    write_seen(job.seen, out)
    try:
        if fitted.adapted is not None:
            base = Path(job.model.name)
            # From any working directory.
            fitted.adapted.save(out, str(base.resolve()) if base.is_dir() else job.model.name)
        else:
            tuned.hf.save_pretrained(out)
        tuned.tokenizer.save_pretrained(out)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write the trained model to {str(out)!r} ({error.strerror or error}): make "
            "room, and the same command goes on from its checkpoint."
        ) from error
    write_card(out, record)
    write_record(record, out)


def restore(job: Job, fitted: Fitted, out: Path, record: TrainRecord) -> Model:
    """The trained model that a finished run has saved, which shares what it can with the original.

    Raises:
        RunFolderError: it cannot be read, or is saved in another dtype than is asked for.
    """
    there = record.saved.get("dtype", saved_dtype(job))
    if job.spec.save_dtype != AUTO and there != saved_dtype(job):
        raise RunFolderError(
            f"The model in {str(out)!r} was trained and saved in {there}, not {saved_dtype(job)}: "
            "leave --save-dtype out, give another folder, or start over with --new."
        )
    try:
        if fitted.adapted is not None:
            fitted.adapted.restore(out)
        else:
            kind: Any = type(job.model.hf)
            saved = kind.from_pretrained(out, dtype="auto", use_safetensors=True)
            found = dict(saved.named_parameters())
            for name, weight in fitted.parameters.items():
                weight.data = found[name].detach().to(weight.device)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunFolderError(
            f"Training in {str(out)!r} is finished ({FOLDER}/{RECORD}), but the model there cannot "
            f"be read ({reason}): put it back, or start over with --new."
        ) from error
    name = str(out)
    return settle(fitted.model, job.model, name, widen=is_widened(job) and there == FLOAT32)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
