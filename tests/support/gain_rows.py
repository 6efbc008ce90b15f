"""A run with every row that the parts of a gain need, whose parts are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.runs import Record, item, row, write_run

GAPS = {
    "vanilla": -2.0,
    "skip": -2.5,
    "mean-main": -2.25,
    "mean": -1.0,
    "none": 3.0,
    "self": -1.5,
    "translate_test": 2.0,
}
"""Own option gap of every kind of row; the pair is 0->1, right where it is above 0."""
FACTS = 12
WHERE = {"skip": {"source": 1, "target": 1}}


def scored(name: str, control: str, gap: float, **changes: Any) -> Record:
    """A row whose gold option "(1)" leads the other one by `gap` nats."""
    plain = control in ("vanilla", "translate_test")
    place = {} if plain else WHERE.get(control, {"source": 0, "target": 1})
    logprobs = {"option_logprobs": [-3.0, -3.0 - gap]}
    return row(name, control, gap > 0, **(place | logprobs | changes))


def rows_of(name: str, place: int, gaps: Mapping[str, float] = GAPS) -> Iterator[Record]:
    """Rows of one question, whose gaps differ a little from those of others."""
    for control, gap in gaps.items():
        yield scored(name, control, gap + 0.01 * place * len(control))


def names(splits: tuple[str, ...] = ("pilot", "unseen")) -> list[tuple[str, str]]:
    return [(f"{split}-{k:02d}", split) for split in splits for k in range(FACTS)]


def run_of(path: Path, rows: list[Record] | None = None, **changes: Any) -> Path:
    items = [item(name, answer="(1)", split=split, **changes) for name, split in names()]
    if rows is None:
        rows = [r for k, (name, _) in enumerate(names()) for r in rows_of(name, k)]
    return write_run(path / "run", items, rows)
