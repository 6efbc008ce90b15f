"""Counts of one call of a sweep so far: rows that are done, and items that failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crosslatent.core.errors import SweepError, TaskError
from crosslatent.engine import EnginePath
from crosslatent.runs.schema import Failure


@dataclass(slots=True)
class Tally:
    """Counts while a sweep runs.

    Attributes:
        strict: whether an item that fails stops the sweep.
        rows: rows written by this call.
        failed: item -> what came of it, for items that could not be run by this call.
        paths: how rows were computed, and why no faster way was taken.
    """

    strict: bool
    rows: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)
    paths: dict[EnginePath, None] = field(default_factory=dict)

    def add(self, rows: int, paths: Iterable[EnginePath] = ()) -> None:
        """Count rows."""
        self.rows += rows
        self.paths.update(dict.fromkeys(paths))

    def fail(self, failures: Iterable[Failure | None]) -> None:
        """Count items that failed; None is none.

        Raises:
            SweepError: strict, and there is one.
        """
        for failure in failures:
            if failure is None:
                continue
            self.failed.setdefault(failure.item, failure)
            if self.strict:
                raise SweepError(
                    f"Item {failure.item!r} failed ({failure.reason}), and --strict stops at the "
                    "first: what was finished is kept."
                )


def check_strict(strict: bool, failures: Mapping[str, str]) -> None:
    """Refuse a strict sweep whose items cannot all be asked.

    Raises:
        TaskError: strict, and one of them cannot be.
    """
    if strict and failures:
        name, reason = next(iter(failures.items()))
        raise TaskError(f"Item {name!r} cannot be run: {reason}")
