"""`steered`: language directions added to the residual stream while the model runs, no training.

The baseline and the ablation of Lens (arXiv 2410.04407): the same directions that training pushes
states along, used at inference. Formulas: docs/methods.md, 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import Layer, Site, resolve_layer
from crosslatent.core.subspace import Subspace
from crosslatent.interventions.kinds.steer import Steer
from crosslatent.interventions.patched import everywhere
from crosslatent.lens.compatibility import check_shape
from crosslatent.lens.space import Space
from crosslatent.model import Model

Part = Literal["direction", "agnostic"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class Steering:
    """What is added to the outputs of blocks.

    With h the output of a block at one token, H_c the central language's mean state there, D_l the
    direction of `lang` and P_a the projection onto the agnostic direction:

    - ``direction``: h + alpha D_l, towards the language; with a negative alpha, towards the central
      one. For the central language D is zero, and nothing happens.
    - ``agnostic``: h + alpha P_a (H_c - h), what all languages share moved to where the central
      language has it. It is the same for every language.

    Attributes:
        lang: the language that is steered towards.
        alpha: how far; 0 changes nothing.
        layers: blocks whose outputs are changed, from 0; -1 is the last.
        part: ``direction`` or ``agnostic``.

    Raises:
        UsageError: alpha is not finite, there is no layer, one is "final", or the part is unknown.
    """

    lang: str
    alpha: float
    layers: tuple[Layer, ...]
    part: Part = "direction"

    def __post_init__(self) -> None:
        """Refuse what no model could do."""
        if not math.isfinite(self.alpha):
            raise UsageError(f"The strength of steering is {self.alpha}: give a finite number.")
        if self.part not in PARTS:
            raise UsageError(f"Unknown part {self.part!r} to steer: use one of {', '.join(PARTS)}.")
        if not self.layers:
            raise UsageError("Steering names no layer: give one block or more, such as 0.")
        for layer in self.layers:
            if not isinstance(layer, int):
                raise UsageError(
                    f"Steering changes outputs of blocks, and {layer!r} is none: give a number, "
                    "such as -1 for the last block."
                )


@contextmanager
def steered(model: Model, space: Space, steering: Steering) -> Iterator[None]:
    """While open, every forward of the model is steered, at every token of prompts and answers.

    It works under whatever runs the model: `model.hf.generate`, the oracle, the engine on all its
    paths, sweeps. Padding is steered as well, but no token attends to it. With a transplant, the
    context opened first acts first: ``with steered(...), patched(...)`` replaces the steered
    output by the vector. Vectors captured while it is open are those of the steered model; capture
    them before if they are to come from the unmodified one. Every forward of ``model.hf`` runs in
    evaluation mode, whatever its mode. Hooks are gone on leaving, after an exception too.

    Args:
        model: the model.
        space: its language subspaces.
        steering: language, strength, layers.

    Raises:
        SpaceError: the space does not have the model's blocks and width, or not the language.
        PairError: the model has no such block.
        UsageError: a block is named twice.
    """
    with everywhere(model, interventions_of(model, space, steering)):
        yield


def interventions_of(model: Model, space: Space, steering: Steering) -> tuple[Steer, ...]:
    """One intervention for each block whose output changes.

    Raises:
        SpaceError, PairError, UsageError: see `steered`.
    """
    check_shape(model, space)
    space.final.mean(steering.lang)  # the language is known
    # Steering has only numbers as layers.
    layers = [resolve_layer(int(layer), model.n_layers, "steered") for layer in steering.layers]
    for number, layer in enumerate(layers):
        if layer in layers[:number]:
            raise UsageError(f"Steering names block {layer} more than once: name it once.")
    steers = (_steer(Site("block", layer), space.blocks[layer], steering) for layer in layers)
    return tuple(steer for steer in steers if steer is not None)


def _steer(site: Site, subspace: Subspace, steering: Steering) -> Steer | None:
    # Adding zeros would still turn -0.0 into 0.0: what changes nothing gets no hook.
    direction = subspace.direction(steering.lang)
    if steering.alpha == 0 or (steering.part == "direction" and not direction.any()):
        return None
    if steering.part == "direction":
        return Steer(site, torch.from_numpy(direction), steering.alpha)
    unit = subspace.agnostic / np.linalg.norm(subspace.agnostic)
    target = float(unit @ subspace.mean(subspace.central))
    return Steer(site, torch.from_numpy(unit), steering.alpha, target)
