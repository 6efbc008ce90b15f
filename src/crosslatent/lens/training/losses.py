"""The losses of Lens (arXiv 2410.04407, section 3.2; docs/methods.md, 7.2).

For a layer, with ``h`` the state of a text's last token, ``ref`` the untouched model, ``c`` the
central language and ``l`` a target language::

    align     |P_a h_c - P_a h_l|^2                            what is shared comes together
    separate  |(P_s h_l - P_s h_l^ref) - lambda_l D_l|^2       the target moves to its own place
    retain    |mean_t h_c - mean_t h_c^ref|^2                  the central language stays

Every square is a mean over elements. Projections go through the bases, never through a d_model by
d_model matrix: P_a h has one coordinate, so |P_a x|^2 = (u.x)^2 with u = M_a / |M_a|; M_s is
orthonormal, so |P_s x|^2 = |M_s^T x|^2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosslatent.core.specs import Layer
from crosslatent.lens.space import Space

ALIGN, SEPARATE, RETAIN = ("align", "separate", "retain")

States = Float[Tensor, "rows d_model"]


@dataclass(frozen=True, slots=True)
class Projections:
    """The subspaces of one layer as tensors, float32 by default.

    Attributes:
        shared: unit vector along M_a.
        specific: M_s.
        shifts: by target language lambda_l D_l in the basis `specific`.
    """

    shared: Float[Tensor, " d_model"]
    specific: Float[Tensor, "d_model rank"]
    shifts: Mapping[str, Float[Tensor, " rank"]]

    def align(self, central: States, target: States) -> Float[Tensor, ""]:
        """Sum over rows of |P_a h_c - P_a h_l|^2 / d_model."""
        apart = (central - target) @ self.shared
        return apart.square().sum() / central.shape[-1]

    def separate(self, target: States, reference: States, lang: str) -> Float[Tensor, ""]:
        """Sum over rows of |P_s (h_l - h_l^ref) - lambda_l D_l|^2 / d_model."""
        moved = (target - reference) @ self.specific - self.shifts[lang]
        return moved.square().sum() / target.shape[-1]


def retain(central: States, reference: States) -> Float[Tensor, ""]:
    """Sum over rows of |mean_t h_c - mean_t h_c^ref|^2 / d_model."""
    return (central - reference).square().sum() / central.shape[-1]


def projections(
    space: Space,
    layers: Sequence[Layer],
    languages: Sequence[str],
    strength: Callable[[str], float],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[Layer, Projections]:
    """The subspaces of some layers as tensors.

    Args:
        space: the language subspaces.
        layers: which layers.
        languages: the target languages.
        strength: lambda_l of a language.
        device: where to put them.
        dtype: of the tensors.
    """

    def tensor(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    found: dict[Layer, Projections] = {}
    for layer in layers:
        subspace = space.at(layer)
        shifts = {
            lang: tensor(strength(lang) * subspace.coordinates(subspace.direction(lang)))
            for lang in languages
        }
        shared = subspace.agnostic / np.linalg.norm(subspace.agnostic)
        found[layer] = Projections(tensor(shared), tensor(subspace.specific), shifts)
    return found


def last_token(states: Float[Tensor, "rows pos d_model"], lengths: Int[Tensor, " rows"]) -> States:
    """States of the last real tokens of right-padded texts."""
    return states[torch.arange(len(states), device=states.device), lengths - 1]


def token_mean(states: Float[Tensor, "rows pos d_model"], lengths: Int[Tensor, " rows"]) -> States:
    """Mean state of the real tokens of right-padded texts.

    Summed in float32 or more. Padding is replaced, not multiplied by 0: anything may be there.
    """
    dtype = torch.promote_types(states.dtype, torch.float32)
    columns = torch.arange(states.shape[1], device=states.device)
    real = states.masked_fill((columns >= lengths[:, None])[..., None], 0.0)
    return real.sum(1, dtype=dtype) / lengths[:, None].to(dtype)
