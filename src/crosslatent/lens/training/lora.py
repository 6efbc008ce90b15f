"""Low-rank adapters (LoRA, arXiv 2106.09685) on chosen blocks, in PEFT's format.

Lens trains whole blocks (arXiv 2410.04407, section 4); adapters on the same blocks are the cheap
form of it, and the only one for quantised weights, which cannot take a small step themselves.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.imports import need
from crosslatent.lens.training.processes import seeded
from crosslatent.model import Model
from crosslatent.model.adapters import WEIGHTS, quantisation_of
from crosslatent.model.folder import ADAPTER
from crosslatent.runs.files import whole_file, write_json

if TYPE_CHECKING:
    from crosslatent.lens.training.train_spec import LoraSpec

_NAME = "default"
_MARK = "lora_"
_PREFIX = "base_model.model."
"""What PEFT puts before the names of a causal LM's modules."""

_TRAINABLE = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})
_PACKERS = ("torchao", "bitsandbytes", "optimum.quanto", "hqq")


@dataclass(frozen=True, slots=True)
class Adapted:
    """A model with fresh adapters on some blocks; nothing else in it can be trained.

    Attributes:
        model: the model that was given, which computes exactly the same until a step is taken.
        parameters: of the adapters, in the model's order.
        layers: names of the linear layers that have one, in the model's order.
        left_out: matrices of these blocks that are not linear layers, such as the experts of a
            mixture that are held in one tensor; they stay as they are.
    """

    model: Model
    parameters: list[nn.Parameter] = field(repr=False)
    layers: tuple[str, ...]
    left_out: int
    _config: Any = field(repr=False)

    def state(self) -> dict[str, Tensor]:
        """The adapters' weights by PEFT's names, on the CPU."""
        return {
            _PREFIX + name.replace(f".{_NAME}.", "."): weight.detach().cpu().contiguous()
            for name, weight in _adapters(self.model)
        }

    def save(self, folder: Path, base_name: str) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors`, which PEFT can read.

        Args:
            folder: made if needed.
            base_name: folder or hub name of the model that the adapters belong to.

        Raises:
            RunFolderError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / WEIGHTS) as temporary:
            save_file(self.state(), temporary, metadata={"format": "pt"})
        write_json(folder / ADAPTER, self._described(base_name))

    def restore(self, folder: Path) -> None:
        """Take the weights that `save` wrote into a folder.

        Raises:
            OSError, KeyError, SafetensorError: they are not there, or not these adapters'.
        """
        there = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, weight in _adapters(self.model):
                weight.copy_(there[_PREFIX + name.replace(f".{_NAME}.", ".")])

    def _described(self, base_name: str) -> dict[str, Any]:
        """The content of `adapter_config.json`."""
        with TemporaryDirectory() as name:
            self._config.save_pretrained(name)
            config: dict[str, Any] = json.loads((Path(name) / ADAPTER).read_text(encoding="utf-8"))
        # PEFT shortens long lists to endings that are the same in this model; whole names tell a
        # reader more.
        return config | {
            "base_model_name_or_path": base_name,
            "inference_mode": True,
            "target_modules": list(self.layers),
        }


def add_lora(model: Model, blocks: Sequence[int], spec: LoraSpec, *, seed: int = 0) -> Adapted:
    """Put adapters on all linear layers of some blocks, and freeze everything else.

    Args:
        model: changed in place, so it is a fork (see `training.fork`) of what must stay as it is.
            Its weights are read, never written.
        blocks: which ones, counted from 0.
        spec: rank, scale (alpha / rank) and dropout, which acts in training mode only.
        seed: of the adapters' random half; the other half is zero.

    Raises:
        UsageError: no block, or one that the model does not have.
        ModelError: PEFT is not installed, the model has adapters already, or a block has no linear
            layer.
    """
    need("lens", "peft")
    chosen = _checked_blocks(model, blocks)
    layers, left_out = _linear_layers(model, chosen)
    from peft import LoraConfig, inject_adapter_in_model

    alpha: Any = spec.alpha  # PEFT says int, and divides it
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=alpha,
        lora_dropout=spec.dropout,
        target_modules=list(layers),
        fan_in_fan_out=False,
        bias="none",
        task_type="CAUSAL_LM",
    )
    training = model.hf.training
    with seeded(seed), warnings.catch_warnings():
        # Of layers that hold their weights transposed, which PEFT sees by itself.
        warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)
        inject_adapter_in_model(config, model.hf, adapter_name=_NAME)
    model.hf.train(training)
    parameters = [weight for _, weight in _adapters(model)]
    for weight in parameters:
        # Steps of the usual size are lost in half precision; the layers cast as they need.
        if weight.dtype in (torch.float16, torch.bfloat16):
            weight.data = weight.data.float()
    return Adapted(model, parameters, layers, left_out, config)


def check_weights(model: Model, *, lora: bool, blocks: Sequence[int] | None = None) -> None:
    """Refuse to train weights that no small step can change.

    Args:
        model: whose blocks are to be trained.
        lora: whether adapters are trained in their place, which is what to do then.
        blocks: which ones; None for all.

    Raises:
        ModelError: the weights are quantised (bitsandbytes, torchao, GPTQ ...), or of a type that
            is no floating-point number of 16 bits or more, and `lora` is not set.
    """
    if lora:
        return
    chosen = range(model.n_layers) if blocks is None else blocks
    unfit = (why for layer in chosen for why in _unfit(model, layer))
    method = quantisation_of(model.hf) or next(unfit, None)
    if method is not None:
        raise ModelError(
            f"The weights of {model.name!r} are quantised ({method}) and cannot be trained "
            "themselves: load the model unquantised, or train adapters (LoRA), whose folder can "
            "only be loaded here into an unquantised copy of the model."
        )


def _unfit(model: Model, layer: int) -> Iterator[str]:
    """Why weights of a block cannot be trained."""
    whole = model.blocks[layer].whole
    # Integer matrices among the buffers are where GPTQ and AWQ keep weights.
    buffers = (
        (name, value)
        for name, value in whole.named_buffers()
        if value.dim() > 1 and not value.is_floating_point() and value.dtype != torch.bool
    )
    for name, weight in (*whole.named_parameters(), *buffers):
        # torchao's weights call themselves floating-point; what they are made of is in their type.
        kind = type(weight)
        if kind not in (nn.Parameter, Tensor) and kind.__module__.startswith(_PACKERS):
            yield f"{name} of block {layer} is a {kind.__name__}"
        elif weight.dtype not in _TRAINABLE:
            yield f"{name} of block {layer} is {str(weight.dtype).removeprefix('torch.')}"


def _checked_blocks(model: Model, blocks: Sequence[int]) -> tuple[int, ...]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrong = [layer for layer in blocks if not 0 <= layer < model.n_layers]
    if wrong or not blocks:
        raise UsageError(
            f"Adapters cannot go on {f'block {wrong[0]}' if wrong else 'no block'}: name some of "
            f"0 to {model.n_layers - 1}."
        )
    if any(isinstance(module, BaseTunerLayer) for module in model.hf.modules()):
        raise ModelError(
            f"The model {model.name!r} has adapters already: merge them first "
            "(merge_and_unload), or take the model without them."
        )
    return tuple(sorted(set(blocks)))


def _linear_layers(model: Model, blocks: Sequence[int]) -> tuple[tuple[str, ...], int]:
    """Full names of the blocks' linear layers, and how many matrices are none of theirs."""
    names = {id(module): name for name, module in model.hf.named_modules()}
    layers: list[str] = []
    left_out = 0
    for layer in blocks:
        whole = model.blocks[layer].whole
        linear = [module for module in whole.modules() if isinstance(module, nn.Linear | Conv1D)]
        covered = {id(weight) for module in linear for weight in module.parameters()}
        # A stack of matrices counts each.
        others = sum(
            weight.numel() // (weight.shape[-1] * weight.shape[-2])
            for name, weight in whole.named_parameters()
            if id(weight) not in covered and weight.dim() > 1 and not name.endswith("bias")
        )
        if not linear:
            method = quantisation_of(model.hf)
            kind = "experts held in one tensor" if method is None else f"weights in {method}"
            raise ModelError(
                f"Block {layer} has no linear layer for an adapter, only {others} matrices of "
                f"another kind ({kind}): name other blocks, or use an unquantised model and train "
                "whole blocks."
            )
        left_out += others
        layers += [names[id(module)] for module in linear]
    return tuple(layers), left_out


def _adapters(model: Model) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in model.hf.named_parameters() if _MARK in name]
