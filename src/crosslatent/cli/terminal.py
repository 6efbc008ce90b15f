"""What commands print, how far they are, and how they are stopped.

Results go to stdout as JSON, tables or lines, everything else to stderr. Progress is a bar on a
terminal, and elsewhere a line now and then. Ctrl-C and SIGTERM keep what is done.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import json_text, shown

if TYPE_CHECKING:
    from rich.console import Console

    from crosslatent.report import ReportPaths
    from crosslatent.runs.run_path import RunPath
    from crosslatent.sweeps import Progress as SweepProgress

INTERRUPTED, TERMINATED = 130, 143
"""What a shell makes of Ctrl-C and SIGTERM: 128 and the number of the signal."""

_SECONDS_PER_LINE = 15.0


def say(message: str) -> None:
    """Print one line to stderr; names and texts in it cannot steer the terminal."""
    print(shown(message), file=sys.stderr)


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


def console(*, stderr: bool = False) -> Console:
    """The console for tables; texts of users and models are no markup and steer no terminal."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Careful(Console):
        """Escapes control characters in everything that is printed."""

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=shown(segment.text))

    return Careful(markup=False, emoji=False, highlight=False, stderr=stderr)


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


def duration(seconds: float) -> str:
    """A time span for people: "8 s", "2 min 05 s", "3 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def time_left(seconds: float, share: float) -> str:
    """The time that is left after `seconds` for a share of the work, for people."""
    return f"{duration(seconds / share * (1 - share)) if share else 'some time'} left"


def sweep_pace(state: SweepProgress) -> tuple[float, str]:
    """How much of this stage of this run is done, from 0 to 1; the rate and what is left."""
    if state.stage == "capture":
        share = state.done / state.total
        left = time_left(state.seconds, share)
        return share, f"read {state.done:,} of {state.total:,} prompts, {left}"
    share = min(state.rows / state.all_rows, 1.0) if state.all_rows else 1.0
    rate = state.rows / state.seconds if state.seconds else 0.0
    by = "" if not state.workers else f" by {state.workers:,} workers"
    left = time_left(state.seconds, share)
    done = f"{state.done:,} of {state.total:,} items, {state.rows:,.0f} rows"
    return share, f"{done}, {rate:,.0f} rows/s{by}, {left}"


@contextmanager
def progress(label: str) -> Iterator[Callable[[SweepProgress], None]]:
    """Yield a function that shows a state of the sweep called `label`."""
    with progresses() as show:
        yield lambda state: show(label, state)


@contextmanager
def progresses(
    pace: Callable[[Any], tuple[float, str]] = sweep_pace, *, quiet: bool = False
) -> Iterator[Callable[[str, Any], None]]:
    """Yield a function that shows a state of one of several jobs, given its label.

    Args:
        pace: of a state, which has a stage and its seconds: how much is done, and that in words.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        shown_at: dict[tuple[str, str], float] = {}

        def show_line(label: str, state: Any) -> None:
            key = (label, state.stage)
            if not quiet and state.seconds - shown_at.get(key, 0.0) >= _SECONDS_PER_LINE:
                shown_at[key] = state.seconds
                say(f"{label}: {pace(state)[1]}")

        yield show_line
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        jobs: dict[str, Any] = {}

        def show_bar(label: str, state: Any) -> None:
            if label not in jobs:
                jobs[label] = bars.add_task(label, total=1.0, pace="")
            share, words = pace(state)
            bars.update(jobs[label], completed=share, pace=words)

        yield show_bar


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
