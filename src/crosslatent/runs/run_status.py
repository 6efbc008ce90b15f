"""How far a run is, read from its folder while a sweep may write to it; nothing is locked."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crosslatent.core.errors import RunFolderError
from crosslatent.runs.contents import readable
from crosslatent.runs.locks import writer_of
from crosslatent.runs.manifest import read_manifest, sessions_of
from crosslatent.runs.parts import PartTable
from crosslatent.runs.run_path import RunPath, run_path
from crosslatent.runs.schema import ROWS, ROWS_TABLE

if TYPE_CHECKING:
    from upath import UPath

_COUNTS = """
SELECT count(*), count(DISTINCT item),
       count(*) FILTER (correct AND control = 'vanilla'),
       count(correct) FILTER (control = 'vanilla'),
       count(*) FILTER (correct AND control = 'none'),
       count(correct) FILTER (control = 'none')
FROM rows
"""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is.

    Attributes:
        path: the run folder.
        task: name of its task.
        model: name of its model.
        state: "running" while a process writes to it, "complete", or "stopped".
        complete: whether everything that can be run has been.
        items: items with at least one row.
        planned_items: all items, those that cannot be run too; None if that is not known.
        rows: rows on disk.
        planned: rows that the whole run has; None in runs of earlier versions.
        failures: items that could not be run; None before the end of the first call.
        unmodified: right answers without a transplant, and how many were judged.
        transplanted: the same of true transplants, over all pairs.
        writer: the process that writes to it now, as far as that can be seen from here: `pid`,
            `host`, `started`; None if none does.
        rows_per_second: of the last call, up to what it wrote last; None if it wrote nothing.
        seconds_left: at that rate; None if it is complete, nothing writes, or it is not known.
        next: the command to go on with: the same again, a report, or this one later.
    """

    path: str
    task: str
    model: str
    state: Literal["running", "complete", "stopped"]
    complete: bool
    items: int
    planned_items: int | None
    rows: int
    planned: int | None
    failures: int | None
    unmodified: tuple[int, int]
    transplanted: tuple[int, int]
    writer: dict[str, Any] | None
    rows_per_second: float | None
    seconds_left: float | None
    next: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def read_status(path: str | Path | UPath) -> RunStatus:
    """Read how far a run is; it may have no row yet, and a sweep may be writing to it.

    Raises:
        RunFolderError: it is no run folder, or cannot be read.
    """
    from crosslatent.runs.reader import RunReader

    location = run_path(path)
    manifest = read_manifest(location)
    session: dict[str, Any] = next(reversed(sessions_of(manifest)), {})
    counts: tuple[int, ...] = (0,) * 6
    if PartTable(location / ROWS_TABLE, ROWS).files():
        with readable(location), RunReader(location).connect() as rows:
            counts = rows.execute(_COUNTS).fetchall()[0]
    status, planned = manifest.get("status") or {}, manifest.get("planned")
    writer = writer_of(location)
    complete = bool(status) and writer is None and counts[0] >= status.get("rows", 0)
    state: Literal["running", "complete", "stopped"] = "complete" if complete else "stopped"
    state = state if writer is None else "running"
    rate = _rate(location, session)
    left = None if planned is None or not rate or writer is None else (planned - counts[0]) / rate
    return RunStatus(
        path=str(location),
        task=str((manifest.get("task") or {}).get("name")),
        model=str((manifest.get("model") or {}).get("name")),
        state=state,
        complete=complete,
        items=counts[1],
        planned_items=_planned_items(location),
        rows=counts[0],
        planned=planned,
        failures=status.get("failures"),
        unmodified=(counts[2], counts[3]),
        transplanted=(counts[4], counts[5]),
        writer=writer,
        rows_per_second=rate,
        seconds_left=None if left is None else max(left, 0.0),
        next=_next(location, state, session.get("command")),
    )


def _next(location: RunPath, state: str, command: Any) -> str:
    """What to call now; the arguments of a run that stopped are those that it was called with."""
    here = shlex.quote(str(location))
    if state == "running":
        return f"crosslatent status {here}"
    if state == "complete":
        return f"crosslatent report {here} --out DIR"
    called: list[str] = []
    with suppress(ValueError):  # run.json is untrusted, and earlier versions did not quote
        called = shlex.split(command) if isinstance(command, str) else []
    if called[:1] == ["crosslatent"]:
        return shlex.join(called)
    return f'xl.sweep(..., out="{location}") with the same arguments again'


def _planned_items(location: RunPath) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(location, Path):
        with suppress(OSError, pa.ArrowException):
            return int(pq.read_metadata(location / "items.parquet").num_rows)
    return None


def _rate(location: Any, session: Mapping[str, Any]) -> float | None:
    """Rows per second of the last session, from its start to its last part; None if unknown."""
    if not isinstance(location, Path) or "started" not in session:
        return None
    import pyarrow.parquet as pq

    began = f"part-{session['number']:05d}-"
    rows, last = 0, 0.0
    for part in PartTable(location / ROWS_TABLE, ROWS).files():
        file = Path(str(part))
        if file.name.startswith(began):
            # A worker may be replacing it.
            with suppress(OSError, ValueError):
                rows += pq.read_metadata(file).num_rows
                last = max(last, file.stat().st_mtime)
    try:
        started = dt.datetime.fromisoformat(session["started"]).timestamp()
    except (ValueError, TypeError) as error:
        raise RunFolderError(
            f"The run in {str(location)!r} says that its session {session['number']} started at "
            f"{session['started']!r}, which is no time."
        ) from error
    return rows / (last - started) if last > started else None
