"""The job that is sent to every worker of a sweep; plain data, so that it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosslatent.core.settings import complete
from crosslatent.core.specs import AUTO
from crosslatent.model import Model, load
from crosslatent.sweeps.spec import RunSettings, SweepSpec
from crosslatent.tasks import Task


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where every worker loads the model from; see `crosslatent.model.load`.

    Attributes:
        path: a folder that every worker sees under this path, or a name on the hub.
        revision: on the hub.
        device: of a worker; "auto" takes the GPU that Ray gave it.
        dtype: of the weights.
        quantization: "8bit", "4bit" or None.
        modules: where the modules are, if that is not found.
    """

    path: str
    revision: str | None = None
    device: str = AUTO
    dtype: str = AUTO
    quantization: str | None = None
    modules: Mapping[str, str] | None = None

    @classmethod
    def of(cls, path: str | Path, **arguments: Any) -> ModelSource:
        """A source whose folder, if it is one here, has its whole path."""
        folder = Path(path)
        return cls(str(folder.absolute() if folder.exists() else path), **arguments)

    def load(self) -> Model:
        """Load the model.

        Raises:
            ModelError: see `crosslatent.model.load`.
        """
        return load(
            self.path,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
            quantization=self.quantization,
            modules=self.modules,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A sweep for workers.

    Attributes:
        model: where they load the model from.
        task: the questions.
        spec: what to run.
        location: the run folder: a whole path or a URL that all of them reach.
        failures: item -> why it cannot be run, as far as that is known already.
        requested: the arguments as the user gave them, kept in run.json.
        headline: a comparison declared before any row exists, kept in run.json.
        running: how it is run.
    """

    model: ModelSource
    task: Task
    spec: SweepSpec
    location: str
    failures: Mapping[str, str] = field(default_factory=dict)
    requested: Mapping[str, Any] = field(default_factory=dict)
    headline: Mapping[str, Any] | None = None
    running: RunSettings = field(default_factory=lambda: complete(RunSettings, {}))
