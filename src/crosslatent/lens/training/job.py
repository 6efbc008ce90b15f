"""What is to be trained, for any objective, and what comes of it."""

from __future__ import annotations

import datetime as dt
import platform
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from crosslatent.core import __version__
from crosslatent.core.seen import Seen, joined
from crosslatent.core.specs import Layer
from crosslatent.lens.space import Space
from crosslatent.lens.training.batches import Ids
from crosslatent.lens.training.frozen_cache import FrozenCache
from crosslatent.lens.training.loop import Objective
from crosslatent.lens.training.record import TrainRecord
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.lens.training.trained_blocks import TrainedBlocks
from crosslatent.model import Model

_SOFTWARE = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True, slots=True)
class Made:
    """What an objective is built on.

    Attributes:
        tuned: the fork that is trained.
        top: what of it runs.
        trunks: what enters `top`, by language.
        precision: "float32" or "bfloat16".
        dtype: of losses.
    """

    tuned: Model
    top: TrainedBlocks
    trunks: Mapping[str, FrozenCache]
    precision: str
    dtype: torch.dtype


def everything_seen(own: Seen, model: Model, space: Space | None = None) -> Seen:
    """What a trained model has seen: its rows, and what the model before and the space had.

    A model before that has no record counts as an ordinary one; a space without a record leaves
    what is known incomplete.
    """
    before = [] if model.seen is None else [model.seen]
    found = joined([own, *before, *([] if space is None else [space.seen])])
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained.

    Attributes:
        objective: "lens" or "answers".
        model: the untouched model.
        spec: the settings.
        languages: the target languages.
        central: the central language; None if there is none.
        layers: where states and references are read.
        texts: token ids by language.
        groups: what each row belongs to; a group is trained on or held out as a whole.
        left_out: rows that cannot be used.
        cut: texts that lost their end, by language.
        data: hash of everything that rows and objective are made of.
        make: builds the objective.
        about: for the record: "space", "command".
        seen: what it is trained on, and what it is built on was; see `everything_seen`.
    """

    objective: str
    model: Model
    spec: TrainSpec
    languages: list[str]
    central: str | None
    layers: tuple[Layer, ...]
    texts: Mapping[str, Sequence[Ids]]
    groups: Sequence[Hashable]
    left_out: int
    cut: dict[str, int]
    data: str
    make: Callable[[Made], Objective]
    about: dict[str, Any]
    seen: Seen

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are trained."""
        return self.spec.trained_blocks(self.model.n_layers)

    def arguments(self) -> dict[str, Any]:
        """Plain data that decides the result."""
        identity = self.model.identity
        parts = ("type", "weights_hash", "tokenizer_hash", "dtype")
        return {
            "objective": self.objective,
            "model": {part: identity.get(part) for part in parts},
            "languages": self.languages,
            "central": self.central,
            "data": self.data,
            # When checkpoints are written, and in what dtype the end is saved, changes no step.
            "spec": {
                name: value
                for name, value in self.spec.to_dict().items()
                if name not in ("checkpoint_every", "save_dtype")
            },
        }

    def record(self) -> TrainRecord:
        """The record of a run that begins now."""
        total = sum(weight.numel() for weight in self.model.hf.parameters())
        return TrainRecord(
            objective=self.objective,
            base={"name": self.model.name, "identity": dict(self.model.identity)},
            spec=self.spec.to_dict(),
            languages=self.languages,
            central=self.central,
            blocks=list(self.blocks),
            total_parameters=total,
            cut=self.cut,
            space=self.about.get("space"),
            versions={
                "crosslatent": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in _SOFTWARE},
            },
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            command=list(self.about.get("command") or [Path(sys.argv[0]).name, *sys.argv[1:]]),
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
