"""The control ``mean``: the mean vector of a layer over the other questions of the item's pool.

Of their counterparts; ``mean-main`` is that of their main prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from crosslatent.core.errors import ITEM_FAULTS
from crosslatent.sweeps.control import (
    Control,
    Donors,
    Pool,
    Role,
    SourcePrompt,
    Variant,
    pool_of,
    register_control,
)

if TYPE_CHECKING:
    from torch import Tensor

    from crosslatent.core.specs import Component
    from crosslatent.interventions.activations import Captured
    from crosslatent.sweeps.vectors import Vectors
    from crosslatent.tasks import Item


@register_control("mean")
class Mean(Control):
    """The mean vector; the sum over a pool is made once.

    Attributes:
        role: which prompts of the other questions the mean is of.
    """

    role: ClassVar[Role] = "aux"

    def __init__(self, name: str) -> None:
        """No sums yet."""
        super().__init__(name)
        self._sums: dict[Pool, tuple[Captured, list[str]]] = {}

    def variants(self, item: Item, donors: Donors) -> Iterator[Variant]:
        """One, if the pool has another question."""
        if len(donors.same(item)) < len(donors.pools[pool_of(item)]):
            yield Variant(self.name)

    def reads(self, item: Item, variant: Variant) -> SourcePrompt:
        """The item's own prompt of that role, which is left out of the sum."""
        del variant
        return SourcePrompt(self.role, item.id)

    def layers(
        self, item: Item, variant: Variant, component: Component, vectors: Vectors
    ) -> Tensor:
        """The sum over the pool without the item's own fact, divided, in float32."""
        import torch

        del variant
        donors, pool = vectors.donors, pool_of(item)
        if pool not in self._sums:
            self._sums[pool] = _sum(vectors, self.role, donors.pools[pool])
        # In the order of the pool, so that the sum is the same in every call.
        twins = donors.same(item)
        total, readable = self._sums[pool]
        same = [name for name in readable if name in twins]
        left_out = [vectors.of(SourcePrompt(self.role, name))[component].float() for name in same]
        others = len(readable) - len(same)
        if not others:
            raise ValueError("no other question of its pool could be read for the mean")
        return (total[component] - sum(left_out, torch.zeros(()))) / others


def _sum(vectors: Vectors, role: Role, names: Sequence[str]) -> tuple[Captured, list[str]]:
    """The vectors of a pool, summed in float32, and whose they are: one may have none."""
    sums: Captured = {}
    readable = []
    for done, name in enumerate(names, 1):
        with suppress(*ITEM_FAULTS):
            found = vectors.of(SourcePrompt(role, name))
            readable.append(name)
            for kind, vector in found.items():
                added = vector.float()
                sums[kind] = sums[kind] + added if kind in sums else added
        vectors.advance(done, len(names))
    return sums, readable
