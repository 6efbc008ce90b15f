"""Where workers run: Ray on this machine, or a cluster that is there already."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from crosslatent.core.errors import UsageError
from crosslatent.core.imports import need
from crosslatent.distributed.worker import ModelSource, SweepJob, Worker
from crosslatent.distributed.worker_pool import LostWorkerError, ours

LOCAL = "local"
"""The address for a Ray on this machine that is started for the sweep and ends with it."""

_OBJECTS = 128 * 2**20
"""Bytes of Ray's shared memory on this machine: slices and their results are small, since workers
write rows to the run folder directly."""

_PATIENCE = 10.0
"""Seconds to wait for a cluster to answer at its address."""

_MOST_WITHOUT_GPUS = 4
"""Workers by default on machines without GPUs: each holds the whole model."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which workers are wanted.

    Attributes:
        address: `LOCAL`, or the address of a Ray cluster ("auto" for the one of this machine).
        workers: how many; None for one per GPU (or so many GPUs as each gets), and without GPUs one
            per core, at most four.
        gpus: GPUs of each; None for one where there are any.
    """

    address: str = LOCAL
    workers: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            UsageError: fewer than one worker, or GPUs below zero.
        """
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"The number of workers is {self.workers}: it must be 1 or more.")
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"The GPUs of a worker are {self.gpus:g}: give 0 or more.")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a worker is given, and how many there are to be.

    Attributes:
        workers: how many.
        cpus: cores of each.
        gpus: GPUs of each.
    """

    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class RayWorkers:
    """Workers of Ray, for a `WorkerPool`.

    Attributes:
        ray: the module, connected.
        source: where each loads the model from.
        resources: how many there are to be, and what each is given.
    """

    ray: Any
    source: ModelSource
    resources: Resources
    advice: ClassVar[str] = "see Ray's logs on its machine"

    @property
    def workers(self) -> int:
        """How many there are to be."""
        return self.resources.workers

    def start(self) -> Any:
        """A new worker, placed when there is room for it."""
        wanted = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus}
        return self.ray.remote(Worker).options(**wanted).remote(self.source)

    def share(self, job: SweepJob) -> Any:
        """A job in Ray's memory: it is handed over once, however large its task."""
        return self.ray.put(job)

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Ask for a method; returns the reference of the answer."""
        return getattr(worker, method).remote(*arguments)

    def wait(self, references: Sequence[Any], seconds: float) -> Any:
        """A reference whose answer is there, or None."""
        ready, _ = self.ray.wait([*references], num_returns=1, timeout=seconds)
        return ready[0] if ready else None

    def get(self, reference: Any) -> Any:
        """An answer, or our own exception as it was raised.

        Raises:
            CrosslatentError: see `worker_pool.ours`.
            LostWorkerError: the worker has died.
        """
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise ours(error.cause, self.advice) from error
        except lost_errors(self.ray) as error:
            raise LostWorkerError(str(error)) from error

    def end(self, worker: Any) -> None:
        """Kill a worker; what cannot be ended because the cluster is gone has ended with it."""
        with suppress(self.ray.exceptions.RayError, RuntimeError, ConnectionError, ValueError):
            self.ray.kill(worker, no_restart=True)


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


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Yield the module `ray`, connected; a connection that was there before is used and left open.

    Raises:
        UsageError: Ray is not installed, or does not answer at the address.
    """
    ray = _ray()
    if ray.is_initialized():
        _check_same(ray, cluster.address)
        yield ray
        return
    _check_reachable(cluster.address)
    # No machine of a user reports to others because of us.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    refused = (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError)
    try:
        with _own_signals():
            ray.init(**_arguments(cluster))
    except refused as error:
        raise _unusable(cluster.address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def resources(ray: Any, cluster: Cluster) -> Resources:
    """How many workers there will be, and what each is given.

    Raises:
        UsageError: no machine of the cluster has got what one worker needs.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    each = (1.0 if gpus else 0.0) if cluster.gpus is None else float(cluster.gpus)
    if each > gpus:
        raise UsageError(
            f"A worker is to get {each:g} GPUs, but no machine of the cluster has more than "
            f"{gpus:g}: ask for fewer, or connect to another cluster."
        )
    most = _room(nodes, 1.0, each) if each else min(_room(nodes, 1.0, each), _MOST_WITHOUT_GPUS)
    workers = cluster.workers or max(most, 1)
    cores = range(int(max(node.get("CPU", 0.0) for node in nodes)), 1, -1)
    # As many cores as leave room for all; Ray lets a worker use as many threads.
    fitting = (float(some) for some in cores if _room(nodes, some, each) >= min(workers, most))
    return Resources(workers, next(fitting, 1.0), each)


def _room(nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """How many workers fit on machines; none is spread over two."""
    needs = {"CPU": cpus, "GPU": gpus}
    return sum(
        min(int(node.get(name, 0.0) / need) for name, need in needs.items() if need)
        for node in nodes
    )


def _check_reachable(address: str) -> None:
    """Refuse an address that accepts no connection: Ray itself would retry without end."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unusable(address, error) from error


def _unusable(address: str, error: Exception) -> UsageError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return UsageError(
        f"No Ray cluster can be used at {address!r} ({reason}): start one ('ray start --head'), "
        "give its address, or leave the address out for this machine; if it asks for a token, set "
        "RAY_AUTH_MODE=token."
    )


def _check_same(ray: Any, address: str) -> None:
    """Refuse an address if this process is connected to another cluster already."""
    there = ray.get_runtime_context().gcs_address
    if address not in (LOCAL, "auto", there):
        raise UsageError(
            f"The address is {address!r}, but this process is connected to Ray at {there!r} "
            "already: call ray.shutdown() first, or leave the address out."
        )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Around Ray's start, which takes SIGTERM for itself: afterwards it is ours again."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _ray() -> Any:
    need("ray")
    import ray

    return ray


def _arguments(cluster: Cluster) -> dict[str, Any]:
    given = {"address": cluster.address, "log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address == LOCAL:
        given |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
        if cluster.workers is not None:
            given["num_cpus"] = max(cluster.workers, cores_here())
    return given


def cores_here() -> int:
    """Cores of this machine that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
