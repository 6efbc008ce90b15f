"""Whole-or-nothing files: written under a temporary name, synced, renamed; or sent in one piece."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.errors import RunFolderError
from crosslatent.store.places import is_local

if TYPE_CHECKING:
    import pyarrow as pa

    from crosslatent.store.places import Place

LOCK = ".lock"
"""Held by the process that writes to a folder; the file itself stays and says nothing."""
OWNER = ".owner.json"
"""Which process that is, for the others to read; without meaning where the lock is free."""

_LEFTOVER = re.compile(r"^\..+\.\d+(-[0-9a-f]{8})?\.tmp$|^\.write-probe-\d+$")
"""Our own temporary names; a process that was killed leaves them."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def whole_file(path: Place) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` if nothing is raised.

    Where the operating system reaches `path`, the file is synced, renamed and its folder synced, so
    that not even a power cut leaves half a file. Elsewhere it is sent in one piece, which object
    stores show whole or not at all.

    Raises:
        RunFolderError: the place cannot be written. What was there before is as it was.
    """
    try:
        if isinstance(path, Path) and is_local(path):
            with _renamed(path) as temporary:
                yield temporary
        else:
            with tempfile.TemporaryDirectory(prefix="crosslatent-") as folder:
                temporary = Path(folder) / path.name
                yield temporary
                path.fs.put_file(str(temporary), path.path)
    except OSError as error:
        raise RunFolderError(_refusal(path, error)) from error


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where folders can be synced (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refusal(path: Place, error: OSError) -> str:
    what = f"Cannot write {str(path)!r} ({error.strerror or error})"
    if error.errno in _FULL:
        return (
            f"{what}: no space is left there. Everything that was finished is kept: free some "
            "space, or move the folder to where there is more, and run the same command again."
        )
    return f"{what}: give a folder that can be written and has space left."


def write_bytes(path: Place, data: bytes | memoryview) -> None:
    """Write data to a file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Place, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_table(path: Place, rows: Sequence[Any] | pa.Table, schema: pa.Schema) -> None:
    """Write rows (see `tables.table_of`) as Parquet in `schema`, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from crosslatent.store.tables import table_of

    # By way of memory: Python's own writing says why it failed, and Arrow's is not always as clear.
    buffer = pa.BufferOutputStream()
    pq.write_table(table_of(rows, schema), buffer, compression="zstd", write_page_checksum=True)
    write_bytes(path, memoryview(buffer.getvalue()))


def read_bytes(path: Place) -> bytes:
    """Content of a file anywhere.

    Raises:
        OSError: it cannot be read; FileNotFoundError if it is not there.
    """
    return bytes(path.read_bytes())


def prepare_folder(path: Place, marker: str) -> bool:
    """Make sure that `path` is a folder that can be written and is ours to write to.

    Args:
        path: made if it does not exist.
        marker: a file whose presence says that an earlier run of ours made this folder.

    Returns:
        Whether the marker is there already.

    Raises:
        RunFolderError: it cannot be made or written, or holds something else.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if is_local(path):
            probe = path / f".write-probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        ours = bool((path / marker).is_file())
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to the output folder {str(path)!r} ({error.strerror or error}): give a "
            "folder that can be written."
        ) from error
    if not ours:
        check_empty(path, marker)
    return ours


def check_empty(path: Place, marker: str) -> None:
    """Refuse a folder that holds something else than what `marker` stands for.

    What a process of ours left that was killed before it wrote the marker is no hindrance.

    Raises:
        RunFolderError: the folder has files, but not the marker (a path below it).
    """
    entries = path.iterdir() if path.is_dir() else ()
    found = sorted(entry.name for entry in entries if not _is_nothing(entry))
    if found and not (path / marker).is_file():
        raise RunFolderError(
            f"The output folder {str(path)!r} holds something else ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}): give an empty or new folder."
        )


def _is_nothing(entry: Place) -> bool:
    if entry.name in (LOCK, OWNER) or is_leftover(entry.name):
        return True
    return entry.name == "rows" and entry.is_dir() and not any(entry.iterdir())


def is_leftover(name: str) -> bool:
    """Whether a file is what a killed process of ours had not finished."""
    return _LEFTOVER.match(name) is not None
