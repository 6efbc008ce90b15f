"""Ablation: units of a site set to zero, scaled, set to a mean, or a direction projected out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from crosslatent.core.errors import PairError
from crosslatent.core.specs import UNITS, Site, check_component, resolve_layer
from crosslatent.interventions.intervention import LAST, Intervention, Tokens
from crosslatent.interventions.registry import register_intervention

if TYPE_CHECKING:
    from crosslatent.model import Model


@register_intervention("ablate")
@dataclass(frozen=True, slots=True, eq=False)
class Ablate(Intervention):
    """Scale the chosen units of a site, or all of them, towards a value.

    With v the site's value at one token and u the chosen units: v[u] becomes scale v[u], or
    means[u] + scale (v[u] - means[u]) with means. So scale 0 sets them to zero, or to their mean;
    2 doubles them, or their distance from it. With directions, v becomes v - (1 - scale) P v,
    with P the projection onto the span of the directions.

    Attributes:
        site: component and block.
        units: of the site's width, such as neurons or the dimensions of a head; None for all.
        scale: what is left; 0 removes.
        means: width; None for zero.
        directions: k width, orthonormal; in place of units and means.
        tokens: which tokens; by default the last of the prompt.
    """

    site: Site
    units: tuple[int, ...] | None = None
    scale: float = 0.0
    means: Tensor | None = None
    directions: Tensor | None = None
    tokens: Tokens = LAST

    @classmethod
    def of(
        cls,
        model: Model,
        component: str,
        layer: int,
        numbers: Sequence[int] | None = None,
        *,
        scale: float = 0.0,
        tokens: Tokens = LAST,
    ) -> Self:
        """Neurons, heads or dimensions of one block of a model.

        Args:
            model: the model.
            component: one of `core.specs.COMPONENTS`, "neurons" or "heads".
            layer: the block; -1 is the last.
            numbers: which neurons, heads or dimensions, from 0; None for all.
            scale: what is left of them; 0 removes.
            tokens: which tokens.

        Raises:
            PairError: the model has no such component, block, neuron or head.
        """
        kind = model.check_component(check_component(component))
        block = resolve_layer(layer, model.n_layers, "ablated")
        if numbers is None:
            return cls(Site(kind, block), scale=scale, tokens=tokens)
        if kind in UNITS:
            units = model.units(kind)[block]
            places = [place for number in numbers for place in units.places(number)]
        else:
            places = list(numbers)
            if beyond := [place for place in places if not 0 <= place < model.d_model]:
                raise PairError(
                    f"There is no dimension {beyond[0]}: {kind} has {model.d_model}, so use 0 to "
                    f"{model.d_model - 1}."
                )
        return cls(Site(kind, block), tuple(sorted(set(places))), scale, tokens=tokens)

    def change(self, own: Tensor, _back: int | None = None, /) -> Tensor:
        """The ablated values, rows width."""
        if self.directions is not None:
            wide = torch.promote_types(own.dtype, torch.float32)
            basis = self.directions.to(wide).to(own.device)
            along = (own.to(wide) @ basis.T) @ basis
            return own - ((1 - self.scale) * along).to(own.dtype)
        centre = torch.zeros_like(own) if self.means is None else self.means.to(own).expand_as(own)
        # A copy: models may add to what they get in place.
        scaled = centre + self.scale * (own - centre) if self.scale else centre.clone()
        if self.units is None:
            return scaled
        index = torch.tensor(self.units, device=own.device)
        changed = own.clone()
        changed[..., index] = scaled[..., index]
        return changed
