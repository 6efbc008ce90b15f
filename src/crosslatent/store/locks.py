"""One writer for each run folder: a lock of the operating system; a lease where it has none."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from crosslatent.errors import RunFolderError
from crosslatent.store.files import LOCK, OWNER, read_bytes, write_json
from crosslatent.store.places import is_local

if TYPE_CHECKING:
    from crosslatent.store.places import Place

LEASE = ".lease.json"
"""The lease on a folder that no operating system's lock reaches."""
BEAT_SECONDS = 20.0
STALE_SECONDS = 300.0
"""A lease that has not been renewed for so long is free; machines' clocks may differ by less."""
SETTLE_SECONDS = 0.5
"""How long to wait before looking who of two that took a lease at once has it."""


class Hold(Protocol):
    """The right to write to a folder."""

    def release(self) -> None:
        """Give it back; a second time does nothing."""


def hold(place: Place) -> Hold:
    """Become the one writer of a folder that exists.

    Raises:
        RunFolderError: another process is; the sentence names it where it is known.
    """
    if isinstance(place, Path) and is_local(place):
        return _Locked(place)
    return _Leased(place)


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}


def _read(place: Place) -> dict[str, Any]:
    """What a process has said of itself; nothing if it is not there or not whole."""
    try:
        found = json.loads(read_bytes(place))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _taken(place: Place, owner: dict[str, Any]) -> RunFolderError:
    who = ""
    if isinstance(owner.get("pid"), int) and isinstance(owner.get("started"), int | float):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["started"]))
        who = f" (process {owner['pid']} on {owner.get('host')}, since {since})"
    return RunFolderError(
        f"Another process is writing to the run in {str(place)!r}{who}: wait for it, or give "
        "another folder."
    )


class _Locked:
    """A lock of the operating system, which a process that dies gives back."""

    def __init__(self, place: Path) -> None:
        self._lock = FileLock(place / LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise _taken(place, _read(place / OWNER)) from error
        except (OSError, NotImplementedError) as error:
            raise RunFolderError(
                f"Cannot lock {str(place / LOCK)!r} ({error}): give a folder of a file system that "
                "has locks."
            ) from error
        try:
            write_json(place / OWNER, _me())
        except RunFolderError:
            self._lock.release()
            raise

    def release(self) -> None:
        self._lock.release()


class _Leased:
    """A small object that says who writes, renewed while that process lives."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._mine = _me() | {"token": uuid.uuid4().hex}
        found = _read(place / LEASE)
        if found and not _is_stale(found):
            raise _taken(place, found)
        self._renew()
        time.sleep(SETTLE_SECONDS)
        found = _read(place / LEASE)
        if found.get("token") != self._mine["token"]:
            raise _taken(place, found)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run folder lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        write_json(self._place / LEASE, self._mine | {"beat": time.time()})

    def _is_mine(self) -> bool:
        return _read(self._place / LEASE).get("token") == self._mine["token"]

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            # A store that cannot be reached for a moment is asked again; another owner is left
            # alone: the fence keeps this process from writing.
            with suppress(RunFolderError):
                if _read(self._place / LEASE) and not self._is_mine():
                    return
                self._renew()

    def release(self) -> None:
        if self._done.is_set():
            return
        self._done.set()
        self._thread.join()
        with suppress(OSError):
            if self._is_mine():
                (self._place / LEASE).unlink(missing_ok=True)


def _is_stale(lease: dict[str, Any]) -> bool:
    beat = lease.get("beat")
    if not isinstance(beat, int | float) or time.time() - beat > STALE_SECONDS:
        return True
    return lease.get("host") == socket.gethostname() and not _is_alive(lease.get("pid"))


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    import psutil

    return bool(psutil.pid_exists(pid))
