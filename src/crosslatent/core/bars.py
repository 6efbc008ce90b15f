"""How far work is, on stderr: a bar on a terminal or in a notebook, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from crosslatent.core.costs import duration
from crosslatent.core.untrusted import shown

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_PER_LINE = 15.0
"""Between two lines, where there is no bar."""
_SECONDS_PER_PICTURE, _IN_CELL = 0.25, 25
"""Between two states in a notebook, and characters of its bar."""


def say(message: str) -> None:
    """Print one line to stderr; names and texts in it cannot steer the terminal."""
    print(shown(message), file=sys.stderr)


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


def right(unmodified: tuple[int, int], transplanted: tuple[int, int]) -> str:
    """Shares of right answers so far, for people; empty if nothing was judged."""
    shares = ((unmodified, "right"), (transplanted, "transplanted"))
    return ", ".join(f"{hits / n:.0%} {name}" for (hits, n), name in shares if n)


def time_left(seconds: float, share: float) -> str:
    """The time that is left after `seconds` for a share of the work, for people."""
    return f"{duration(seconds / share * (1 - share)) if share else 'some time'} left"


def sweep_pace(state: Any) -> tuple[float, str]:
    """How much of this stage of this run is done, from 0 to 1; the rate and what is left.

    Args:
        state: a `sweeps.bookkeeping.Progress`.
    """
    if state.stage == "capture":
        share = state.done / state.total
        left = time_left(state.seconds, share)
        return share, f"read {state.done:,} of {state.total:,} prompts, {left}"
    share = min(state.rows / state.all_rows, 1.0) if state.all_rows else 1.0
    rate = state.rows / state.seconds if state.seconds else 0.0
    by = "" if not state.workers else f" by {state.workers:,} workers"
    left = time_left(state.seconds, share)
    said = right(state.unmodified, state.transplanted)
    done, pace = f"{state.done:,} of {state.total:,} items", f"{rate:,.0f} rows/s{by}"
    return share, ", ".join(filter(None, [done, left, said, pace]))


def fitting(words: str, room: int) -> str:
    """As much of a list with commas as fits into a line, its first part in any case."""
    while len(words) > room and ", " in words:
        words = words.rpartition(", ")[0]
    return words


@contextmanager
def _in_cell(pace: Callable[[Any], tuple[float, str]]) -> Iterator[Callable[[str, Any], None]]:
    """Yield what shows states in an output of a notebook's cell, which each one replaces.

    Rich needs ipywidgets for that, which most notebooks lack.
    """
    from IPython.display import display

    lines: dict[str, str] = {}
    output: Any = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    drawn = 0.0

    def draw() -> None:
        nonlocal drawn
        drawn = time.monotonic()
        output.update({"text/plain": "\n".join(lines.values())}, raw=True)

    def show_text(label: str, state: Any) -> None:
        share, words = pace(state)
        done = round(share * _IN_CELL)
        lines[label] = shown(f"{label} {'━' * done}{'┄' * (_IN_CELL - done)} {words}")
        if time.monotonic() - drawn > _SECONDS_PER_PICTURE:
            draw()

    try:
        yield show_text
    finally:
        draw()


@contextmanager
def told(progress: Callable[..., None] | bool | None, *label: str) -> Iterator[Any]:
    """Yield what shows the progress that is asked for.

    Args:
        progress: a function, True for a bar, or nothing.
        label: of the only job that there is; without one, the function takes it with each state.
    """
    if progress is not True:
        if progress and not callable(progress):
            raise TypeError(f"progress is {progress!r}: give True, or a function.")
        yield progress or None
        return
    with progresses() as show:
        yield partial(show, *label)


@contextmanager
def progress(label: str) -> Iterator[Callable[[Any], None]]:
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
    screen = None if quiet else console(stderr=True)
    if screen is not None and screen.is_jupyter:
        with _in_cell(pace) as show_text:
            yield show_text
        return
    if screen is None or not sys.stderr.isatty():
        shown_at: dict[tuple[str, str], float] = {}

        def show_line(label: str, state: Any) -> None:
            key = (label, state.stage)
            if not quiet and state.seconds - shown_at.get(key, 0.0) >= SECONDS_PER_LINE:
                shown_at[key] = state.seconds
                say(f"{label}: {pace(state)[1]}")

        yield show_line
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(wide := min(40, max(6, screen.width // 8))),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Progress(*columns, console=screen, transient=True) as bars:
        jobs: dict[str, Any] = {}

        def show_bar(label: str, state: Any) -> None:
            if label not in jobs:
                jobs[label] = bars.add_task(label, total=1.0, pace="")
            share, words = pace(state)
            room = screen.width - max(map(len, jobs)) - wide - 3
            bars.update(jobs[label], completed=share, pace=fitting(words, room))

        yield show_bar
