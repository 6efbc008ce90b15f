"""What may happen to a process that writes files: it dies, the power goes, the disk is full.

`Disaster.arm` counts every step that changes a file below a folder (a file that is made, written,
synced, renamed or removed) and strikes at one of them. Meant for child processes: what it patches
stays patched.
"""

from __future__ import annotations

import builtins
import functools
import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KILL, POWER, STOP, RAISE = "kill", "power", "stop", "raise"
"""SIGKILL; SIGKILL, and what was not synced is lost; SIGSTOP; OSError at this step and after it."""

GROWS = ("make", "write", "sync", "folder")
"""Steps that need space: a full disk refuses them, but lets files be renamed and removed."""


@dataclass(slots=True)
class Disaster:
    """Strikes at one of the steps by which a process changes files.

    Attributes:
        folder: only what happens below it counts.
        at: number of the step, from 1; 0 for never.
        how: one of the words above.
        error: number of the error to raise, of `errno`.
        of: which steps are numbered, by how "rename rows/part-..." starts; all by default.
        record: a file outside the folder; gets the number of steps and what the last one was.
    """

    folder: Path
    at: int
    how: str
    error: int
    record: Path
    of: str = ""
    steps: int = field(default=0, init=False)
    _synced: dict[int, int] = field(default_factory=dict, init=False)

    def arm(self) -> None:
        """Patch what this process changes files with."""
        import pyarrow.parquet as pq

        self._synced = {s.st_ino: s.st_mtime_ns for s in map(Path.stat, self._files())}
        os.fsync = self._before("sync", os.fsync, _of_descriptor)
        os.replace = self._before("rename", os.replace, _second)
        os.rename = self._before("rename", os.rename, _second)
        os.unlink = self._before("remove", os.unlink, _first)
        os.remove = self._before("remove", os.remove, _first)
        os.mkdir = self._before("folder", os.mkdir, _first)
        opened = self._before("make", builtins.open, _if_written)
        builtins.open = io.open = opened
        os.open = self._before("make", os.open, _if_made)
        # Files that C++ writes: the step lies between the last byte and whatever comes next.
        pq.ParquetWriter.close = self._after("write", pq.ParquetWriter.close)

    def _before(self, what: str, right: Callable[..., Any], place: Callable[..., str]) -> Any:
        @functools.wraps(right)
        def patched(*args: Any, **kwargs: Any) -> Any:
            path = place(*args, **kwargs)
            if path.startswith(f"{self.folder}{os.sep}") or path == str(self.folder):
                self._step(what, path)
            done = right(*args, **kwargs)
            if what == "sync":
                status = os.fstat(args[0])
                self._synced[status.st_ino] = status.st_mtime_ns
            return done

        return patched

    def _after(self, what: str, right: Callable[..., Any]) -> Any:
        @functools.wraps(right)
        def patched(writer: Any, *args: Any) -> Any:
            writes_file = writer.is_open and writer.file_handle is not None
            done = right(writer, *args)
            if writes_file:
                self._step(what, "table")
            return done

        return patched

    def _step(self, what: str, path: str) -> None:
        struck = self.steps >= self.at > 0
        counts = f"{what} {path.removeprefix(f'{self.folder}{os.sep}')}".startswith(self.of)
        self.steps += counts
        if counts and self.steps == self.at:
            self._note(what, path)
        elif not struck or self.how != RAISE:
            return
        if self.how == RAISE:
            if what in GROWS:
                raise OSError(self.error, os.strerror(self.error), path)
        elif self.how == STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            if self.how == POWER:
                self._lose()
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, what: str, path: str) -> None:
        text = json.dumps({"step": self.steps, "what": what, "path": path})
        with io.FileIO(self.record, "w") as file:
            file.write(text.encode())

    def _lose(self) -> None:
        """Cut every file in half that was changed and not synced since."""
        for file in self._files():
            status = file.stat()
            if self._synced.get(status.st_ino) != status.st_mtime_ns:
                os.truncate(file, status.st_size // 2)

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


def _first(path: Any, *_args: Any, **_kwargs: Any) -> str:
    return str(Path(os.fspath(path)).absolute()) if not isinstance(path, int) else ""


def _second(_source: Any, target: Any, **_kwargs: Any) -> str:
    return _first(target)


def _of_descriptor(descriptor: Any) -> str:
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    return str(Path(f"/proc/self/fd/{number}").readlink())


def _if_written(path: Any, mode: str = "r", *_args: Any, **kwargs: Any) -> str:
    writes = set(kwargs.get("mode", mode)) & set("wax+")
    return _first(path) if writes else ""


def _if_made(path: Any, flags: int, *_args: Any, **_kwargs: Any) -> str:
    return _first(path) if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) else ""
