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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import EXACT
from crosslatent.runs.files import is_leftover, prepare_folder, write_json, write_table
from crosslatent.runs.inventory import Counting, Inventory
from crosslatent.runs.locks import Hold, hold
from crosslatent.runs.manifest import (
    CLEARING,
    INPUTS,
    MANIFEST,
    last_session,
    manifest_of,
    notes_of,
    ours_of,
    read_manifest,
    refuse_difference,
    sessions_of,
    write_card,
)
from crosslatent.runs.parts import DOUBLED, START, PartFolder, PartTable, SetAside
from crosslatent.runs.run_path import RunPath, names_in, reaching, read_bytes, remove, run_path
from crosslatent.runs.schema import (
    FAILURES,
    FILE_TABLES,
    ITEMS,
    PART_TABLES,
    ROWS,
    ROWS_TABLE,
    SCHEMA_VERSION,
    Failure,
)
from crosslatent.runs.vector_parts import VectorParts

VECTORS = "vectors"
"""Folder of captured vectors, if they were asked for."""
EXTRAS = (*(name for name in PART_TABLES if name != ROWS_TABLE), VECTORS)
"""What a sweep may make beside its rows, each kept in parts in the folder of its name."""


class RunFolder:
    """A run folder open for writing, by this process alone."""

    def __init__(self, location: RunPath, manifest: dict[str, Any], lock: Hold) -> None:
        """See `open`."""
        self.location = location
        self.session = last_session(manifest)
        """One more than any before: which call of a sweep on this folder this is, from 1."""
        self.notes: list[str] = []
        """What differs from earlier sessions and does not tell runs apart."""
        self.set_aside: list[SetAside] = []
        """Parts that do not count any longer, found when the folder was opened."""
        self.rows = PartTable(location / ROWS_TABLE, ROWS, self._guard)
        """The answers."""
        self.extras = {name: extra_at(location, name, self._guard) for name in EXTRAS}
        """What else is kept in parts, by name."""
        self._manifest = manifest
        self._lock = lock
        self.judged = Counter[tuple[str, bool]]()
        """(Control, right or wrong) -> rows that were there when the folder was opened."""
        self.inventory = self._taken_stock()
        """The rows that were there when the folder was opened."""

    @classmethod
    def open(
        cls, location: str | Path | RunPath, manifest: Mapping[str, Any], *, new: bool = False
    ) -> RunFolder:
        """Start a run folder, or take up the one that is there.

        Args:
            location: the folder.
            manifest: content of run.json; `manifest.IDENTITY` decides whether a run there is the
                same.
            new: throw away a run that is there, instead of resuming it.

        Raises:
            RunFolderError: the folder cannot be written, holds something else, or holds a run of
                different arguments; or another process is writing to it.
        """
        location = run_path(location)
        prepare_folder(location, MANIFEST)
        with ExitStack() as unlock, reaching(location):
            lock = hold(location)
            unlock.callback(lock.release)
            entered, notes = _entered(location, manifest, new=new)
            folder = cls(location, entered, lock)
            folder.notes += notes
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

    def close(self) -> None:
        """Let other processes write to the folder."""
        self._lock.release()

    def part_name(self, number: int) -> str:
        """Name of a part of this session: written again, it replaces itself.

        Args:
            number: of the slice that it holds, from 0.
        """
        return part_name(self.session, number)

    def write_items(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the table of items."""
        check_fence(self.location, self.session)
        write_table(self.location / "items.parquet", rows, ITEMS)

    def write_failures(self, failures: Sequence[Failure]) -> None:
        """Write what could not be run; an earlier table of failures is replaced or removed."""
        check_fence(self.location, self.session)
        path = self.location / "failures.parquet"
        if not failures:
            remove(path)
            return
        rows = [{"item": one.item, "kind": one.kind, "reason": one.reason} for one in failures]
        write_table(path, rows, FAILURES)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Record the status of the run in run.json, and list its tables in README.md."""
        check_fence(self.location, self.session)
        self._manifest = {**self._manifest, "status": dict(status)}
        write_json(self.location / MANIFEST, self._manifest)
        write_card(self.location)

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

    def settle(self) -> list[SetAside]:
        """Set aside what processes of earlier sessions have written since this one took stock.

        A worker of another machine, or of a driver that was killed, may finish its part late, when
        this session has made the rows in it again.

        Returns:
            What was set aside; it is added to `set_aside`.

        Raises:
            RunFolderError: the folder cannot be reached, or a later session has taken it.
        """
        self._guard()
        late = [
            aside
            for parts in (self.rows, *self.extras.values())
            for aside in parts.settle(self.session)
        ]
        self.set_aside += late
        return late

    def _guard(self) -> None:
        """What a part must pass before it is written.

        A lease may be lost, and so may a lock, on network file systems or where its file was
        removed.
        """
        check_fence(self.location, self.session)

    def _taken_stock(self) -> Inventory:
        """Read every part, set aside what does not count, and count the rest."""
        counting, judged = Counting(), dict[RunPath, Counter[tuple[str, bool]]]()

        def visit(part: RunPath, table: pa.Table) -> None:
            counting.add(part, table)
            judged[part] = _judged(table)

        self.set_aside += self.rows.check(visit)
        for part in counting.doubled():
            del judged[part]
            reason = "it holds rows that another part holds, too"
            self.set_aside.append(self.rows.set_aside(part, DOUBLED, reason))
        for table in self.extras.values():
            self.set_aside += table.check_items()
        for counts in judged.values():
            self.judged.update(counts)
        return counting.inventory()


def extra_at(location: RunPath, name: str, guard: Callable[[], None] | None = None) -> PartFolder:
    """One of `EXTRAS` of a run folder, in the folder of its name; `guard` as for `PartFolder`."""
    if name == VECTORS:
        return VectorParts(location / name, guard)
    return PartTable(location / name, PART_TABLES[name], guard)


def part_name(session: int, number: int) -> str:
    """File name of a part; it does not depend on which process of the session writes it."""
    return f"part-{session:05d}-{number:06d}"


def check_fence(location: str | Path | RunPath, session: int) -> None:
    """Make sure, before writing, that no later session has taken the folder.

    Raises:
        RunFolderError: one has.
    """
    location = run_path(location)
    with reaching(location):
        there = read_manifest(location)
    now = last_session(there)
    if now > session:
        raise RunFolderError(
            f"Session {now} has taken the run in {str(location)!r}, and this is session {session}: "
            "its results are not written, so that no row is there twice."
        )


def _entered(
    location: RunPath, manifest: Mapping[str, Any], *, new: bool
) -> tuple[dict[str, Any], list[str]]:
    """The manifest with this session in it, as run.json has it now; what differs from before."""
    asked = {"schema_version": SCHEMA_VERSION, **manifest}
    _remove_leftovers(location)
    try:
        data = read_bytes(location / MANIFEST)
    except FileNotFoundError:
        _refuse_parts(location)
        return _begun(location, asked, 1), []
    there = ours_of(location, data) if new else manifest_of(location, data)
    session = last_session(there) + 1
    if not new:
        refuse_difference(location, there, asked)
        if CLEARING not in there:
            # A run that did not record what it reads: known from this session on.
            lacks = INPUTS in asked and INPUTS not in there
            since = {INPUTS: {**asked[INPUTS], "since": session}} if lacks else {}
            sessions = [*sessions_of(there), _now(asked, session)]
            entered = _written(location, {**there, **since, "sessions": sessions})
            return entered, notes_of(there, asked)
    # If killed from here on, run.json says that the folder is being cleared; the next call goes on.
    _written(location, {**asked, CLEARING: True, "sessions": [_now(asked, session)]})
    _remove_tables(location)
    return _begun(location, asked, session), []


def _refuse_parts(location: RunPath) -> None:
    """Begin no run over the parts of another: run.json is there before any of them.

    Raises:
        RunFolderError: there are parts.
    """
    for name in (ROWS_TABLE, *EXTRAS):
        if any(file.startswith(START) for file in names_in(location / name)):
            raise RunFolderError(
                f"{str(location)!r} has parts in {name!r}, but no {MANIFEST} that says of which "
                "run: "
                f"run the same command again, put back {MANIFEST} from a copy, or give another "
                "folder."
            )


def _begun(location: RunPath, asked: Mapping[str, Any], session: int) -> dict[str, Any]:
    return _written(location, {**asked, "sessions": [_now(asked, session)]})


def _now(asked: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What run.json says of the session that begins."""
    return {
        "number": number,
        "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": asked.get("command"),
        "versions": asked.get("versions"),
        "environment": asked.get("environment"),
        "host": socket.gethostname(),
    }


def _written(location: RunPath, manifest: dict[str, Any]) -> dict[str, Any]:
    write_json(location / MANIFEST, manifest)
    write_card(location)
    return manifest


def _remove_leftovers(location: RunPath) -> None:
    """Remove what processes that were killed had not finished writing."""
    for folder in (location, *(location / name for name in (ROWS_TABLE, *EXTRAS))):
        for name in names_in(folder):
            if is_leftover(name):
                remove(folder / name)


def _remove_tables(location: RunPath) -> None:
    """Remove the tables of a run, those of earlier versions of the layout included."""
    for folder in (location / name for name in (ROWS_TABLE, *EXTRAS)):
        for name in names_in(folder):
            if name.startswith(START):
                remove(folder / name)
    for name in (*FILE_TABLES, *PART_TABLES):
        remove(location / f"{name}.parquet")


def _judged(rows: pa.Table) -> Counter[tuple[str, bool]]:
    """How many rows are right and wrong, by control; those that are not judged are left out."""
    plain = pa.table({"control": rows["control"].cast(pa.string()), "correct": rows["correct"]})
    counted = plain.group_by(["control", "correct"]).aggregate([([], "count_all")]).to_pylist()
    known = [one for one in counted if one["correct"] is not None]
    return Counter({(one["control"], one["correct"]): one["count_all"] for one in known})


def _by_path(rows: pa.Table) -> dict[str, dict[str, Any]]:
    paths = rows["path"].cast(pa.string())
    found = {}
    for path in sorted(set(pc.unique(paths).to_pylist())):
        seconds = rows.filter(pc.equal(paths, path))["seconds"]
        found[path] = {"rows": len(seconds), "seconds": _total(seconds)}
    return found


def _total(seconds: pa.ChunkedArray) -> float:
    return round(pc.sum(seconds).as_py() or 0.0, 3)
