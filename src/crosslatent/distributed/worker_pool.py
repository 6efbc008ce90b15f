"""A free worker gets the next work unit. The units of a lost one are done again by another.

A `Backend` starts the workers and says when one is gone: Ray (`cluster`), or processes of this
machine (`process_workers`). A new worker gets a work unit only when it has answered, so that what
cannot be placed yet (a node that is gone, a cluster that is busy) holds nothing up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Protocol, Self

from crosslatent.core.errors import CrosslatentError, SweepError, UsageError
from crosslatent.distributed.worker import About, SweepJob, WrittenPart, versions
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


class LostWorkerError(Exception):
    """A worker has died, by whatever."""


class Backend(Protocol):
    """Starts workers, each with the model, and carries questions and answers."""

    advice: ClassVar[str]
    """What to do about a worker that died or failed, as the end of a sentence."""

    @property
    def workers(self) -> int:
        """How many there are to be."""

    def start(self) -> Any:
        """A new worker; it need not answer yet."""

    def share(self, job: SweepJob) -> Any:
        """A job in the form in which `call` hands it to many workers."""

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Ask for a method of `worker.Worker`; returns a reference to the answer at once."""

    def wait(self, references: Sequence[Any], seconds: float) -> Any:
        """One of the references whose answer is there; None if there is none in time."""

    def get(self, reference: Any) -> Any:
        """The answer.

        Raises:
            CrosslatentError: the worker raised it, or something else (`ours`).
            LostWorkerError: the worker is gone.
        """

    def end(self, worker: Any) -> None:
        """End a worker at once, if it is still there."""


@dataclass(slots=True)
class WorkerPool:
    """Workers that have loaded a model, for one sweep after another.

    Attributes:
        backend: where they are.
        tell: gets a sentence when nothing can be done but wait.
        lost: workers that were lost so far.
    """

    backend: Backend
    tell: Callable[[str], None] = unheard
    lost: int = 0
    _starting: dict[Any, tuple[Any, Any]] = field(default_factory=dict, init=False)
    """Reference of an answer that is awaited -> the worker that gives it, and what it was asked."""
    _working: dict[Any, tuple[Any, WorkUnit]] = field(default_factory=dict, init=False)
    _free: list[Any] = field(default_factory=list, init=False)
    _ready: Callable[[Any], Any] | None = field(default=None, init=False)
    _failed_starts: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Start the workers."""
        for _ in range(self.backend.workers):
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.dismiss()

    def dismiss(self) -> None:
        """End all workers at once: rows that they have not written are run again later."""
        at_work = [worker for worker, _ in self._working.values()]
        starting = [worker for worker, _ in self._starting.values()]
        for worker in (*self._free, *at_work, *starting):
            self.backend.end(worker)
        self._free, self._working, self._starting = [], {}, {}

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """Inside, whatever is raised ends the workers first."""
        try:
            yield
        except BaseException:
            self.dismiss()
            raise

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
            if not self._starting and not self._working:
                self._start()  # all were dismissed
            deque(self._wait(), maxlen=0)
        return self._free[0]

    def ask(self, method: str, *arguments: Any) -> Any:
        """The answer of a worker that is there; of another one if it dies over it.

        Raises:
            CrosslatentError: what it raised.
            SweepError: several were lost.
        """
        for left in reversed(range(TRIES)):
            worker = self.first()
            try:
                return self.backend.get(self.backend.call(worker, method, *arguments))
            except LostWorkerError as error:
                if not left:
                    raise SweepError(self._lost("while the sweep was prepared", error)) from error
                self._free.remove(worker)
                self._replace(worker)
        raise AssertionError("the last try returns or raises")

    def greet(self, method: str, *arguments: Any) -> None:
        """From now on, a worker gets work units only after this was asked of it."""
        self._ready = lambda worker: self.backend.call(worker, method, *arguments)
        free, self._free = self._free, []
        for worker in free:
            self._starting[self._ready(worker)] = (worker, self._ready)

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
                reference = self.backend.call(worker, "do", piece, session)
                self._working[reference] = (worker, piece)
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
                            self._lost(f"with each of {given_up} work units in a row", answer)
                        )
                    yield Result(piece, None, self._lost(f"{TRIES} times", answer))

    def _start(self) -> None:
        worker = self.backend.start()
        self._starting[self.backend.call(worker, "about")] = (worker, None)

    def _wait(self) -> Iterator[tuple[WorkUnit, Any]]:
        """Wait for one message; yield a work unit with its result, if it is a result."""
        reference = self._next()
        if reference in self._starting:
            self._started(reference)
            return
        worker, piece = self._working.pop(reference)
        try:
            answer = self.backend.get(reference)
        except LostWorkerError as error:
            self._replace(worker)
            yield piece, error
        else:
            self._free.append(worker)
            yield piece, answer

    def _started(self, reference: Any) -> None:
        """A worker has answered that it is there or ready, or is lost."""
        worker, asked = self._starting.pop(reference)
        try:
            answer = self.backend.get(reference)
        except LostWorkerError as error:
            self._failed_starts += 1
            if self._failed_starts >= STARTS * self.backend.workers:
                raise SweepError(self._lost("while they loaded the model", error)) from error
            self._replace(worker)
            return
        self._failed_starts = 0
        if isinstance(answer, About):
            _check_versions(answer)
        if self._ready is None or asked is self._ready:
            self._free.append(worker)
        else:
            self._starting[self._ready(worker)] = (worker, self._ready)

    def _next(self) -> Any:
        """The next answer that is there; while there is none, it is said why that may be."""
        while True:
            ready = self.backend.wait([*self._working, *self._starting], SECONDS)
            if ready is not None:
                return ready
            if not self._working:
                self.tell(
                    f"No worker has answered for {SECONDS:.0f} s: they may still be loading the "
                    "model, or the cluster may have no room for them."
                )

    def _replace(self, worker: Any) -> None:
        self.lost += 1
        self.backend.end(worker)
        self._start()

    def _lost(self, when: str, error: Any) -> str:
        return f"A worker of the sweep died {when} ({_line(error)}): {self.backend.advice}."


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


def ours(cause: Exception, advice: str) -> CrosslatentError:
    """What a worker raised: our own exception as it is, everything else as one sentence."""
    if isinstance(cause, CrosslatentError):
        return cause
    kind = type(cause).__name__
    return SweepError(
        f"A worker of the sweep failed ({kind}: {_line(cause)}): {advice}; what was finished is "
        "kept."
    )


def _check_versions(about: About) -> None:
    for name, version in versions().items():
        there = about.versions.get(name)
        if there != version:
            raise UsageError(
                f"The worker on {about.host!r} has {name} {there}, but {version} is here: install "
                "the same on all machines."
            )


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:300]
