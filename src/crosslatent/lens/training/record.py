"""`TrainRecord`: what a training run did, as plain data beside the weights (no torch)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from crosslatent.core.errors import RunFolderError
from crosslatent.core.seen import PLACE, Seen, packed
from crosslatent.core.untrusted import one_line, parse_json
from crosslatent.runs.files import whole_file, write_bytes, write_json

FOLDER = PLACE
"""Below the output folder: the record, the curve and the checkpoint."""
MARKER = f"{FOLDER}/arguments.json"
"""What decides the result; by it an output folder is known as one of training."""
RECORD = "train.json"
CURVE = "curve.jsonl"
RECORD_VERSION = 1

FINISHED, EARLY, INTERRUPTED, NAN = ("finished", "early", "interrupted", "nan")
"""Why training stopped: all epochs done, no better held-out loss, Ctrl-C, a loss that is no
number."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A loss at one step.

    Attributes:
        step: steps of the optimizer before it; 0 is the untrained model.
        epoch: passes over the rows, in fractions.
        split: "train" (the rows of this step) or "held_out" (all of them).
        lr: learning rate of the step; None for held-out rows.
        loss: the weighted sum of the terms.
        terms: each term, without its weight.
    """

    step: int
    epoch: float
    split: str
    lr: float | None
    loss: float
    terms: Mapping[str, float]


@dataclass(slots=True)
class TrainRecord:
    """What was trained, on what, and how it went.

    Attributes:
        objective: "lens" (docs/methods.md, 7.2), or "answers" (cross-entropy on gold answers).
        base: the model before: its "name" and "identity".
        spec: the settings, as `TrainSpec.to_dict` gives them.
        languages: the target languages.
        central: the language that is kept, usually English; None if there is none.
        blocks: the trained blocks, 0-based.
        parameters: how many were trained.
        total_parameters: how many the model has.
        rows: "train", "held_out", and "left_out" (no text in the central or any target language).
        cut: by language, texts that were longer than the limit and lost their end.
        steps: of the optimizer.
        best_step: with the lowest held-out loss; None without held-out rows.
        stopped: `FINISHED`, `EARLY`, `INTERRUPTED` or `NAN`.
        seconds: "trunk" (what enters the trained blocks, in the last session) and "train" (steps
            and evaluations, in all of them).
        trunk: "texts", of which "computed" in this run and "reused" from an earlier one.
        curve: losses by step.
        saved: what the folder holds: its "dtype"; "loss" and "terms" of the held-out rows, as in
            the curve, with the weights as they were saved (None and {} without held-out rows);
            "lost", the share of what training changed that rounding to that dtype lost (norm of
            the error by norm of the change). Empty until training is done.
        not_adapted: with adapters, matrices of the trained blocks that have none, such as experts
            that are held in one tensor.
        space: folder of the language subspaces, if they came from one.
        versions: of the software.
        created: when it began, ISO 8601 in UTC.
        command: the command line.
    """

    objective: str
    base: dict[str, Any]
    spec: dict[str, Any]
    languages: list[str]
    central: str | None
    blocks: list[int]
    parameters: int = 0
    total_parameters: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    best_step: int | None = None
    stopped: str = FINISHED
    seconds: dict[str, float] = field(default_factory=dict)
    trunk: dict[str, int] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    saved: dict[str, Any] = field(default_factory=dict)
    not_adapted: int = 0
    space: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    command: list[str] = field(default_factory=list)

    def points(self, split: str) -> list[CurvePoint]:
        """The curve of one split, "train" or "held_out"."""
        return [point for point in self.curve if point.split == split]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the curve, which has a file of its own."""
        plain = asdict(self)
        del plain["curve"]
        return {"version": RECORD_VERSION, **plain}


def write_record(record: TrainRecord, folder: Path) -> None:
    """Write ``train.json`` and ``curve.jsonl`` below `folder`/training.

    Raises:
        RunFolderError: the place cannot be written.
    """
    place = _place(folder)
    lines = [json.dumps(asdict(point), allow_nan=False) + "\n" for point in record.curve]
    with whole_file(place / CURVE) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    write_json(place / RECORD, record.to_dict())


def _place(folder: Path) -> Path:
    """The folder of records below `folder`, made if it is not there."""
    place = folder / FOLDER
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to {str(place)!r} ({error.strerror}): give a folder that can be written."
        ) from error
    return place


def write_seen(seen: Seen, folder: Path) -> None:
    """Write what a model was trained on below `folder`/training; `core.seen.read_seen` reads it.

    Raises:
        RunFolderError: the place cannot be written.
    """
    place = _place(folder)
    for name, data in packed(seen).items():
        write_bytes(place / name, data)


def read_record(folder: Path) -> TrainRecord:
    """The record that `write_record` left below `folder`.

    Raises:
        RunFolderError: there is none, or it is not one of ours.
    """
    place = folder / FOLDER
    try:
        data = parse_json((place / RECORD).read_text(encoding="utf-8"))
        lines = (place / CURVE).read_text(encoding="utf-8").splitlines()
        curve = TypeAdapter(list[CurvePoint]).validate_python([parse_json(line) for line in lines])
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{str(folder)!r} holds no record of training ({FOLDER}/{RECORD}): give the --out "
            "folder of 'crosslatent lens train'."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"Cannot read the record of training in {str(place)!r} ({one_line(error)}): give a "
            "folder that 'crosslatent lens train' wrote."
        ) from error
    version = data.pop("version", None) if isinstance(data, dict) else None
    known = {each.name for each in fields(TrainRecord)} - {"curve"}
    if version != RECORD_VERSION or not known >= set(data):
        raise RunFolderError(
            f"The record of training in {str(place)!r} has version {version!r}, but this version "
            f"of crosslatent reads {RECORD_VERSION}."
        )
    try:
        return TypeAdapter(TrainRecord).validate_python({**data, "curve": curve})
    except ValueError as error:
        raise RunFolderError(
            f"The record of training in {str(place)!r} is damaged ({one_line(error)}): give a "
            "folder that 'crosslatent lens train' wrote."
        ) from error
