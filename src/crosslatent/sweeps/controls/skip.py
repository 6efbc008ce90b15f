"""The control ``skip``: zeros, so the module adds nothing; what losing its own output alone does.

A row for each target layer, not for each pair: it is no control of a union over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosslatent.sweeps.control import Control, Variant, register_control

if TYPE_CHECKING:
    from torch import Tensor

    from crosslatent.core.specs import Component, Pair
    from crosslatent.sweeps.vectors import Vectors
    from crosslatent.tasks import Item


@register_control("skip")
class Skip(Control):
    """The target's output at the last tokens is zero."""

    every_pair = False

    def pairs(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """(target, target) for each target layer: zeros come from no source layer."""
        return [(layer, layer) for layer in dict.fromkeys(target for _, target in pairs)]

    def layers(
        self, item: Item, variant: Variant, component: Component, vectors: Vectors
    ) -> Tensor:
        """Zeros, of the shape and dtype of the item's true vectors."""
        true = vectors.of(self.reads(item, variant))[component]
        return true.new_zeros(true.shape)
