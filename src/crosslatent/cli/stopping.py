"""Stopping a command that can go on later: Ctrl-C and SIGTERM keep what is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from crosslatent.cli.errors import INTERRUPTED, say

TERMINATED = 143
"""What a shell makes of SIGTERM: 128 and the number of the signal."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems send before they kill; stops work as Ctrl-C does."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Around work that keeps what is done when it is stopped; the exit code says by what."""
    with _terminable():
        try:
            yield
        except KeyboardInterrupt as stop:
            how = "Terminated" if isinstance(stop, Terminated) else "Interrupted"
            say(f"{how}: what is done is kept, and the same command again goes on with it.")
            code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
            raise typer.Exit(code) from None


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
