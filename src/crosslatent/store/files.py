"""Whole-or-nothing files: written under a temporary name, synced, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.errors import RunFolderError

if TYPE_CHECKING:
    import pyarrow as pa

LOCK = ".lock"
"""Held by the process that writes to a folder; the file itself stays and says nothing."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` if nothing is raised.

    Raises:
        RunFolderError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write {str(path)!r} ({error.strerror or error}): give a folder that can be "
            "written and has space left."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    with whole_file(path) as temporary:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet in `schema`, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")


def prepare_folder(path: Path, marker: str) -> bool:
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
        probe = path / f".write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to the output folder {str(path)!r} ({error.strerror}): give a folder "
            "that can be written."
        ) from error
    if (path / marker).is_file():
        return True
    check_empty(path, marker)
    return False


def check_empty(path: Path, marker: str) -> None:
    """Refuse a folder that holds something else than what `marker` stands for.

    Raises:
        RunFolderError: the folder has files, but not the marker (a path below it).
    """
    entries = path.iterdir() if path.is_dir() else ()
    found = sorted(entry.name for entry in entries if entry.name != LOCK)
    if found and not (path / marker).is_file():
        raise RunFolderError(
            f"The output folder {str(path)!r} holds something else ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}): give an empty or new folder."
        )
