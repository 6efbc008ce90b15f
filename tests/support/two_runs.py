"""Pairs of run folders whose difference is known: one transplant repairs chosen questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.runs import Record, item, row, write_run

PAIR = (0, 1)
"""The pair that repairs; the others break every answer."""


def questions(n: int, start: int = 0, *, splits: bool = True, **changes: Any) -> list[Record]:
    """Questions on one fact each: the first third for picking, the others for testing."""
    return [
        item(
            f"q{number:04d}",
            split=None if not splits else "pilot" if number - start < n // 3 else "final",
            **changes,
        )
        for number in range(start, start + n)
    ]


def run_of(
    path: Path,
    items: Sequence[Record],
    right: Callable[[int], bool],
    *,
    vanilla: Callable[[int], bool] = lambda number: False,
    n_layers: int = 2,
    **manifest: Any,
) -> Path:
    """A run over some questions.

    Args:
        path: of the folder.
        items: the questions.
        right: whether the transplant at `PAIR` is right, by the place of the question.
        vanilla: whether the unmodified model is.
        n_layers: of the model.
        manifest: entries of run.json; `created` tells runs apart.
    """
    rows = []
    for number, one in enumerate(items):
        name, before = one["item"], vanilla(number)
        rows += [row(name, "vanilla", before), row(name, "translate_test", True)]
        for target in range(n_layers):
            after = right(number) if target == PAIR[1] else False
            rows.append(row(name, correct=after, source=0, target=target))
            rows.append(row(name, "noise", before, source=0, target=target))
    created = f"2026-01-01T00:00:00+00:00 {path.name}"
    return write_run(path, items, rows, n_layers=n_layers, **({"created": created} | manifest))
