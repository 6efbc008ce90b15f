"""`RunFolder`: writes a run so that a crash loses little and the same command resumes.

Layout::

    run.json                     what was asked, what it resolved to, software, model, task, status
    items.parquet                the questions (schema.ITEMS)
    rows/part-*.parquet          the answers (schema.ROWS)
    attribution/part-*.parquet   pairs ranked by gradients (schema.ATTRIBUTION)
    samples/part-*.parquet       answers sampled without transplant (schema.SAMPLES)
    failures.parquet             items that could not be run, with reasons (schema.FAILURES)
"""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from crosslatent.errors import RunFolderError
from crosslatent.specs import EXACT
from crosslatent.store.files import is_leftover, prepare_folder, write_json, write_table
from crosslatent.store.inventory import Counting, Inventory
from crosslatent.store.locks import Hold, hold
from crosslatent.store.manifest import (
    CLEARING,
    MANIFEST,
    last_session,
    read_manifest,
    read_ours,
    refuse_difference,
    sessions_of,
)
from crosslatent.store.parts import DOUBLED, PartTable, SetAside
from crosslatent.store.places import place_of
from crosslatent.store.schema import (
    FAILURES,
    FILE_TABLES,
    ITEMS,
    PART_TABLES,
    ROWS_TABLE,
    SCHEMA_VERSION,
    Failure,
)

if TYPE_CHECKING:
    from pathlib import Path

    from crosslatent.store.places import Place

__all__ = ["MANIFEST", "RunFolder", "check_fence", "read_manifest"]

VECTORS = "vectors"
"""Folder of captured vectors, if they were asked for."""


class RunFolder:
    """A run folder open for writing, by this process alone."""

    def __init__(self, place: Place, manifest: dict[str, Any], lock: Hold) -> None:
        """See `open`."""
        self.place = place
        self.session = last_session(manifest)
        """One more than any before: which call of a sweep on this folder this is, from 1."""
        self.set_aside: list[SetAside] = []
        """Parts that do not count any longer, found when the folder was opened."""
        self.tables = {
            name: PartTable(place / name, schema) for name, schema in PART_TABLES.items()
        }
        """The tables in parts, by name."""
        self._manifest = manifest
        self._lock = lock
        self._inventory = self._taken_stock()
        self.done = set(self._inventory.counts)
        """Items that have rows on disk."""

    @classmethod
    def open(
        cls, place: str | Path | Place, manifest: Mapping[str, Any], *, new: bool = False
    ) -> RunFolder:
        """Start a run folder, or take up the one that is there.

        Args:
            place: the folder.
            manifest: content of run.json; `manifest.IDENTITY` decides whether a run there is the
                same.
            new: throw away a run that is there, instead of resuming it.

        Raises:
            RunFolderError: the folder cannot be written, holds something else, or holds a run of
                different arguments; or another process is writing to it.
        """
        place = place_of(place)
        prepare_folder(place, MANIFEST)
        with ExitStack() as unlock:
            lock = hold(place)
            unlock.callback(lock.release)
            folder = cls(place, _entered(place, manifest, new=new), lock)
            unlock.pop_all()
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def rows(self) -> PartTable:
        """The answers."""
        return self.tables[ROWS_TABLE]

    def close(self) -> None:
        """Let other processes write to the folder."""
        self._lock.release()

    def part_name(self, number: int) -> str:
        """Name of a part of this session: written again, it replaces itself.

        Args:
            number: of the slice that it holds, from 0.
        """
        return part_name(self.session, number)

    def inventory(self) -> Inventory:
        """The rows that were there when the folder was opened."""
        return self._inventory

    def write_items(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the table of items."""
        write_table(self.place / "items.parquet", rows, ITEMS)

    def write_failures(self, failures: Sequence[Failure]) -> None:
        """Write what could not be run; an earlier table of failures is replaced or removed."""
        path = self.place / "failures.parquet"
        if not failures:
            _remove([path])
            return
        rows = [{"item": one.item, "kind": one.kind, "reason": one.reason} for one in failures]
        write_table(path, rows, FAILURES)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Record how the run stands in run.json."""
        self._manifest = {**self._manifest, "status": dict(status)}
        write_json(self.place / MANIFEST, self._manifest)

    def totals(self, near_tie_margin: float) -> dict[str, Any]:
        """Rows on disk, what they took by path, and how many hang on the last bits.

        Args:
            near_tie_margin: rows with a smaller margin are near-ties.
        """
        rows = self.rows.read(["seconds", "path", "min_margin", "finite"])
        close = pc.sum(pc.less(rows["min_margin"], near_tie_margin)).as_py() or 0
        by_path = _by_path(rows)
        settled = by_path.get(EXACT, {"rows": 0})["rows"]
        return {
            "rows": len(rows),
            "seconds": _total(rows["seconds"]),
            "paths": by_path,
            "near_ties": {"rows": close, "settled": settled, "margin": near_tie_margin},
            "not_finite": len(rows) - (pc.sum(rows["finite"]).as_py() or 0),
        }

    def _taken_stock(self) -> Inventory:
        """Read every part, set aside what does not count, and count the rest."""
        counting = Counting()
        self.set_aside += self.rows.check(counting.add)
        for part in counting.doubled():
            reason = "it holds rows that another part holds, too"
            self.set_aside.append(self.rows.set_aside(part, DOUBLED, reason))
        for name, table in self.tables.items():
            if name != ROWS_TABLE:
                self.set_aside += table.check()
        return counting.inventory()


def part_name(session: int, number: int) -> str:
    """Name of a part: the same for whoever writes a slice in a session."""
    return f"part-{session:05d}-{number:06d}"


def check_fence(place: str | Path | Place, session: int) -> None:
    """Make sure, before writing, that no later session has taken the folder.

    Raises:
        RunFolderError: one has.
    """
    place = place_of(place)
    now = last_session(read_manifest(place))
    if now > session:
        raise RunFolderError(
            f"Session {now} has taken the run in {str(place)!r}, and this is session {session}: "
            "its results are not written, so that no row is there twice."
        )


def _entered(place: Place, manifest: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
    """The manifest with this session in it, as run.json has it now."""
    manifest = {"schema_version": SCHEMA_VERSION, **manifest}
    _remove_leftovers(place)
    if not (place / MANIFEST).is_file():
        return _written(place, manifest, manifest, [])
    there = read_ours(place) if new else read_manifest(place)
    if not new:
        refuse_difference(place, there, manifest)
        if not there.pop(CLEARING, False):
            return _written(place, there, manifest, sessions_of(there))
    # Killed from here on, the folder says that it is being cleared, and the next call goes on.
    before = sessions_of(there)[-1:]
    _written(place, {**manifest, CLEARING: True}, manifest, before)
    _remove_tables(place)
    return _written(place, manifest, manifest, before)


def _written(
    place: Place,
    content: Mapping[str, Any],
    asked: Mapping[str, Any],
    sessions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    session = {
        "number": last_session({"sessions": list(sessions)}) + 1,
        "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": asked.get("command"),
        "versions": asked.get("versions"),
        "host": socket.gethostname(),
    }
    manifest = {**content, "sessions": [*sessions, session]}
    write_json(place / MANIFEST, manifest)
    return manifest


def _remove_leftovers(place: Place) -> None:
    folders = [place, *(place / name for name in (*PART_TABLES, VECTORS))]
    _remove(
        entry
        for folder in folders
        if folder.is_dir()
        for entry in list(folder.iterdir())
        if is_leftover(entry.name)
    )


def _remove_tables(place: Place) -> None:
    """Remove the tables of a run, those of earlier versions of the layout included."""
    folders = [place / name for name in (*PART_TABLES, VECTORS)]
    _remove(part for folder in folders if folder.is_dir() for part in list(folder.glob("part-*")))
    _remove(place / f"{name}.parquet" for name in (*FILE_TABLES, *PART_TABLES))


def _remove(files: Any) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"Cannot remove {str(file)!r} ({error.strerror or error}): make the folder "
                "writable, or give another one."
            ) from error


def _by_path(rows: pa.Table) -> dict[str, dict[str, Any]]:
    paths = rows["path"].cast(pa.string())
    found = {}
    for path in sorted(set(pc.unique(paths).to_pylist())):
        seconds = rows.filter(pc.equal(paths, path))["seconds"]
        found[path] = {"rows": len(seconds), "seconds": _total(seconds)}
    return found


def _total(seconds: pa.ChunkedArray) -> float:
    return round(pc.sum(seconds).as_py() or 0.0, 3)
