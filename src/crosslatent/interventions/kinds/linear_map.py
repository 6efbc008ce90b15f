"""A linear map of a site's output, added to it (INCLINE, arXiv 2410.12462)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import (
    LAST,
    Intervention,
    Tokens,
    Values,
    register_intervention,
)


@register_intervention("linear_map")
@dataclass(frozen=True, slots=True, eq=False)
class LinearMap(Intervention):
    """Add `alpha` W h to a site's value h, with W = out^T into.

    A map that was fitted on fewer texts than the width has a thin form: W itself, width by width,
    need not be made.

    Attributes:
        site: component and block.
        into: inner by width; None for the identity.
        out: inner by width; None for the identity, so that `into` alone is W.
        alpha: how far; 0 changes nothing.
        tokens: which tokens; by default the last of the prompt.
    """

    site: Site
    into: Float[Tensor, "inner width"] | None
    out: Float[Tensor, "inner width"] | None = None
    alpha: float = 1.0
    tokens: Tokens = LAST

    @property
    def about(self) -> str:
        """What it is, for people; without a full stop."""
        return f"{self.alpha:g} times a linear map added to {self.where}, {self.tokens.about}"

    def mapped(self, own: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
        """W h, in float32 at least."""
        wide = torch.promote_types(own.dtype, torch.float32)
        values = own.to(wide)
        if self.into is not None:
            values = values @ self.into.to(wide).to(own.device).T
        if self.out is not None:
            values = values @ self.out.to(wide).to(own.device)
        return values

    def change(self, own: Values, _back: int | None = None, /) -> Values:
        """The values with their image added."""
        return own + (self.alpha * self.mapped(own)).to(own.dtype)
