"""The missing rows of a sweep, cut into work units, each of which is done, or lost, as a whole.

A row is missing if no part holds its key. So it does not matter who wrote the parts, how many
workers there were, or where the last run was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from crosslatent.runs.inventory import Inventory
from crosslatent.runs.schema import RowKey
from crosslatent.sweeps.grid import Grid
from crosslatent.tasks import Item

Kind = Literal["rows", "attribution", "samples", "vectors"]
"""What workers do; each fills the table of the run folder that has its name."""

ROWS_TOGETHER = 4096
"""Rows of one item that are asked for at once: as many as an accelerator answers in a batch. Only a
part of a large item is lost when a run is killed."""


@dataclass(frozen=True, slots=True)
class RowRange:
    """Some rows of an item.

    Attributes:
        item: its id.
        places: which of `Grid.planned`; empty for work that has no rows of its own.
    """

    item: str
    places: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """Work that one worker does at once, and that makes one part.

    Attributes:
        number: of the work unit in this session; names its part.
        kind: what is done.
        ranges: the items, and of rows which.
        instead_of: number of the work unit that this one is a piece of, whose part must go.
    """

    number: int
    kind: Kind
    ranges: tuple[RowRange, ...]
    instead_of: int | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(len(row_range.places) for row_range in self.ranges)


def missing_rows(grid: Grid, inventory: Inventory) -> list[RowRange]:
    """The rows that no part holds, at most `ROWS_TOGETHER` of an item in each row_range."""
    counts = inventory.counts
    # An item has all its rows or none, as a rule: their keys are looked at only where it has some.
    partly = [item.id for item in grid.items if 0 < counts.get(item.id, 0) < grid.rows_of(item)]
    there = inventory.keys(partly)
    ranges: list[RowRange] = []
    for item in grid.items:
        ranges += _split(item.id, _places(grid, item, counts.get(item.id, 0), there.get(item.id)))
    return ranges


def _places(grid: Grid, item: Item, count: int, there: set[RowKey] | None) -> Sequence[int]:
    if there is not None:
        return [at for at, row in enumerate(grid.planned(item)) if row.key not in there]
    return () if count else range(grid.rows_of(item))


def _split(item: str, places: Sequence[int]) -> Iterator[RowRange]:
    for start in range(0, len(places), ROWS_TOGETHER):
        yield RowRange(item, places[start : start + ROWS_TOGETHER])


def missing_items(grid: Grid, there: Iterable[str]) -> list[RowRange]:
    """The items that one of the other tables lacks."""
    known = set(there)
    return [RowRange(item.id) for item in grid.items if item.id not in known]


def cut(ranges: Iterable[RowRange], kind: Kind, size: int, first: int = 0) -> Iterator[WorkUnit]:
    """Row ranges into work units.

    Args:
        ranges: what is to do.
        kind: what is done with them.
        size: most rows in a work unit; of kinds without rows, most items.
        first: number of the first work unit.
    """
    number, held, used = first, list[RowRange](), 0
    for row_range in _no_larger(ranges, size):
        if held and used + _size(row_range) > size:
            yield WorkUnit(number, kind, tuple(held))
            number, held, used = number + 1, [], 0
        held.append(row_range)
        used += _size(row_range)
    if held:
        yield WorkUnit(number, kind, tuple(held))


def _size(row_range: RowRange) -> int:
    return max(len(row_range.places), 1)


def _no_larger(ranges: Iterable[RowRange], size: int) -> Iterator[RowRange]:
    for row_range in ranges:
        if len(row_range.places) <= size:
            yield row_range
            continue
        for start in range(0, len(row_range.places), size):
            yield RowRange(row_range.item, row_range.places[start : start + size])
