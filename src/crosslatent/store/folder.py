"""`RunFolder`: writes a run so that a crash loses little and the same command resumes.

Layout::

    run.json                 what was asked, what it resolved to, software, model, task, status
    items.parquet            the questions (schema.ITEMS)
    rows/part-00000.parquet  the answers (schema.ROWS), whole items only
    failures.parquet         items that could not be run, with reasons (schema.FAILURES)
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from crosslatent.errors import RunFolderError
from crosslatent.foreign import one_line, parse_json
from crosslatent.specs import EXACT
from crosslatent.store.files import LOCK, prepare_folder, write_json, write_table
from crosslatent.store.schema import FAILURES, ITEMS, ROWS, SCHEMA_VERSION

MANIFEST = "run.json"
IDENTITY: Mapping[str, tuple[str, ...]] = {
    "schema_version": (),
    "model": ("name",),
    "task": ("title", "description"),
    "spec": (),
    "headline": (),
}
"""The parts of run.json that must be equal for a run to be resumed, each with the fields in it that
only describe and may differ."""


class RunFolder:
    """A run folder open for writing."""

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        lock: FileLock,
        next_part: int = 0,
        done: Iterable[str] = (),
    ) -> None:
        self.path = path
        self.done = set(done)
        """Items whose rows are complete on disk."""
        self._manifest = manifest
        self._lock = lock
        self._next_part = next_part

    @classmethod
    def open(cls, path: Path, manifest: Mapping[str, Any], *, new: bool = False) -> RunFolder:
        """Start a run folder, or take up the one that is there.

        Args:
            path: the folder.
            manifest: content of run.json; `IDENTITY` decides whether a run there is the same.
            new: throw away a run that is there, instead of resuming it.

        Raises:
            RunFolderError: the folder cannot be written, holds something else, or holds a run of
                different arguments; or another process is writing to it.
        """
        manifest = {"schema_version": SCHEMA_VERSION, **manifest}
        existed = prepare_folder(path, MANIFEST)
        with ExitStack() as unlock:
            lock = _locked(path)
            unlock.callback(lock.release)
            folder = cls._enter(path, manifest, lock, existed=existed, new=new)
            unlock.pop_all()
        return folder

    @classmethod
    def _enter(
        cls, path: Path, manifest: dict[str, Any], lock: FileLock, *, existed: bool, new: bool
    ) -> RunFolder:
        if existed and not new:
            _refuse_difference(path, read_manifest(path), manifest)
            return cls._resume(path, lock)
        if existed:
            _check_ours(path)
            _remove_run(path)
        (path / "rows").mkdir(exist_ok=True)
        write_json(path / MANIFEST, manifest)
        return cls(path, manifest, lock)

    @classmethod
    def _resume(cls, path: Path, lock: FileLock) -> RunFolder:
        parts = _part_files(path)
        done = {item for part in parts for item in _items_of(part)}
        numbers = [int(part.name.split(".")[0].removeprefix("part-")) for part in parts]
        return cls(path, read_manifest(path), lock, max(numbers, default=-1) + 1, done)

    def close(self) -> None:
        """Let other processes write to the folder."""
        self._lock.release()

    def write_items(self, items: list[dict[str, Any]]) -> None:
        """Write the table of items."""
        write_table(self.path / "items.parquet", items, ITEMS)

    def write_part(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of whole items as one more part."""
        if not rows:
            return
        write_table(self.path / "rows" / f"part-{self._next_part:05d}.parquet", rows, ROWS)
        self._next_part += 1
        self.done.update(row["item"] for row in rows)

    @contextmanager
    def buffered(self, seconds_per_part: float = 20.0) -> Iterator[PartBuffer]:
        """Collect rows into parts; what is collected is written on leaving, interrupted or not."""
        buffer = PartBuffer(self, seconds_per_part)
        try:
            yield buffer
        finally:
            buffer.flush()

    def write_failures(self, failures: Mapping[str, str]) -> None:
        """Write item -> reason; an earlier table of failures is replaced or removed."""
        path = self.path / "failures.parquet"
        if not failures:
            path.unlink(missing_ok=True)
            return
        rows = [{"item": item, "reason": reason} for item, reason in failures.items()]
        write_table(path, rows, FAILURES)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Record how the run stands in run.json."""
        self._manifest = {**self._manifest, "status": dict(status)}
        write_json(self.path / MANIFEST, self._manifest)

    def totals(self, near_tie_margin: float) -> dict[str, Any]:
        """Rows on disk, what they took by path, and how many hang on the last bits.

        Args:
            near_tie_margin: rows with a smaller margin are near-ties.
        """
        columns = ["seconds", "path", "min_margin"]
        parts = [pq.read_table(part, columns=columns) for part in _part_files(self.path)]
        rows = (
            pa.concat_tables(parts, promote_options="permissive") if parts else ROWS.empty_table()
        )
        close = pc.sum(pc.less(rows["min_margin"], near_tie_margin)).as_py() or 0
        by_path = _by_path(rows)
        settled = by_path.get(EXACT, {"rows": 0})["rows"]
        return {
            "rows": len(rows),
            "seconds": _total(rows["seconds"]),
            "paths": by_path,
            "near_ties": {"rows": close, "settled": settled, "margin": near_tie_margin},
        }


class PartBuffer:
    """Rows of whole items on their way into parts, so that a crash loses some seconds of work."""

    def __init__(self, folder: RunFolder, seconds_per_part: float) -> None:
        self._folder = folder
        self._seconds = seconds_per_part
        self._rows: list[dict[str, Any]] = []
        self._flushed = time.monotonic()

    def add(self, rows: list[dict[str, Any]]) -> int:
        """Take the rows of one whole item; returns how many."""
        self._rows += rows
        if time.monotonic() - self._flushed > self._seconds:
            self.flush()
        return len(rows)

    def flush(self) -> None:
        """Write what has been collected as a part."""
        rows, self._rows = self._rows, []
        self._folder.write_part(rows)
        self._flushed = time.monotonic()


def _by_path(rows: pa.Table) -> dict[str, dict[str, Any]]:
    paths = rows["path"].cast(pa.string())
    found = {}
    for path in sorted(set(paths.to_pylist())):
        seconds = rows.filter(pc.equal(paths, path))["seconds"]
        found[path] = {"rows": len(seconds), "seconds": _total(seconds)}
    return found


def _total(seconds: pa.ChunkedArray) -> float:
    return round(pc.sum(seconds).as_py() or 0.0, 3)


def read_manifest(path: Path) -> dict[str, Any]:
    """Content of a folder's run.json.

    Raises:
        RunFolderError: there is none, or it is not one of ours.
    """
    try:
        manifest = parse_json((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{str(path)!r} is not a run folder (it has no {MANIFEST}): give the --out folder of "
            "a sweep."
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"Cannot read {str(path / MANIFEST)!r} ({one_line(error)}): give another folder."
        ) from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise RunFolderError(
            f"{str(path)!r} has schema version {version!r}, but this version of crosslatent reads "
            f"{SCHEMA_VERSION}."
        )
    return dict(manifest)


def _locked(path: Path) -> FileLock:
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(
            f"Another process is writing to the run in {str(path)!r}: wait for it, or give another "
            "folder."
        ) from error
    return lock


def _check_ours(path: Path) -> None:
    """Refuse to throw away what no version of ours wrote."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or "schema_version" not in manifest:
        raise RunFolderError(
            f"The {MANIFEST} in {str(path)!r} is not one of ours, so nothing there is thrown away: "
            "give an empty or new folder."
        )


def _part_files(path: Path) -> list[Path]:
    return sorted((path / "rows").glob("part-*.parquet"))


def _items_of(part: Path) -> set[str]:
    """Items of one part; a damaged part is set aside, so that its items are run again."""
    try:
        return set(pq.read_table(part, columns=["item"])["item"].unique().to_pylist())
    except (pa.ArrowException, OSError):
        part.rename(part.with_suffix(".damaged"))
        return set()


def _remove_run(path: Path) -> None:
    files = [*(path / "rows").glob("part-*"), path / "items.parquet", path / "failures.parquet"]
    for file in (*files, path / MANIFEST):
        file.unlink(missing_ok=True)


def _refuse_difference(path: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    different = [
        difference
        for key in IDENTITY
        for difference in _differences(key, _identity(there, key), _identity(asked, key))
    ]
    if different:
        raise RunFolderError(
            f"The run in {str(path)!r} was made with other arguments ({'; '.join(different)}): "
            "repeat them to resume, give another folder, or start over with --new."
        )


def _identity(manifest: Mapping[str, Any], key: str) -> Any:
    """One part of a manifest without the fields that only describe, as it reads from JSON."""
    part = json.loads(json.dumps(manifest.get(key)))
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name not in IDENTITY[key]}
    return part


def _differences(name: str, there: Any, asked: Any) -> list[str]:
    if there == asked:
        return []
    if isinstance(there, dict) and isinstance(asked, dict):
        keys = sorted({*there, *asked})
        return [d for k in keys for d in _differences(f"{name}.{k}", there.get(k), asked.get(k))]
    return [f"{name}: {there!r} there, {asked!r} now"]
