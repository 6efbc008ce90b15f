"""Whole-or-nothing files: written under a temporary name, synced, renamed; or sent in one piece.

Parts carry a checksum over the whole file (Parquet or safetensors): the checksums of Parquet pages
leave out their headers and the footer, where a flipped bit can change what is read unnoticed.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crosslatent.core.errors import RunFolderError
from crosslatent.runs.run_path import RunPath, is_file, make_folder, names_in, refusal, unreachable

if TYPE_CHECKING:
    import pyarrow as pa


LOCK = ".lock"
"""Held by the process that writes to a folder; the file itself stays and says nothing."""
OWNER = ".owner.json"
"""Which process that is, for the others to read; without meaning where the lock is free."""

LEASE = ".lease.json"
"""The lease on a folder that no lock of the operating system reaches."""

_HALVES = re.compile("[\ud800-\udfff]")
"""Of characters, as Python keeps bytes that are not UTF-8."""

_OURS = frozenset({LOCK, OWNER, LEASE})
_LEFTOVER = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp|\.write-probe-\d+")
"""Our own temporary names; a process that was killed leaves them."""


@contextmanager
def whole_file(path: RunPath) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` if nothing is raised.

    Where the operating system reaches `path`, the file is synced, renamed and its folder synced, so
    that not even a power cut leaves half a file. Elsewhere it is sent in one piece, which object
    stores show whole or not at all.

    Raises:
        RunFolderError: the location cannot be written; a `StorageError` if it is full or fails.
            What was there before is as it was.
    """
    try:
        if isinstance(path, Path):
            with _renamed(path) as temporary:
                yield temporary
        else:
            with tempfile.TemporaryDirectory(prefix="crosslatent-") as folder:
                temporary = Path(folder) / path.name
                yield temporary
                path.fs.put_file(str(temporary), path.path)
    except unreachable() as error:
        advice = "give a folder that can be written and has space left."
        raise refusal(f"Cannot write {str(path)!r}", error, advice) from error


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where folders can be synced (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: RunPath, data: bytes | memoryview) -> None:
    """Write data to a file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: RunPath, data: Any) -> None:
    """Write plain data as JSON, whole or not at all.

    Arguments of a command line may hold bytes that are no text: one such as 0xff is written out,
    as a backslash and ``udcff``, since half of a character is no JSON for others.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    text = _HALVES.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text)
    write_bytes(path, (text + "\n").encode())


def write_table(path: RunPath, rows: Sequence[Any] | pa.Table, schema: pa.Schema) -> None:
    """Write rows (see `tables.table_of`) as Parquet in `schema`, whole or not at all."""
    from crosslatent.runs.files import parquet_bytes
    from crosslatent.runs.schema import table_of

    # By way of memory: Python's own writing says why it failed, and Arrow's is not always as clear.
    write_bytes(path, parquet_bytes(table_of(rows, schema)))


def prepare_folder(path: RunPath, marker: str) -> bool:
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
        make_folder(path)
        if isinstance(path, Path):
            probe = path / f".write-probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        ours = is_file(path / marker)
    except unreachable() as error:
        what = f"Cannot write to the output folder {str(path)!r}"
        raise refusal(what, error, "give a folder that can be written.") from error
    if not ours:
        check_empty(path, marker)
    return ours


def check_empty(path: RunPath, marker: str) -> None:
    """Refuse a folder with other content than the kind of folder that `marker` marks.

    Files left by a process of ours that was killed before it wrote the marker are accepted.

    Raises:
        RunFolderError: the folder has files, but not the marker (a path below it).
    """
    found = [name for name in names_in(path) if not _is_nothing(path, name)]
    if found and not is_file(path / marker):
        raise RunFolderError(
            f"The output folder {str(path)!r} holds something else ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}): give an empty or new folder."
        )


def _is_nothing(folder: RunPath, name: str) -> bool:
    if name in _OURS or is_leftover(name):
        return True
    return name == "rows" and not is_file(folder / name) and not names_in(folder / name)


def is_leftover(name: str) -> bool:
    """Whether a file is what a killed process of ours had not finished."""
    return _LEFTOVER.fullmatch(name) is not None


KEY: Final = b"crosslatent.crc32"
BLANK: Final = b"00000000"
PARQUET: Final = KEY + b"\x18\x08"
"""The key in the footer, and what Thrift's compact protocol puts before a value of eight bytes."""
SAFETENSORS: Final = b'"' + KEY + b'":"'
"""The key in the header of a file of safetensors."""


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, with checksums of its pages and of the whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({KEY.decode(): BLANK.decode()})
    return sealed(memoryview(buffer.getvalue()), PARQUET)


def sealed(blank: bytes | memoryview, mark: bytes) -> bytes:
    """A file with its checksum filled in.

    Args:
        blank: the file, with `BLANK` where the checksum belongs.
        mark: the bytes that precede it.
    """
    data = bytearray(blank)
    at = _place(data, mark)
    assert at is not None
    data[at : at + len(BLANK)] = f"{zlib.crc32(data):08x}".encode()
    return bytes(data)


def is_whole(data: bytes, mark: bytes = PARQUET) -> bool:
    """Whether a file is as it was written; one without a checksum of the whole passes."""
    at = _place(data, mark)
    if at is None:
        return True
    end = at + len(BLANK)
    found = zlib.crc32(data[end:], zlib.crc32(BLANK, zlib.crc32(data[:at])))
    return data[at:end] == f"{found:08x}".encode()


def _place(data: bytes | bytearray, mark: bytes) -> int | None:
    """Offset of the checksum; None where there is none."""
    at = data.rfind(mark)
    return None if at < 0 else at + len(mark)
