"""What is missing of a sweep, cut into slices: pieces of work that are done, and lost, as a whole.

A row is missing if no part holds its key. So it does not matter who wrote the parts, how many
workers there were, or where the last run was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from crosslatent.store.inventory import Inventory
from crosslatent.store.schema import RowKey
from crosslatent.sweeps.grid import Grid
from crosslatent.tasks import Item

Kind = Literal["rows", "attribution", "samples", "vectors"]
"""What workers do; each fills the table of the run folder that has its name."""

ROWS_TOGETHER = 4096
"""Rows of one item that are asked for at once: as many as an accelerator answers in a batch. Only a
part of a large item is lost when a run is killed."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of an item.

    Attributes:
        item: its id.
        places: which of `Grid.planned`; empty for work that has no rows of its own.
    """

    item: str
    places: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """Work that one worker does at once, and that makes one part.

    Attributes:
        number: of the slice in this session; names its part.
        kind: what is done.
        blocks: the items, and of rows which.
        instead_of: number of the slice that this one is a piece of, whose part must go.
    """

    number: int
    kind: Kind
    blocks: tuple[Block, ...]
    instead_of: int | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(len(block.places) for block in self.blocks)


def missing_rows(grid: Grid, inventory: Inventory) -> list[Block]:
    """The rows that no part holds, at most `ROWS_TOGETHER` of an item in each block."""
    counts = inventory.counts
    # An item has all its rows or none, as a rule: their keys are looked at only where it has some.
    partly = [item.id for item in grid.items if 0 < counts.get(item.id, 0) < grid.rows_of(item)]
    there = inventory.keys(partly)
    blocks: list[Block] = []
    for item in grid.items:
        blocks += _split(item.id, _places(grid, item, counts.get(item.id, 0), there.get(item.id)))
    return blocks


def _places(grid: Grid, item: Item, count: int, there: set[RowKey] | None) -> Sequence[int]:
    if there is not None:
        return [at for at, row in enumerate(grid.planned(item)) if row.key not in there]
    return () if count else range(grid.rows_of(item))


def _split(item: str, places: Sequence[int]) -> Iterator[Block]:
    for start in range(0, len(places), ROWS_TOGETHER):
        yield Block(item, places[start : start + ROWS_TOGETHER])


def missing_items(grid: Grid, there: Iterable[str]) -> list[Block]:
    """The items that one of the other tables lacks."""
    known = set(there)
    return [Block(item.id) for item in grid.items if item.id not in known]


def cut(blocks: Iterable[Block], kind: Kind, size: int, first: int = 0) -> Iterator[Slice]:
    """Blocks into slices.

    Args:
        blocks: what is to do.
        kind: what is done with them.
        size: most rows in a slice; of kinds without rows, most items.
        first: number of the first slice.
    """
    number, held, used = first, list[Block](), 0
    for block in _no_larger(blocks, size):
        if held and used + _size(block) > size:
            yield Slice(number, kind, tuple(held))
            number, held, used = number + 1, [], 0
        held.append(block)
        used += _size(block)
    if held:
        yield Slice(number, kind, tuple(held))


def _size(block: Block) -> int:
    return max(len(block.places), 1)


def _no_larger(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    for block in blocks:
        if len(block.places) <= size:
            yield block
            continue
        for start in range(0, len(block.places), size):
            yield Block(block.item, block.places[start : start + size])
