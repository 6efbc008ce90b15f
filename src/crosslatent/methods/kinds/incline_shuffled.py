"""The control of INCLINE with wrong counterparts: what of it does not depend on meaning."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from crosslatent.methods.linear_maps import LinearMaps
from crosslatent.methods.method import register_method


@register_method("incline-shuffled")
class InclineShuffled(LinearMaps):
    """Every text is mapped to the counterpart of another one."""

    title = "INCLINE with shuffled pairs (control)"
    control = True
    about = (
        "Maps the output of every block at the prompt's last token towards another question's "
        "counterpart, and adds a share of the image."
    )

    def targets(
        self, states: Float64[Tensor, "texts layers width"], seed: int
    ) -> Float64[Tensor, "texts layers width"]:
        """The counterparts' states in a random cycle, so that no text has its own."""
        cycle = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed + 1))
        shuffled = torch.empty_like(states)
        shuffled[cycle] = states[cycle.roll(1)]
        return shuffled
