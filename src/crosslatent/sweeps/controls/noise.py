"""The control ``noise``: Gaussian with the true vector's norm, one draw per item and layer."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from crosslatent.sweeps.control import Control, Variant, register_control

if TYPE_CHECKING:
    from torch import Tensor

    from crosslatent.core.specs import Component
    from crosslatent.sweeps.vectors import Vectors
    from crosslatent.tasks import Item


@register_control("noise")
class Noise(Control):
    """Random noise; the same draw for all target layers."""

    def layers(
        self, item: Item, variant: Variant, component: Component, vectors: Vectors
    ) -> Tensor:
        """Noise as long as the vectors of aux."""
        import torch

        true = vectors.of(self.reads(item, variant))[component]
        label = f"{vectors.seed}/{item.id}/{component}"
        digest = hashlib.sha256(label.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        noise = torch.randn(true.shape, generator=generator)
        scale = true.float().norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        scaled: Tensor = (noise * scale).to(true.dtype)
        return scaled
