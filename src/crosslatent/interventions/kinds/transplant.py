"""A transplant: a vector from another forward in the place of a site's output.

XTransplant, arXiv 2412.12686, 3.1; docs/methods.md, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Float
from torch import Tensor

from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import (
    Change,
    Intervention,
    Tokens,
    Values,
    register_intervention,
)

if TYPE_CHECKING:
    pass


@register_intervention("transplant")
@dataclass(frozen=True, slots=True, eq=False)
class Transplant(Intervention):
    """Put `vector` in the place of `site`'s output at the end of the prompt.

    Attributes:
        site: component and block.
        vector: of the last real token; or one for each of the last positions, the last token's
            last.
        strength: alpha in own + alpha * (vector - own); 1 is the paper's replacement.
        tokens: the prompt's last ones.
    """

    site: Site
    vector: Float[Tensor, "*positions width"]
    strength: float = 1.0
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        """As many of the prompt's last tokens as there are vectors."""
        count = 1 if self.vector.dim() == 1 else self.vector.shape[0]
        object.__setattr__(self, "tokens", Tokens("last", count))

    def change(self, own: Values, back: int | None = None, /) -> Values:
        """The vector of one token, or what lies on the way to it."""
        return blend(own, self.vector_at(back).expand_as(own), self.strength)

    @classmethod
    def together(cls, members: Sequence[Self], back: int) -> Change:
        """Several rows with vectors of their own in one step."""
        vectors = torch.stack([each.vector_at(back) for each in members])
        strengths = [each.strength for each in members]
        same = len(set(strengths)) == 1
        strength = strengths[0] if same else torch.tensor(strengths)
        return lambda own: blend(own, vectors, strength)

    def in_float32(self) -> Self:
        """The same with its vector in float32."""
        return replace(self, vector=self.vector.float())

    def vector_at(self, back: int | None) -> Float[Tensor, " width"]:
        """The vector of one token, counted back from the last."""
        return self.vector if self.vector.dim() == 1 else self.vector[-1 - (back or 0)]


def blend(own: Values, vector: Values, strength: float | Float[Tensor, " tokens"]) -> Values:
    """Blend: own + strength * (vector - own); exactly `vector` at strength 1.

    Args:
        own: the site's own values.
        vector: in any dtype, on any device.
        strength: one number, or one for each token.
    """
    vector = vector.to(own)
    if not isinstance(strength, Tensor):
        return vector if strength == 1 else own + strength * (vector - own)
    alpha = strength.to(own)[:, None]
    return torch.where(alpha == 1.0, vector, own + alpha * (vector - own))
