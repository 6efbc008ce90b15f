"""What a sweep consists of: the rows of every item, in order; data alone, without a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from crosslatent.core.pairs import PairPlan
from crosslatent.core.specs import Component
from crosslatent.runs.schema import RowKey
from crosslatent.sweeps.control import Variant
from crosslatent.sweeps.donors import Donors
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
class Grid:
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
        pairs = len(self.components) and len(self.pairs.for_language(item.lang))
        transplants = len(self.variants(item)) * len(self.components) * pairs
        return len(UNMODIFIED) + len(self.conditions) + transplants

    def variants(self, item: Item) -> list[Variant]:
        """The true transplant of an item, and the controls that it gets; none without a grid."""
        if not self.components:
            return []
        wanted = self.control_splits is None or item.split in self.control_splits
        return self.donors.variants(item, self.controls if wanted else ())

    def planned(self, item: Item) -> list[PlannedRow]:
        """The rows of an item, always in the same order."""
        under = (PlannedRow(Variant(CONDITION), condition=one) for one in self.conditions)
        return [*UNMODIFIED, *under, *self._transplants(item)]

    def _transplants(self, item: Item) -> Iterator[PlannedRow]:
        for variant in self.variants(item):
            for component in self.components:
                for source, target in self.pairs.for_language(item.lang):
                    yield PlannedRow(variant, component, source, target)
