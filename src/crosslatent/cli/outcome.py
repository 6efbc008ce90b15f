"""What a sweep says at its end: how much was done, what failed and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from crosslatent.cli.errors import say, warn
from crosslatent.cli.progress import duration
from crosslatent.core.specs import EXACT

if TYPE_CHECKING:
    from crosslatent.sweeps import SweepOutcome

_SHOWN = 10
"""Items that are named one by one; the others are in the run folder."""


def report_outcome(outcome: SweepOutcome, notes: Iterable[str] = ()) -> None:
    """Print the outcome of a sweep; the run folder on stdout, all else on stderr.

    Args:
        outcome: what came of it.
        notes: what else deserves a look.

    Raises:
        Exit: with 1, if an item failed or a row is no number.
    """
    faults = outcome.faults
    for line in (*_warnings(outcome), *notes):
        warn(line)
    if outcome.rows:
        say(f"{outcome.rows:,} rows in {duration(outcome.seconds)}.")
    elif not faults.failed:
        say("Nothing was missing.")
    _say_respelled(outcome.status)
    _say_near_ties(outcome.status)
    print(outcome.path)
    if faults:
        for line in faults.lines():
            say(f"Failed: {line}")
        raise typer.Exit(1)


def _warnings(outcome: SweepOutcome) -> Iterator[str]:
    """What was mended, left out, or took longer than it might have."""
    faults = outcome.faults
    for aside in faults.set_aside:
        yield f"{aside.name} could not be used ({aside.reason}): set aside, its rows were run again"
    for failure in faults.failed[:_SHOWN]:
        yield f"item {failure.item!r} was left out: {failure.reason}"
    if len(faults.failed) > _SHOWN:
        yield f"{len(faults.failed) - _SHOWN:,} more items were left out: see failures.parquet"
    for path in outcome.paths:
        if path.reason:
            yield f"rows took the {path.name} path ({path.reason})"


def _say_respelled(status: dict[str, Any]) -> None:
    """How many items have answers that are not as the tokenizer writes them with the prompt."""
    if count := status["respelled"]:
        say(
            f"In {count:,} of {status['items']:,} items an answer would be other tokens together "
            "with its prompt: the prompt's tokens stay, and the answer's are those that decode to "
            "it after them (respelled in items.parquet)."
        )


def _say_near_ties(status: dict[str, Any]) -> None:
    """How many answers hang on the last bits, and whether they were settled."""
    close = status["near_ties"]
    if not close["rows"]:
        return
    share = close["rows"] / status["rows"]
    rows = "1 row was" if close["rows"] == 1 else f"{close['rows']:,} rows were"
    text = f"{rows} decided by less than {close['margin']:g} logits ({share:.2%})"
    if close["settled"]:
        seconds = duration(status["paths"][EXACT]["seconds"])
        settled = f"{close['settled']:,} of them answered again in float32, one by one"
        say(f"{text}; {settled}, in {seconds}.")
    else:
        say(f"{text}: another batch size may decide otherwise (--exact settles it).")
