"""A free worker gets the next work unit. The units of a lost one are done again by another.

Ray places the processes and tells when one is gone. A new worker gets a work unit only when it has
answered, so that what cannot be placed yet (a node that is gone, a cluster that is busy) holds
nothing up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from crosslatent.core.errors import CrosslatentError, SweepError, UsageError
from crosslatent.distributed.cluster import Resources
from crosslatent.distributed.worker import About, SweepJob, Worker, WrittenPart, versions
from crosslatent.sweeps.work_units import WorkUnit

TRIES = 3
"""Workers that a work unit may lose before its items are left out, since one of them may kill
them. The last time, each item goes alone."""

STARTS = 3
"""Workers, times how many there are to be, that may be lost in a row while they load the model."""

LOST_IN_A_ROW = 5
"""Work units that may be given up one after another; then it is not the work_units."""

SECONDS = 60.0
"""How long to wait for anything to happen before saying so."""

_PIECES = 10_000_000
"""First number of the pieces of work units, beyond those of all work_units."""


def unheard(_sentence: str) -> None:
    """A `tell` that ignores its sentence."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a work unit.

    Attributes:
        piece: the work unit.
        part: what its worker says; None if it was lost with `TRIES` workers.
        reason: why it was lost.
    """

    piece: WorkUnit
    part: WrittenPart | None
    reason: str = ""


@dataclass(slots=True)
class WorkerPool:
    """The workers of a sweep.

    Attributes:
        ray: the module, connected.
        job: sent to every worker.
        resources: how many there are to be.
        tell: gets a sentence when nothing can be done but wait.
        lost: workers that were lost so far.
    """

    ray: Any
    job: SweepJob
    resources: Resources
    tell: Callable[[str], None] = unheard
    lost: int = 0
    _job: Any = field(default=None, init=False)
    _starting: dict[Any, Any] = field(default_factory=dict, init=False)
    """Reference of an answer that is awaited -> the worker that gives it."""
    _working: dict[Any, tuple[Any, WorkUnit]] = field(default_factory=dict, init=False)
    _free: list[Any] = field(default_factory=list, init=False)
    _ready: Callable[[Any], Any] | None = field(default=None, init=False)
    _failed_starts: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Start the workers; the task is handed to Ray once, however large."""
        self._job = self.ray.put(self.job)
        for _ in range(self.resources.workers):
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.dismiss()

    def dismiss(self) -> None:
        """End all workers at once: rows that they have not written are run again later."""
        at_work = [worker for worker, _ in self._working.values()]
        for worker in (*self._free, *at_work, *self._starting.values()):
            self._end(worker)
        self._free, self._working, self._starting = [], {}, {}

    @property
    def size(self) -> int:
        """Workers that have answered."""
        return len(self._free) + len(self._working)

    def first(self) -> Any:
        """The first worker that has answered.

        Raises:
            CrosslatentError: what it says of the model.
            SweepError: workers die while they load it.
        """
        while not self._free:
            deque(self._wait(), maxlen=0)
        return self._free[0]

    def ask(self, worker: Any, method: str, *arguments: Any) -> Any:
        """One worker's answer.

        Raises:
            CrosslatentError: what it raised.
            SweepError: it was lost.
        """
        try:
            return self._get(getattr(worker, method).remote(*arguments))
        except lost_errors(self.ray) as error:
            raise SweepError(_lost("while the sweep was prepared", error)) from error

    def greet(self, ready: Callable[[Any], Any]) -> None:
        """From now on, a worker gets work units only after this was asked of it."""
        self._ready = ready
        free, self._free = self._free, []
        for worker in free:
            self._starting[ready(worker)] = worker

    def do(self, work_units: Iterable[WorkUnit], session: int) -> Iterator[Result]:
        """Have work units done, and yield them as they are.

        Raises:
            CrosslatentError: what a worker raised, such as a full disk.
            SweepError: workers die while they load the model, or whatever they do.
        """
        queue = _Queue(iter(work_units))
        given_up = 0
        while True:
            while self._free and (piece := queue.next()) is not None:
                worker = self._free.pop()
                self._working[worker.do.remote(piece, session)] = (worker, piece)
            if not self._working and queue.empty():
                return
            for piece, answer in self._wait():
                if isinstance(answer, WrittenPart):
                    given_up = 0
                    yield Result(piece, answer)
                elif not queue.again(piece):
                    given_up += 1
                    if given_up == LOST_IN_A_ROW:
                        raise SweepError(
                            _lost(f"with each of {given_up} work units in a row", answer)
                        )
                    yield Result(piece, None, _lost(f"{TRIES} times", answer))

    def _start(self) -> None:
        wanted = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus}
        worker = self.ray.remote(Worker).options(**wanted).remote(self._job)
        self._starting[worker.about.remote()] = worker

    def _wait(self) -> Iterator[tuple[WorkUnit, Any]]:
        """Wait for one message; yield a work unit with its result, if it is a result."""
        reference = self._next()
        if reference in self._starting:
            self._started(reference)
            return
        worker, piece = self._working.pop(reference)
        try:
            answer = self._get(reference)
        except lost_errors(self.ray) as error:
            self._replace(worker)
            yield piece, error
        else:
            self._free.append(worker)
            yield piece, answer

    def _started(self, reference: Any) -> None:
        """A worker has answered that it is there, or is lost."""
        worker = self._starting.pop(reference)
        try:
            answer = self._get(reference)
        except lost_errors(self.ray) as error:
            self._failed_starts += 1
            if self._failed_starts >= STARTS * self.resources.workers:
                raise SweepError(_lost("while they loaded the model", error)) from error
            self._replace(worker)
            return
        self._failed_starts = 0
        if isinstance(answer, About):
            _check_versions(answer)
            if self._ready is not None:
                self._starting[self._ready(worker)] = worker
                return
        self._free.append(worker)

    def _next(self) -> Any:
        """The next answer that is there; while there is none, it is said why that may be."""
        while True:
            waited = [*self._working, *self._starting]
            ready, _ = self.ray.wait(waited, num_returns=1, timeout=SECONDS)
            if ready:
                return ready[0]
            if not self._working:
                self.tell(
                    f"No worker has answered for {SECONDS:.0f} s: they may still be loading the "
                    "model, or the cluster may have no room for them."
                )

    def _replace(self, worker: Any) -> None:
        self.lost += 1
        self._end(worker)
        self._start()

    def _end(self, worker: Any) -> None:
        # What cannot be ended because the cluster is gone has ended with it.
        with suppress(self.ray.exceptions.RayError, RuntimeError, ConnectionError, ValueError):
            self.ray.kill(worker, no_restart=True)

    def _get(self, reference: Any) -> Any:
        """An answer, or our own exception as it was raised.

        Raises:
            CrosslatentError: the worker's.
            SweepError: the worker raised something else.
        """
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, CrosslatentError):
                raise cause from None
            raise SweepError(
                f"A worker of the sweep failed ({type(cause).__name__}: {_line(cause)}): see Ray's "
                "logs on its machine; what was finished is kept."
            ) from error


class _Queue:
    """Work units that are still to be handed out; those that were lost first."""

    def __init__(self, work_units: Iterator[WorkUnit]) -> None:
        self._work_units = work_units
        self._again: deque[WorkUnit] = deque()
        self._left: dict[int, int] = {}
        self._numbers = count(_PIECES)
        self._next: WorkUnit | None = next(work_units, None)

    def empty(self) -> bool:
        return self._next is None and not self._again

    def next(self) -> WorkUnit | None:
        if self._again:
            return self._again.popleft()
        piece, self._next = self._next, next(self._work_units, None)
        return piece

    def again(self, piece: WorkUnit) -> bool:
        """Put a work unit back whose worker was lost, unless it has been tried often enough."""
        left = self._left.get(piece.number, TRIES) - 1
        self._left[piece.number] = left
        if left == 1 and len(piece.ranges) > 1:
            # One for each of its row ranges, so that a bad item takes no other with it.
            for row_range in piece.ranges:
                number = next(self._numbers)
                self._left[number] = 1
                split = WorkUnit(number, piece.kind, (row_range,), instead_of=piece.number)
                self._again.append(split)
        elif left > 0:
            self._again.append(piece)
        return left > 0


def lost_errors(ray: Any) -> tuple[type[Exception], ...]:
    """Exceptions of Ray that mean that a worker has died, for any reason."""
    kinds = ray.exceptions
    return (
        kinds.RayActorError,
        kinds.OutOfMemoryError,
        kinds.NodeDiedError,
        kinds.WorkerCrashedError,
        kinds.ObjectLostError,
    )


def _check_versions(about: About) -> None:
    for name, version in versions().items():
        there = about.versions.get(name)
        if there != version:
            raise UsageError(
                f"The worker on {about.host!r} has {name} {there}, but {version} is here: install "
                "the same on all machines."
            )


def _lost(when: str, error: Any) -> str:
    return f"A worker of the sweep died {when} ({_line(error)}): see Ray's logs on its machine."


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:300]
