"""A push: a vector added to a site's output, in proportion to it, or without changing its length.

The forms of language vectors beyond plain addition (ReCoVeR, arXiv 2509.14814).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import (
    ALL,
    Intervention,
    Tokens,
    Values,
    register_intervention,
)

StepScale = Literal["raw", "unit", "relative"]
"""How long a step of strength 1 is: as the vector; 1; or as the own values."""


@register_intervention("push")
@dataclass(frozen=True, slots=True, eq=False)
class Push(Intervention):
    """Add `alpha` steps along a vector; then, if asked to, bring the values back to their length.

    With h the site's value at one token, the step s is v, v / |v| or v |h| / |v|, and h becomes
    m = h + alpha s, or m |h| / |m|. A vector of zeros changes nothing.

    Attributes:
        site: component and block.
        vector: v.
        alpha: how far; 0 changes nothing.
        scale: how long a step is.
        keep_norm: whether values keep their length.
        tokens: which tokens; by default all, generated ones too.
    """

    site: Site
    vector: Float[Tensor, " width"]
    alpha: float = 1.0
    scale: StepScale = "raw"
    keep_norm: bool = False
    tokens: Tokens = ALL

    def change(self, own: Values, _back: int | None = None, /) -> Values:
        """The pushed values."""
        # Lengths are sums over the width: not in half precision.
        wide = torch.promote_types(own.dtype, torch.float32)
        values, step = own.to(wide), self.vector.to(wide).to(own.device)
        size = values.norm(dim=-1, keepdim=True)
        if self.scale != "raw":
            step = step / _positive(step.norm())
        if self.scale == "relative":
            step = size * step
        moved = values + self.alpha * step
        if self.keep_norm:
            moved = moved * (size / _positive(moved.norm(dim=-1, keepdim=True)))
        return moved.to(own.dtype)


def _positive(size: Tensor) -> Tensor:
    return size.clamp_min(torch.finfo(size.dtype).tiny)
