"""Workers as processes of this machine, with nothing but Python.

Each is a Python of its own, so a script needs no guard around its main part, and a worker that is
killed takes no other with it. It is asked, and answers, through one connection. The connection ends
with either side: then the pool finds an end instead of an answer, or the worker ends at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import IO, Any, ClassVar

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import AUTO
from crosslatent.distributed.cluster import cores_here
from crosslatent.distributed.worker import ModelSource, SweepJob, Worker
from crosslatent.distributed.worker_pool import LostWorkerError, ours
from crosslatent.model.loading import SPREAD, resolve_device

_SERVE = (
    "import sys; from crosslatent.distributed.process_workers import serve; serve(int(sys.argv[1]))"
)
_ADVICE = "use fewer processes if memory is short, or one to see where it fails"


@dataclass(slots=True)
class ProcessWorkers:
    """Processes of this machine, for a `WorkerPool`.

    A worker, and the reference of what it was asked last, is the connection to it.

    Attributes:
        source: where each loads the model from.
        workers: how many there are to be.
    """

    source: ModelSource
    workers: int
    advice: ClassVar[str] = _ADVICE
    _started: dict[Any, _Started] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: fewer than one process, several for one GPU, or a system without them.
        """
        if self.workers < 1:
            raise UsageError(f"The number of processes is {self.workers}: it must be 1 or more.")
        if os.name != "posix":
            raise UsageError(
                f"--processes needs Linux or macOS, but this is {os.name}: leave it out."
            )
        device = resolve_device(AUTO if self.source.device == SPREAD else self.source.device)
        if device.type != "cpu" and self.workers > 1:
            raise UsageError(
                f"{self.workers} processes would share the device {device.type!r}, where one is as "
                "fast: leave --processes out, add --device cpu, or use --ray for several GPUs."
            )

    def start(self) -> Connection:
        """A new process, which loads the model when it is first asked something."""
        here, there = Pipe()
        # In a session of its own, Ctrl-C reaches this process alone, which then ends the others.
        errors = TemporaryFile()  # noqa: SIM115 - `end` closes it
        process = subprocess.Popen(  # noqa: S603 - this Python
            [sys.executable, "-P", "-c", _SERVE, str(there.fileno())],
            pass_fds=[there.fileno()],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        there.close()
        with suppress(OSError):  # that it has ended already is found by `get`
            here.send(self.source)
        self._started[here] = _Started(process, errors)
        return here

    def share(self, job: SweepJob) -> SweepJob:
        """A job as it is: processes that have loaded the model read it at once."""
        return job

    def call(self, worker: Connection, method: str, *arguments: Any) -> Connection:
        """Ask for a method; whether there is a worker to do it is found by `get`."""
        with suppress(OSError):
            worker.send((method, arguments))
        return worker

    def wait(self, references: Sequence[Connection], seconds: float) -> Any:
        """A worker that has answered or is gone, or None."""
        return next(iter(wait(references, seconds)), None)

    def get(self, reference: Connection) -> Any:
        """An answer, or what was raised.

        Raises:
            CrosslatentError: see `worker_pool.ours`.
            LostWorkerError: the process has ended.
        """
        try:
            answer = reference.recv()
        except (EOFError, OSError) as error:
            raise LostWorkerError(self._started[reference].last_words()) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self, worker: Connection) -> None:
        """Kill a process, if it is still there, and wait for its end."""
        started = self._started.pop(worker, None)
        if started is not None:
            started.process.kill()
            started.process.wait()
            started.errors.close()
            worker.close()

    def _environment(self) -> dict[str, str]:
        """That of this process, with its search path, and each worker's share of the cores."""
        threads = str(max(1, cores_here() // self.workers))
        path = os.pathsep.join(sys.path)
        return {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path}


@dataclass(frozen=True, slots=True)
class _Started:
    """A process that was started, and the file that has what it says on stderr."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def last_words(self) -> str:
        """How it ended."""
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {said[-1]}" if said else how


def serve(number: int) -> None:
    """Be a worker: answer what is asked through a connection, until its other end is gone.

    Args:
        number: of the file descriptor that this process has inherited for it.
    """
    connection = Connection(number)
    asked: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, asked), daemon=True).start()
    worker = Worker(asked.get())
    while True:
        connection.send(_answer(worker, asked.get()))


def _listen(connection: Connection, asked: SimpleQueue[Any]) -> None:
    """Queue what is asked. With the other process the work ends too, whatever is being done."""
    while True:
        try:
            asked.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - what was asked cannot be read here
            asked.put(error)


def _answer(worker: Worker, asked: Any) -> Any:
    """What a method returns, or an exception of ours."""
    if isinstance(asked, Exception):
        return ours(asked, _ADVICE)
    try:
        method, arguments = asked
        return getattr(worker, method)(*arguments)
    except Exception as error:  # noqa: BLE001 - it is raised where it was asked
        return ours(error, _ADVICE)
