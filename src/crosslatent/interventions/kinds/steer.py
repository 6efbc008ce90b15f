"""Steering: a vector added to a site's output, or its part along a ray moved to a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    pass


@register_intervention("steer")
@dataclass(frozen=True, slots=True, eq=False)
class Steer(Intervention):
    """Add `alpha` times a vector, or move the part along it towards a place.

    Attributes:
        site: component and block.
        vector: float64; of length 1 where there is a place.
        alpha: how far.
        place: None to add alpha vector; else the coordinate along the vector that own values are
            moved towards: own + alpha (place - own . vector) vector.
        tokens: which tokens; by default all, generated ones too.
    """

    site: Site
    vector: Float[Tensor, " width"]
    alpha: float = 1.0
    place: float | None = None
    tokens: Tokens = ALL

    def change(self, own: Values, _back: int | None = None, /) -> Values:
        """The steered values."""
        if self.place is None:
            # Scaled in the vector's own precision.
            return own + (self.alpha * self.vector).to(own.dtype).to(own.device)
        # The difference of two projections of nearly the same size: not in half precision.
        wide = torch.promote_types(own.dtype, torch.float32)
        ray = self.vector.to(wide).to(own.device)
        missing = self.alpha * (self.place - own.to(wide) @ ray)
        return own + (missing[..., None] * ray).to(own.dtype)
