"""What a sweep consists of: the rows of every item, in order; data alone, without a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from crosslatent.core.pairs import PairPlan
from crosslatent.core.specs import Component, Control
from crosslatent.runs.schema import RowKey
from crosslatent.sweeps.donors import Donors, Variant
from crosslatent.tasks import Item


class PlannedRow(NamedTuple):
    """One row of an item; the unmodified ones have neither component nor layers."""

    variant: Variant
    component: Component | None = None
    source: int | None = None
    target: int | None = None

    @property
    def key(self) -> RowKey:
        """What tells it from the other rows of its item."""
        control, stratum, _ = self.variant.control, self.variant.stratum, self.variant.donor
        return RowKey(control, stratum, self.component, self.source, self.target)


UNMODIFIED = (PlannedRow(Variant("vanilla")), PlannedRow(Variant("translate_test")))
"""The first rows of every item: the model's own answers to main and to aux."""


@dataclass(frozen=True)
class Grid:
    """The rows of a sweep.

    Attributes:
        items: the items that can be run.
        components: what is carried across.
        pairs: the layer pairs.
        controls: controls beside the true transplant.
        control_splits: splits whose items get the controls; None for all.
        seed: of donors.
    """

    items: tuple[Item, ...]
    components: tuple[Component, ...]
    pairs: PairPlan
    controls: tuple[Control, ...] = ()
    control_splits: tuple[str, ...] | None = None
    seed: int = 0

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
        pairs = len(self.pairs.for_language(item.lang))
        return len(UNMODIFIED) + len(self.variants(item)) * len(self.components) * pairs

    def variants(self, item: Item) -> list[Variant]:
        """The true transplant of an item, and the controls that it gets."""
        wanted = self.control_splits is None or item.split in self.control_splits
        return self.donors.variants(item, self.controls if wanted else ())

    def planned(self, item: Item) -> list[PlannedRow]:
        """The rows of an item, always in the same order."""
        return [*UNMODIFIED, *self._transplants(item)]

    def _transplants(self, item: Item) -> Iterator[PlannedRow]:
        for variant in self.variants(item):
            for component in self.components:
                for source, target in self.pairs.for_language(item.lang):
                    yield PlannedRow(variant, component, source, target)
