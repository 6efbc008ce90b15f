"""From exceptions to exit codes and one sentence on stderr.

Exit codes: 0 done, 1 the run or a part of it failed, 2 wrong usage, 130 interrupted, 143 terminated
(SIGTERM). A traceback appears only with ``--debug``.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import typer

from crosslatent.core.errors import CrosslatentError
from crosslatent.core.untrusted import shown

INTERRUPTED = 130
"""What a shell makes of Ctrl-C: 128 and the number of the signal."""

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


@dataclass(slots=True)
class Settings:
    """What holds for a whole invocation; Typer hands it on as the context's object."""

    debug: bool = False


def usage_error_type() -> type[Exception]:
    """The base class of what Typer raises for arguments that it cannot parse.

    It is Click's or Typer's own, depending on the version; only classes below it are public.
    """
    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run(command: Callable[[], int], settings: Settings) -> int:
    """Call `command`, and turn what it raises on purpose into a sentence and an exit code."""
    try:
        return command()
    except usage_error_type() as error:
        say(f"Error: {_usage_message(error)}")
        return 2
    except CrosslatentError as error:
        if settings.debug:
            traceback.print_exc()
        say(f"Error: {error}")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        say("Interrupted.")
        return INTERRUPTED


def say(message: str) -> None:
    """Print one line to stderr; names and texts in it cannot steer the terminal."""
    print(shown(message), file=sys.stderr)


def warn(message: str) -> None:
    """Print a warning to stderr."""
    say(f"Warning: {message}")


def _usage_message(error: Exception) -> str:
    message = getattr(error, "format_message", error.__str__)().strip()
    context = getattr(error, "ctx", None)
    if context is None:
        return str(message)
    return f"{message.rstrip('.')} (see '{context.command_path} --help')."


def excepthook(settings: Settings) -> ExceptHook:
    """For unexpected exceptions: the interpreter still exits with 1, but without a traceback."""

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if settings.debug or not issubclass(kind, Exception):
            sys.__excepthook__(kind, error, where)
            return
        reason = " ".join(str(error).split()) or "no reason given"
        say(f"Error: unexpected {kind.__name__} ({reason}): repeat with --debug to see where.")

    return hook
