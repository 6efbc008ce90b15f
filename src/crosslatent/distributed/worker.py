"""One worker: loads the model once, does work units, and writes their parts itself."""

from __future__ import annotations

import os
import platform
import socket
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.core import __version__
from crosslatent.core.errors import ModelError, RunFolderError, SweepError
from crosslatent.core.settings import complete
from crosslatent.core.specs import AUTO
from crosslatent.engine import EnginePath, chosen_path
from crosslatent.model import Model, load
from crosslatent.runs.parts import PartFolder, PartTable
from crosslatent.runs.run_folder import check_fence, extra_at, part_name
from crosslatent.runs.run_path import remove, run_path
from crosslatent.runs.schema import ROWS, ROWS_TABLE, Failure
from crosslatent.sweeps import SweepPlan, plan_sweep
from crosslatent.sweeps.bookkeeping import Judged, Streak, judged
from crosslatent.sweeps.extras import Extra, joined
from crosslatent.sweeps.prepared import Prepared, prepare
from crosslatent.sweeps.spec import RunSettings, SweepSpec
from crosslatent.sweeps.work import RowWorker, extras
from crosslatent.sweeps.work_units import WorkUnit
from crosslatent.tasks import Task

if TYPE_CHECKING:
    from crosslatent.runs.run_path import RunPath


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
        name: what run.json calls the model; its path by default.
    """

    path: str
    revision: str | None = None
    device: str = AUTO
    dtype: str = AUTO
    quantization: str | None = None
    modules: Mapping[str, str] | None = None
    name: str | None = None

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
        arguments = {each.name: getattr(self, each.name) for each in fields(self)}
        name = arguments.pop("name")
        model = load(**arguments)
        return model if name is None else replace(model, name=name)


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A sweep for workers.

    Attributes:
        task: the questions.
        spec: what to run.
        location: the run folder: a whole path or a URL that all of them reach.
        failures: item -> why it cannot be run, as far as that is known already.
        requested: the arguments as the user gave them, kept in run.json.
        headline: a comparison declared before any row exists, kept in run.json.
        running: how it is run.
        key: by which a worker knows it again.
    """

    task: Task
    spec: SweepSpec
    location: str
    failures: Mapping[str, str] = field(default_factory=dict)
    requested: Mapping[str, Any] = field(default_factory=dict)
    headline: Mapping[str, Any] | None = None
    running: RunSettings = field(default_factory=lambda: complete(RunSettings, {}))
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class About:
    """Who a worker is.

    Attributes:
        host: its machine.
        pid: its process.
        versions: of the software that must be the same everywhere.
        devices: where its model is.
    """

    host: str
    pid: int
    versions: dict[str, str]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """What came of a work unit.

    Attributes:
        rows: rows that were written.
        failures: items that could not be run.
        paths: how rows were computed, and why no faster way was taken.
        seconds: wall time that the work unit took in its worker.
        judged: how many of the rows are right and wrong, by control.
    """

    rows: int
    failures: tuple[Failure, ...]
    paths: tuple[EnginePath, ...]
    seconds: float
    judged: Judged = field(default_factory=Counter)


class Worker:
    """Does work units of one job after another, with one model."""

    def __init__(self, source: ModelSource) -> None:
        """Keep where the model is; nothing is loaded yet, so that a failure is an answer."""
        self._source = source
        self._at: _JobAtWork | None = None

    def about(self) -> About:
        """Load the model, and say who this is.

        Raises:
            ModelError: it cannot be loaded here.
        """
        return About(
            host=socket.gethostname(),
            pid=os.getpid(),
            versions=versions(),
            devices=tuple(sorted(str(device) for device in set(self._model.devices))),
        )

    def prepare(self, job: SweepJob) -> Prepared:
        """Resolve and check a sweep.

        Raises:
            UsageError: see `sweeps.plan_sweep`.
        """
        at = self._take(job)
        headline = None if job.headline is None else dict(job.headline)
        return prepare(at.plan, dict(job.requested), headline)

    def check(self, job: SweepJob, session: int, manifest: dict[str, Any]) -> None:
        """Take a job; refuse it where model, prompts or run folder are others than elsewhere.

        Raises:
            ModelError: this worker has loaded another model, or its prompts give other token ids.
            RunFolderError: it does not see the run folder, or another session has taken it.
        """
        at = self._take(job)
        own = self._model.identity_now
        different = [name for name in sorted(own) if own[name] != manifest["model"].get(name)]
        if different:
            raise ModelError(
                f"The worker on {socket.gethostname()!r} has loaded another model than the run's "
                f"({', '.join(different)} differ): give a folder with the same files, and the same "
                "dtype, on all machines."
            )
        if at.plan.tokens.hash != manifest["inputs"]["prompts"]:
            raise ModelError(
                f"On {socket.gethostname()!r} the prompts give other token ids than elsewhere "
                f"({at.plan.tokens.hash} and {manifest['inputs']['prompts']}): use the same "
                "versions of transformers and tokenizers on all machines, and a chat template that "
                "asks neither for the time zone nor for the language of the machine."
            )
        check_fence(at.location, session)

    def do(self, piece: WorkUnit, session: int) -> WrittenPart:
        """Do a work unit of the job that was checked last, and write its part.

        Args:
            piece: the work unit.
            session: of the run folder; names the part together with the work unit's number, so
                that a work unit that is done twice makes one part.

        Raises:
            RunFolderError: the part cannot be written, or another session has taken the folder.
            SweepError: one item after another fails.
        """
        assert self._at is not None, "a worker gets work units after `check`"
        return self._at.do(piece, session)

    def _take(self, job: SweepJob) -> _JobAtWork:
        if self._at is None or self._at.job.key != job.key:
            path = chosen_path(self._model, job.running["engine"])
            self._at = _JobAtWork(self._model, job, path)
        return self._at

    @cached_property
    def _model(self) -> Model:
        return self._source.load()


@dataclass
class _JobAtWork:
    """A job and what is made for it when it is first needed."""

    model: Model
    job: SweepJob
    path: EnginePath

    def do(self, piece: WorkUnit, session: int) -> WrittenPart:
        """See `Worker.do`."""
        started = time.monotonic()
        if piece.kind != ROWS_TABLE:
            found = list(extras(self.plan, piece.kind, piece.ranges, Streak()))
            self._write(piece, session, [made for made, _ in found if made is not None])
            failures = tuple(failure for _, failure in found if failure is not None)
            return WrittenPart(0, failures, (), time.monotonic() - started)
        rows: list[dict[str, Any]] = []
        failed: list[Failure | None] = []
        paths: dict[EnginePath, None] = {}
        try:
            for done in self._answering.answer(piece.ranges):
                rows += done.rows
                paths.update(dict.fromkeys(done.paths))
                failed.append(done.failure)
        except SweepError:
            self._write(piece, session, [rows])
            raise
        self._write(piece, session, [rows])
        failures = tuple(failure for failure in failed if failure is not None)
        seconds = time.monotonic() - started
        return WrittenPart(len(rows), failures, tuple(paths), seconds, judged(rows))

    def _write(self, piece: WorkUnit, session: int, made: Sequence[Extra]) -> None:
        """Write the part of a work unit, unless a later session has taken the folder meanwhile."""
        check_fence(self.location, session)
        table: PartFolder
        if piece.kind == ROWS_TABLE:
            table = PartTable(self.location / ROWS_TABLE, ROWS)
        else:
            table = extra_at(self.location, piece.kind)
        if piece.instead_of is not None:
            _drop(table, part_name(session, piece.instead_of))
        whole = joined(made)
        if whole is None:
            return
        name = part_name(session, piece.number)
        table.write(name, whole)
        try:
            check_fence(self.location, session)
        except RunFolderError:
            _drop(table, name)
            raise

    @cached_property
    def plan(self) -> SweepPlan:
        """The sweep, resolved with the model."""
        return plan_sweep(self.model, self.job.task, self.job.spec, self.job.failures)

    @cached_property
    def location(self) -> RunPath:
        """The run folder."""
        return run_path(self.job.location)

    @cached_property
    def _answering(self) -> RowWorker:
        return RowWorker(self.plan, self.path, self.job.running["batch_rows"])


def _drop(table: PartFolder, name: str) -> None:
    """Remove a part that must not count."""
    for part in table.files():
        if part.stem == name:
            remove(part)


def versions() -> dict[str, str]:
    """Versions that must be the same on all machines."""
    return {"crosslatent": __version__, "python": platform.python_version()}
