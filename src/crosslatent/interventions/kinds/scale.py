"""Scaling: every unit of a site multiplied by a factor of its own."""

from __future__ import annotations

from dataclasses import dataclass

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


@register_intervention("scale")
@dataclass(frozen=True, slots=True, eq=False)
class Scale(Intervention):
    """Multiply the units of a site, such as neurons, by factors.

    Attributes:
        site: component and block.
        factors: one for each unit; 1 leaves it as it is.
        tokens: which tokens; by default all, generated ones too.
    """

    site: Site
    factors: Float[Tensor, " width"]
    tokens: Tokens = ALL

    @property
    def about(self) -> str:
        """What it is, for people; without a full stop."""
        count = int((self.factors != 1).sum())
        return (
            f"{count:,} units of {self.where} scaled by factors of their own, {self.tokens.about}"
        )

    def change(self, own: Values, _back: int | None = None, /) -> Values:
        """The scaled values."""
        return own * self.factors.to(own)
