"""The rows of a sweep, and the missing ones cut into work units, each done, or lost, as a whole.

A row is missing if no part holds its key. So it does not matter who wrote the parts, how many
workers there were, or where the last run was cut off. Data alone, without a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from crosslatent.core.pairs import PairPlan
from crosslatent.core.specs import Component, Pair
from crosslatent.runs.inventory import Inventory
from crosslatent.runs.schema import RowKey
from crosslatent.sweeps.control import Donors, Variant
from crosslatent.tasks import Item


class PlannedRow(NamedTuple):
    """One row of an item; unmodified ones, and those under a condition, have no layers."""

    variant: Variant
    component: Component | None = None
    source: int | None = None
    target: int | None = None
    condition: str | None = None

    @property
    def key(self) -> RowKey:
        """What tells it from the other rows of its item."""
        control, stratum, _ = self.variant.control, self.variant.stratum, self.variant.donor
        return RowKey(control, stratum, self.component, self.source, self.target, self.condition)


UNMODIFIED = (PlannedRow(Variant("vanilla")), PlannedRow(Variant("translate_test")))
"""The first rows of every item: the model's own answers to main and to aux."""

CONDITION = "condition"
"""Control of the rows whose interventions are the same for all items."""


@dataclass(frozen=True)
class SweepGrid:
    """The rows of a sweep.

    Attributes:
        items: the items that can be run.
        components: what is carried across; none without pairs.
        pairs: the layer pairs.
        controls: controls beside the true transplant.
        control_splits: splits whose items get the controls; None for all.
        seed: of donors.
        conditions: ids of the conditions that every item is answered under.
    """

    items: tuple[Item, ...]
    components: tuple[Component, ...]
    pairs: PairPlan
    controls: tuple[str, ...] = ()
    control_splits: tuple[str, ...] | None = None
    seed: int = 0
    conditions: tuple[str, ...] = ()

    @cached_property
    def donors(self) -> Donors:
        """Whose vectors the controls of an item take."""
        return Donors(self.items, self.seed)

    @cached_property
    def rows(self) -> int:
        """Rows that the whole sweep has."""
        return sum(map(self.rows_of, self.items))

    def rows_of(self, item: Item) -> int:
        """Rows that an item has."""
        pairs = sum(len(self.pairs_of(item, variant)) for variant in self.variants(item))
        return len(UNMODIFIED) + len(self.conditions) + pairs * len(self.components)

    def variants(self, item: Item) -> list[Variant]:
        """The true transplant of an item, and the controls that it gets; none without a grid."""
        if not self.components:
            return []
        wanted = self.control_splits is None or item.split in self.control_splits
        return self.donors.variants(item, self.controls if wanted else ())

    def pairs_of(self, item: Item, variant: Variant) -> tuple[Pair, ...]:
        """The pairs that a variant of an item has rows of, in their order."""
        key = item.lang, variant.control
        if key not in self._pairs:
            pairs = self.pairs.for_language(item.lang)
            self._pairs[key] = tuple(self.donors.control(variant.control).pairs(pairs))
        return self._pairs[key]

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], tuple[Pair, ...]]:
        """By language and control, `pairs_of`."""
        return {}

    def planned(self, item: Item) -> list[PlannedRow]:
        """The rows of an item, always in the same order."""
        under = (PlannedRow(Variant(CONDITION), condition=one) for one in self.conditions)
        return [*UNMODIFIED, *under, *self._transplants(item)]

    def _transplants(self, item: Item) -> Iterator[PlannedRow]:
        for variant in self.variants(item):
            for component in self.components:
                for source, target in self.pairs_of(item, variant):
                    yield PlannedRow(variant, component, source, target)


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
        places: which of `SweepGrid.planned`; empty for work that has no rows of its own.
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


def missing_rows(grid: SweepGrid, inventory: Inventory) -> list[RowRange]:
    """The rows that no part holds, at most `ROWS_TOGETHER` of an item in each row_range."""
    counts = inventory.counts
    # An item has all its rows or none, as a rule: their keys are looked at only where it has some.
    partly = [item.id for item in grid.items if 0 < counts.get(item.id, 0) < grid.rows_of(item)]
    there = inventory.keys(partly)
    ranges: list[RowRange] = []
    for item in grid.items:
        places = _places(grid, item, counts.get(item.id, 0), there.get(item.id))
        if places:
            ranges += _cut(RowRange(item.id, places), ROWS_TOGETHER)
    return ranges


def _places(grid: SweepGrid, item: Item, count: int, there: set[RowKey] | None) -> Sequence[int]:
    if there is not None:
        return [at for at, row in enumerate(grid.planned(item)) if row.key not in there]
    return () if count else range(grid.rows_of(item))


def _cut(row_range: RowRange, size: int) -> Iterator[RowRange]:
    """A row range in pieces of at most `size` rows; one without rows as it is."""
    for start in range(0, _size(row_range), size):
        yield RowRange(row_range.item, row_range.places[start : start + size])


def missing_items(grid: SweepGrid, there: Iterable[str]) -> list[RowRange]:
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
    for row_range in (piece for whole in ranges for piece in _cut(whole, size)):
        if held and used + _size(row_range) > size:
            yield WorkUnit(number, kind, tuple(held))
            number, held, used = number + 1, [], 0
        held.append(row_range)
        used += _size(row_range)
    if held:
        yield WorkUnit(number, kind, tuple(held))


def _size(row_range: RowRange) -> int:
    return max(len(row_range.places), 1)
