"""Failures of a sweep, by kind: one bad item never ends a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crosslatent.core.errors import (
    ITEM_FAULTS,
    MemoryShortError,
    ModelError,
    PromptError,
    SweepError,
)
from crosslatent.engine.memory import is_out_of_memory
from crosslatent.runs.parts import SetAside
from crosslatent.runs.schema import Failure, FailureKind

__all__ = ["ITEM_FAULTS", "MOST_IN_A_ROW", "Faults", "Streak", "failure_of"]

MOST_IN_A_ROW = 5
"""Items that fail one after another for no reason that we know; then it is not the items."""

_NAMES: dict[FailureKind, str] = {
    "prompt": "could not be asked",
    "memory": "did not fit into memory",
    "error": "failed while running",
    "worker": "could not be finished, as workers died",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """What went wrong, and what was mended.

    Attributes:
        failed: items that could not be run, with reasons.
        not_finite: rows whose logits were not numbers, or whose highest one was infinite; in the
            whole run.
        set_aside: parts that could not be read; their rows were run again.
    """

    failed: tuple[Failure, ...] = ()
    not_finite: int = 0
    set_aside: tuple[SetAside, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything of the run is missing or no number; what was mended does not count."""
        return bool(self.failed or self.not_finite)

    def lines(self) -> Iterator[str]:
        """Counts and reasons, for people."""
        kinds = Counter(failure.kind for failure in self.failed)
        for kind, count in kinds.items():
            first = next(failure for failure in self.failed if failure.kind == kind)
            items = "1 item" if count == 1 else f"{count:,} items"
            yield f"{items} {_NAMES[kind]}; the first, {first.item!r}: {first.reason}"
        if self.not_finite:
            rows = "1 row has" if self.not_finite == 1 else f"{self.not_finite:,} rows have"
            yield f"{rows} logits that are not finite numbers (finite = false): do not trust them."


def failure_of(item: str, error: BaseException) -> Failure:
    """What is recorded of an item that raised something."""
    if isinstance(error, MemoryShortError) or is_out_of_memory(error):
        return Failure(item, "memory", _said(error))
    if isinstance(error, PromptError):
        return Failure(item, "prompt", _said(error))
    return Failure(item, "error", _said(error))


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    if isinstance(error, ModelError | PromptError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Streak:
    """Stops a sweep in which one item after another fails for no reason that we know."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []

    def add(self, failure: Failure | None) -> None:
        """Count an item that failed, or one that did not.

        Raises:
            SweepError: too many have failed in a row.
        """
        if failure is None:
            self._failures.clear()
        elif failure.kind == "error":
            self._failures.append(failure)
        if len(self._failures) >= MOST_IN_A_ROW:
            raise SweepError(_not_the_items(self._failures))


def _not_the_items(failures: Sequence[Failure]) -> str:
    return (
        f"{len(failures)} items in a row failed, the last one, {failures[-1].item!r}, with "
        f"{failures[-1].reason!r}: this is hardly the items' fault, so the sweep stopped; what was "
        "finished is kept, and the same command again does the rest."
    )
