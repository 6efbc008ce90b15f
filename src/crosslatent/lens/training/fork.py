"""A model whose trained blocks are its own, and that shares every other weight with the original.

The released training of Lens (arXiv 2410.04407) holds two whole models. Here a second one costs
its trained blocks alone; the original is never written to.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from crosslatent.core.errors import ModelError
from crosslatent.model import Model
from crosslatent.model.blocks import Block
from crosslatent.model.model import identity_of

HALF = (torch.float16, torch.bfloat16)


def fork(model: Model, blocks: Sequence[int]) -> Model:
    """Copy a model so that only some blocks have weights of their own.

    Shared weights are the same memory under new parameters that want no gradient, so that freezing
    them leaves the original's flags alone. Modules, configuration and hooks are copies.

    Args:
        model: left exactly as it is.
        blocks: which blocks get weights of their own, counted from 0; may be empty.

    Returns:
        A model that computes the same; parameters of `blocks` want a gradient, if they can.

    Raises:
        ModelError: weights are spread over several devices, or kept on a disk.
    """
    devices = {weight.device for weight in model.hf.parameters()}
    if len(devices) > 1 or any(device.type == "meta" for device in devices):
        raise ModelError(
            f"The weights of {model.name} are in several places "
            f"({', '.join(sorted(map(str, devices)))}), and training needs them on one device: "
            "load the model with another --device."
        )
    own = {id(weight) for block in blocks for weight in model.blocks[block].whole.parameters()}
    memo: dict[int, Any] = {}
    for weight in model.hf.parameters():
        if id(weight) not in own:
            memo[id(weight)] = _view(weight)
    buffers = {id(value): value for value in _frozen_buffers(model, blocks)}
    hf = copy.deepcopy(model.hf, memo | buffers)
    names = {id(module): name for name, module in model.hf.named_modules()}

    def same(module: nn.Module) -> nn.Module:
        return hf.get_submodule(names[id(module)])

    def parts(block: Block) -> dict[str, Any]:
        values = {each.name: getattr(block, each.name) for each in fields(block)}
        return {
            name: same(value) if isinstance(value, nn.Module) else value
            for name, value in values.items()
        } | {"flat": frozenset(map(same, block.flat))}

    found = tuple(replace(block, **parts(block)) for block in model.blocks)
    for block in blocks:
        for weight in found[block].whole.parameters():
            weight.requires_grad_(weight.is_floating_point())
            weight.grad = None
    return replace(model, hf=hf, blocks=found)


def parameters_of(model: Model, blocks: Sequence[int]) -> dict[str, nn.Parameter]:
    """The parameters of some blocks, by their names in the model."""
    inside = {id(weight) for block in blocks for weight in model.blocks[block].whole.parameters()}
    named = model.hf.named_parameters()
    return {name: weight for name, weight in named if id(weight) in inside}


def make_masters(parameters: Sequence[nn.Parameter]) -> None:
    """Keep weights in float32 while they are trained: small steps are lost in half precision."""
    for weight in parameters:
        if weight.dtype in HALF:
            weight.data = weight.data.float()


def round_off(tuned: Mapping[str, nn.Parameter], like: Mapping[str, nn.Parameter]) -> float:
    """Round trained weights to the original's dtype, without leaving the one they are kept in.

    Args:
        tuned: trained weights by name, changed in place.
        like: the original's, by the same names.

    Returns:
        The share of the change that is lost: norm of the rounding error by norm of the change, over
        all weights together; 0 where nothing has changed.
    """
    error = change = 0.0
    for name, weight in tuned.items():
        trained = weight.detach()
        rounded = trained.to(like[name].dtype).to(trained.dtype)
        error += float(torch.linalg.vector_norm((rounded - trained).float())) ** 2
        change += float(torch.linalg.vector_norm((trained - like[name].detach()).float())) ** 2
        weight.data = rounded
    return (error / change) ** 0.5 if change else 0.0


def settle(tuned: Model, like: Model, name: str, *, widen: bool = False) -> Model:
    """The trained model as any other: one dtype, the original's mode and flags, its own identity.

    Args:
        tuned: a fork of `like`, after training.
        like: the original.
        name: what to call the trained model.
        widen: bring everything in half precision to float32, so that nothing that was trained is
            lost; weights that were shared with the original are then copies. Else trained weights
            are rounded to the original's dtype.
    """
    flags = dict(like.hf.named_parameters())
    for key, weight in tuned.hf.named_parameters():
        weight.grad = None
        if key in flags:
            if weight.is_floating_point() and not widen:
                weight.data = weight.data.to(flags[key].dtype)
            weight.requires_grad_(flags[key].requires_grad)
    if widen:
        _widen(tuned)
    tuned.hf.train(False)
    return replace(tuned, name=name, identity=identity_of(tuned.hf, tuned.tokenizer))


def _widen(model: Model) -> None:
    """Bring what is in half precision to float32; nothing that is shared is written to."""
    for weight in model.hf.parameters():
        if type(weight) is nn.Parameter and weight.dtype in HALF:
            weight.data = weight.data.float()
    for module in model.hf.modules():
        for name, value in module.named_buffers(recurse=False):
            if value.dtype in HALF:
                setattr(module, name, value.float())
    model.hf.config.dtype = torch.float32


def _view(weight: nn.Parameter) -> nn.Parameter:
    # Other kinds (bitsandbytes, torchao) carry more than a tensor, and want no gradient anyway.
    if type(weight) is not nn.Parameter:
        return weight
    return nn.Parameter(weight.detach(), requires_grad=False)


def _frozen_buffers(model: Model, blocks: Sequence[int]) -> Iterator[Tensor]:
    """Buffers outside the trained blocks."""
    inside = {id(value) for block in blocks for value in model.blocks[block].whole.buffers()}
    for value in model.hf.buffers():
        if id(value) not in inside:
            yield value
