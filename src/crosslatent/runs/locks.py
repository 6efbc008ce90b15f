"""One writer for each run folder: a lock of the operating system; a lease where it has none."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import parse_json, short
from crosslatent.runs.files import LEASE, LOCK, OWNER, write_json
from crosslatent.runs.run_path import RunPath, reaching, read_bytes, refusal, remove

BEAT_SECONDS = 20.0
"""A lease is renewed so often."""
STALE_SECONDS = 300.0
"""A lease that has not been renewed for so long is free; clocks must not differ by more."""
_CLOCK_SECONDS = 2.0
"""By how much the start of a process may seem later than what it said of itself."""
SETTLE_SECONDS = 0.5
"""How long to wait before looking who has a lease that two may have taken at once."""


class Hold(Protocol):
    """The right to write to a folder."""

    def release(self) -> None:
        """Give it back; a second time does nothing."""


def hold(location: RunPath) -> Hold:
    """Become the one writer of a folder that exists.

    Raises:
        RunFolderError: another process is; the sentence names it where it is known.
    """
    return _Locked(location) if isinstance(location, Path) else _Leased(location)


def writer_of(location: RunPath) -> dict[str, Any] | None:
    """The process that writes to a folder now, without asking for its lock.

    Returns:
        Its `pid`, `host` and `started` (ISO 8601); None if there is none, or if it is on another
        machine and does not renew a lease there.
    """
    leased = not isinstance(location, Path)
    found = _said(location / (LEASE if leased else OWNER))
    here = all(found.get(name) == value for name, value in _pids().items())
    lives = not _is_stale(found) if leased else here and _is_at_work(found)
    if not found or not lives:
        return None
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(found.get("started", 0)))
    return {"pid": found.get("pid"), "host": str(found.get("host")), "started": started}


def _is_at_work(owner: dict[str, Any]) -> bool:
    """Whether the process lives that has said so; a later one may have got its number."""
    import psutil

    pid, since = owner.get("pid"), owner.get("started")
    if not _is_alive(pid) or not isinstance(since, int | float):
        return False
    try:
        began: float = psutil.Process(pid).create_time()
    except psutil.Error:
        return False
    return began <= since + _CLOCK_SECONDS


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": time.time()} | _pids()


def _pids() -> dict[str, Any]:
    """What makes a process number mean the same process: host, its boot, and its namespace.

    Containers often share a host's name, and each counts its processes by itself.
    """
    boot = namespace = None
    with suppress(OSError, UnicodeDecodeError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return {"host": socket.gethostname(), "boot": boot, "pid_namespace": namespace}


def _said(location: RunPath) -> dict[str, Any]:
    """What a process has said of itself, for a message; nothing if it cannot be read."""
    try:
        return _held(location)
    except RunFolderError:
        return {}


def _held(location: RunPath) -> dict[str, Any]:
    """A lease; nothing if it is not there, or is none.

    Raises:
        RunFolderError: it cannot be read, so another process may still hold it.
    """
    with reaching(location):
        try:
            found = parse_json(read_bytes(location))
        except (FileNotFoundError, ValueError):
            return {}
    return found if isinstance(found, dict) else {}


def _taken(location: RunPath, owner: dict[str, Any]) -> RunFolderError:
    who = ""
    if isinstance(owner.get("pid"), int) and isinstance(owner.get("started"), int | float):
        # Times that no clock can give are ignored: the file is untrusted.
        with suppress(OverflowError, ValueError, OSError):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["started"]))
            host = short(str(owner.get("host")))
            who = f" (process {owner['pid']} on {host}, since {since})"
    return RunFolderError(
        f"Another process is writing to the run in {str(location)!r}{who}: wait for it, or give "
        "another folder."
    )


class _Locked:
    """A lock of the operating system, which a process that dies gives back."""

    def __init__(self, location: Path) -> None:
        if (location / LOCK).is_symlink():
            # Locking empties the file, and this would be another one than it seems.
            raise RunFolderError(
                f"{str(location / LOCK)!r} is a link: remove it, or give another folder."
            )
        self._lock = FileLock(location / LOCK, thread_local=False)
        self._owner = location / OWNER
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise _taken(location, _said(location / OWNER)) from error
        except (OSError, NotImplementedError) as error:
            advice = "give a folder on a file system that has locks."
            raise refusal(f"Cannot lock {str(location / LOCK)!r}", error, advice) from error
        try:
            write_json(self._owner, _me())
        except RunFolderError:
            self._lock.release()
            raise

    def release(self) -> None:
        if self._lock.is_locked:
            with suppress(RunFolderError):
                remove(self._owner)
        self._lock.release()


class _Leased:
    """A small file that says who writes, renewed while that process lives.

    Two processes that ask at the same moment may both write it: the later one holds the lease, and
    both read the file again after a moment. A process that loses its lease later on is stopped by
    the fence (`folder.check_fence`).
    """

    def __init__(self, location: RunPath) -> None:
        self._location = location
        self._file = location / LEASE
        self._mine = _me() | {"token": uuid.uuid4().hex}
        found = _held(self._file)
        if found and not _is_stale(found):
            raise _taken(location, found)
        self._renew()
        time.sleep(SETTLE_SECONDS)
        try:
            found = _held(self._file)
        except RunFolderError:
            with suppress(RunFolderError):  # it goes stale by itself
                remove(self._file)
            raise
        if found.get("token") != self._mine["token"]:
            raise _taken(location, found)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run folder lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        write_json(self._file, self._mine | {"beat": time.time()})

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            with suppress(RunFolderError):  # a store that is away for a moment is asked again
                found = _held(self._file)
                if found and found.get("token") != self._mine["token"]:
                    return  # somebody has taken it over
                self._renew()

    def release(self) -> None:
        if self._done.is_set():
            return
        self._done.set()
        self._thread.join()
        with suppress(RunFolderError):  # it goes stale by itself
            if _held(self._file).get("token") == self._mine["token"]:
                remove(self._file)


def _is_stale(lease: dict[str, Any]) -> bool:
    beat = lease.get("beat")
    if not isinstance(beat, int | float) or time.time() - beat > STALE_SECONDS:
        return True
    here = all(lease.get(name) == value for name, value in _pids().items())
    return here and not _is_alive(lease.get("pid"))


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    import psutil

    return bool(psutil.pid_exists(pid))
