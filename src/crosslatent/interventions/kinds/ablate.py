"""Ablation: units of a site set to zero, scaled, set to a mean, or a direction projected out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Float
from torch import Tensor

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.specs import UNITS, Component, Site, check_component, resolve_layer
from crosslatent.interventions.intervention import (
    ALL,
    LAST,
    PROMPT,
    Intervention,
    Tokens,
    Values,
    register_intervention,
)

if TYPE_CHECKING:
    from crosslatent.model import Model


EACH = "each"
_NUMBERS = r"all|each|-?\d+(?:,-?\d+)*"
_TOKENS = {"all": ALL, "prompt": PROMPT, "last": LAST}


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
        means: None for zero.
        directions: orthonormal; in place of units and means.
        tokens: which tokens; by default the last of the prompt.

    Raises:
        PairError: the scale is not finite, or there is no unit.
    """

    site: Site
    units: tuple[int, ...] | None = None
    scale: float = 0.0
    means: Float[Tensor, " width"] | None = None
    directions: Float[Tensor, "directions width"] | None = None
    tokens: Tokens = LAST

    def __post_init__(self) -> None:
        """Refuse what changes nothing, or nothing that could be computed."""
        if not math.isfinite(self.scale):
            raise PairError(f"The scale of an ablation is {self.scale}: give a finite number.")
        if self.units == ():
            raise PairError("An ablation names no unit: give one or more, or None for all.")

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

    @classmethod
    def of_text(cls, model: Model, settings: str) -> Iterator[tuple[str, tuple[Self, ...]]]:
        """``COMPONENT:LAYERS:UNITS``, maybe with ``:SCALE`` and ``@TOKENS`` after it.

        Layers and units are whole numbers separated by commas, "all" (at once), or "each" (a
        condition for every one). Tokens are "all" (of prompt and answer; the default), "prompt",
        "last", or "last3".

        Raises:
            UsageError: it is not that.
            PairError: the model has no such component, block or unit.
        """
        named, in_layers, in_units, scale, tokens, rest = _read(settings)
        component = model.check_component(check_component(named))
        for layer, layers in _choices(in_layers, model.n_layers):
            blocks = range(model.n_layers) if layers is None else layers
            count = _count(model, component, blocks[0]) if in_units == EACH else 0
            for unit, units in _choices(in_units, count):
                of = partial(cls.of, model, component, numbers=units, scale=scale, tokens=tokens)
                yield f"{component}:{layer}:{unit}{rest}", tuple(map(of, blocks))

    @property
    def about(self) -> str:
        """What it is, for people; without a full stop."""
        if self.directions is not None:
            what = f"{len(self.directions):,} directions of {self.where} projected out"
            return f"{what}, {self.tokens.about}"
        count = "All" if self.units is None else f"{len(self.units):,}"
        of = "" if self.units is None or self.site.component == "neurons" else " dimensions of"
        centre = "zero" if self.means is None else "their means"
        done = f"set to {centre}" if self.scale == 0 else f"scaled by {self.scale:g}"
        if self.scale and self.means is not None:
            done += f" around {centre}"
        return f"{count}{of} {self.where} {done}, {self.tokens.about}"

    def change(self, own: Values, _back: int | None = None, /) -> Values:
        """The ablated values."""
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


def _read(settings: str) -> tuple[str, str, str, float, Tokens, str]:
    """Component, layers, units, scale, tokens of an ablation in words, and the words after units.

    Raises:
        UsageError: it has others.
    """
    form = re.fullmatch(
        rf"(\w+):({_NUMBERS}):({_NUMBERS})((?::([-+.\w]+))?(?:@(all|prompt|last\d*))?)", settings
    )
    try:
        scale = float(form[5] or "0") if form else math.nan
    except ValueError:
        scale = math.nan
    if form is None or not math.isfinite(scale):
        raise UsageError(
            f"An ablation is {settings!r}, but COMPONENT:LAYERS:UNITS such as heads:2:0,3 or "
            "neurons:each:all belongs there, maybe with ':0.5' after it for a scale and '@last' "
            "for the last token of the prompt alone."
        )
    which = form[6] or "all"
    tokens = _TOKENS.get(which) or Tokens("last", int(which.removeprefix("last")))
    return form[1], form[2], form[3], scale, tokens, form[4]


def _choices(text: str, count: int) -> list[tuple[str, tuple[int, ...] | None]]:
    """What layers or units in words stand for, each with its label; None for all of them."""
    if text == "all":
        return [(text, None)]
    if text == EACH:
        return [(str(number), (number,)) for number in range(count)]
    return [(text, tuple(int(number) for number in text.split(",")))]


def _count(model: Model, component: Component, layer: int) -> int:
    """How many units of a component a block has."""
    if component not in UNITS:
        return model.d_model
    return model.units(component)[resolve_layer(layer, model.n_layers, "ablated")].count
