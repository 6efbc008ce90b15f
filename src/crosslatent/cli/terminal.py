"""What commands print, how far they are, and how they are stopped.

Results go to stdout as JSON, tables or lines, everything else to stderr. Progress is a bar on a
terminal, and elsewhere a line now and then. Ctrl-C and SIGTERM keep what is done.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from crosslatent.core.bars import (
    console,
    progress,
    progresses,
    right,
    say,
    sweep_pace,
    time_left,
)
from crosslatent.core.costs import duration
from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import json_text, shown

if TYPE_CHECKING:
    from crosslatent.report import ReportPaths
    from crosslatent.runs.run_path import RunPath
    from crosslatent.runs.run_status import RunStatus

__all__ = ["console", "progress", "progresses", "right", "say", "sweep_pace", "time_left"]
"""What is made elsewhere, and is part of what commands print."""

INTERRUPTED, TERMINATED = 130, 143
"""What a shell makes of Ctrl-C and SIGTERM: 128 and the number of the signal."""


def warn(message: str) -> None:
    """Print a warning to stderr."""
    say(f"Warning: {message}")


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    print(json_text(data, indent=2))


def print_plain(text: str) -> None:
    """Print text on stdout as it is, but for what would steer the terminal."""
    print(shown(text))


def print_text(text: str, style: str | None = None) -> None:
    """Print text on stdout; the terminal wraps long lines, and a file gets them whole."""
    console().print(text, style=style, soft_wrap=True)


def print_paths(paths: ReportPaths) -> None:
    """Print where a report is."""
    print(f"Figures:  {paths.summary}\nReport:   {paths.page}")


def plain_paths(paths: ReportPaths) -> dict[str, Any]:
    """The files of a report by kind, for JSON."""
    return {
        name: [str(one) for one in found] if isinstance(found, tuple) else str(found)
        for name, found in asdict(paths).items()
    }


def status_lines(found: RunStatus) -> Iterator[str]:
    """How far a run is, for people."""
    planned = "" if found.planned is None else f" of {found.planned:,}"
    yield f"{found.task} on {found.model}"
    items = "" if found.planned_items is None else f" of {found.planned_items:,}"
    yield f"rows      {found.rows:,}{planned}, of {found.items:,}{items} items"
    if found.failures:
        yield f"failures  {found.failures:,} items, see failures.parquet"
    if said := right(found.unmodified, found.transplanted):
        yield f"so far    {said}"
    if found.writer is not None:
        rate = found.rows_per_second
        pace = "" if rate is None else f", {rate:,.0f} rows/s"
        left = "" if found.seconds_left is None else f", {duration(found.seconds_left)} left"
        writer = found.writer
        yield f"running   process {writer['pid']} on {writer['host']}{pace}{left}"
    elif found.complete:
        yield "complete  Everything that can be run has been."
    else:
        yield "stopped   No process of this machine writes to it: the same command goes on with it."
    yield f"next      {found.next}"


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    whole: Collection[str] = (),
    width: int = 0,
) -> None:
    """Print a table without lines.

    Args:
        head: title of each column.
        rows: the cells of each row.
        right: titles of columns that are aligned at the right and never wrapped.
        whole: titles of other columns that are never wrapped.
        width: columns of the terminal that the table needs; a narrower one lets lines run on.
    """
    from rich.table import Table

    table = Table(box=None)
    for title in head:
        numeric = title in right
        table.add_column(
            title, justify="right" if numeric else "left", no_wrap=numeric or title in whole
        )
    for cells in rows:
        table.add_row(*cells)
    wide = console()
    wide.width = max(wide.width, width)
    wide.print(table)


def print_answers(titles: Sequence[str], answers: Sequence[str]) -> None:
    """Print answers of a model beside each other."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, show_lines=True, expand=False)
    table.add_row(*(Text(answer.strip() or "(nothing)") for answer in answers))
    console().print(table)


def check_output_folder(path: RunPath, marker: str, *, keep: str = "") -> None:
    """Refuse an output folder that cannot be used, without making anything.

    Args:
        path: the folder; need not exist. Whether one behind a URL can be written is not known
            before something is written.
        marker: the file by which a folder that an earlier run made is recognised.
        keep: what such a folder holds if it may not be replaced; empty if it may.

    Raises:
        RunFolderError: it cannot be made or written, or holds something else or what is kept.
    """
    from crosslatent.runs.files import check_empty

    if isinstance(path, Path):
        check_writable_folder(path)
    check_empty(path, marker)
    if keep and (path / marker).exists():
        raise RunFolderError(
            f"{str(path)!r} holds {keep} already: give another folder, or replace it with --new."
        )


def check_writable_folder(path: Path) -> None:
    """Refuse a folder that cannot be written, without making anything.

    Args:
        path: the folder; need not exist, and may hold anything.

    Raises:
        RunFolderError: it cannot be made or written.
    """
    places = (path, *path.absolute().parents)
    ancestor = next(place for place in places if os.path.exists(place))  # noqa: PTH110 - see below
    if not ancestor.is_dir():
        raise RunFolderError(
            f"Cannot write to {str(path)!r}, because {str(ancestor)!r} is a file: give a folder "
            "that can be written."
        )
    # `Path.exists` raises below a folder that may not be entered; `os.path.exists` does not.
    if not os.access(ancestor, os.R_OK | os.W_OK | os.X_OK):
        raise RunFolderError(
            f"Cannot write to {str(path)!r} (no permission): give a folder that can be written."
        )


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems send before they kill; stops work as Ctrl-C does."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Around work that keeps what is done when it is stopped; the exit code says by what."""
    with _terminable():
        try:
            yield
        except KeyboardInterrupt as stop:
            terminated = isinstance(stop, Terminated)
            how = "Terminated" if terminated else "Interrupted"
            say(f"{how}: what is done is kept, and the same command again goes on with it.")
            raise typer.Exit(TERMINATED if terminated else INTERRUPTED) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`, once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        # A second one must not disturb the writing of what is done.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
