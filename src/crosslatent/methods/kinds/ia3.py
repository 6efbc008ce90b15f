"""`ia3`: learnt scales of keys, values and what enters the last projection of feed-forwards.

Which modules these are is not looked up by family but seen in one short forward: what gives the
keys and values of the cache, and the matrix that `model.units` proves to end the feed-forward.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.pytorch_utils import Conv1D

from crosslatent.core.errors import CrosslatentError, ModelError
from crosslatent.methods.method import Bench, Settings, Way, register_method
from crosslatent.methods.tuning import Tuning, Weights, floats
from crosslatent.model import caches, encode_batch
from crosslatent.model.modes import answering

if TYPE_CHECKING:
    from crosslatent.model import Model


@register_method("ia3")
class ScaledActivations(Tuning):
    """IA3 (arXiv 2205.05638): keys, values and inner feed-forward activations times a vector."""

    title = "IA3"
    about = "Learnt scales of keys, values and feed-forward neurons, trained on pilot questions."
    source = "arXiv 2205.05638"
    rates = (1e-2, 5e-3)
    epochs = 5

    def refusal(self, bench: Bench) -> str:
        """As ever, or modules that cannot be found."""
        known = super().refusal(bench)
        if known:
            return known
        try:
            _scaled(bench.model)
        except CrosslatentError as error:
            return str(error)
        return ""

    def put(self, model: Model, seed: int, held: ExitStack, /) -> Weights:
        """Put scales into the modules, all of them 1: nothing is drawn."""
        from peft import IA3Config, inject_adapter_in_model

        del seed, held
        scaled = _scaled(model)
        turned = any(isinstance(one, Conv1D) for one in model.hf.modules())
        config = IA3Config(
            task_type="CAUSAL_LM",
            target_modules=[*scaled.heads, *scaled.neurons],
            feedforward_modules=list(scaled.neurons),
            fan_in_fan_out=turned,
        )
        with warnings.catch_warnings():
            # Of layers that hold their weights transposed, which PEFT sees by itself.
            warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)
            inject_adapter_in_model(config, model.hf)
        return floats(model.hf, "ia3_")

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """As ever; says which modules are scaled."""
        way = super().fit(bench, langs, settings, seed)
        scaled = _scaled(bench.model)
        first, inner = (_in_block(names, bench.model) for names in (scaled.heads, scaled.neurons))
        way.notes = (f"scales the outputs of {first} and the inputs of {inner}",)
        return way


class _Scaled(NamedTuple):
    """Full names of modules: what gives keys and values, and what ends feed-forwards."""

    heads: tuple[str, ...]
    neurons: tuple[str, ...]


def _scaled(model: Model) -> _Scaled:
    """The modules of IA3.

    Raises:
        PairError: no single matrix ends the feed-forward of a block.
        ModelError: no matrix gives the keys and values of a block.
    """
    names = {id(module): name for name, module in model.hf.named_modules()}
    neurons = tuple(names[id(units.projection)] for units in model.units("neurons"))
    return _Scaled(tuple(names[id(one)] for one in _keys_and_values(model)), neurons)


def _keys_and_values(model: Model) -> list[nn.Module]:
    """The matrices of blocks on which keys and values in the cache depend directly.

    A matrix that gives queries too (one for all three) is among them; scaling both has the same
    effect as scaling keys more.
    """
    leaves: dict[nn.Module, Tensor] = {}
    blocks = list(enumerate(model.blocks))

    def cut(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        leaves[module] = output.detach().requires_grad_(True)
        return leaves[module].clone()  # some blocks add to it in place

    cache = DynamicCache(config=model.hf.config)
    with ExitStack() as hooks, answering(model.hf, gradients=True):
        for _, block in blocks:
            for module in _matrices(block.whole):
                hooks.callback(module.register_forward_hook(cut).remove)
        ((_, inputs),) = encode_batch(model, [(0, 1)]).parts()
        caches.forward(model.hf, inputs, cache)
        giving = [list(_giving(cache, layer, leaves, block.whole)) for layer, block in blocks]
    silent = next((layer for layer, modules in enumerate(giving) if not modules), None)
    if silent is not None:
        raise ModelError(
            f"Block {silent} of {type(model.hf).__name__} has no matrix that gives the keys and "
            "values of its cache, so IA3 has nothing to scale there: use another method."
        )
    return list(chain.from_iterable(giving))


def _giving(
    cache: DynamicCache, layer: int, leaves: dict[nn.Module, Tensor], whole: nn.Module
) -> Iterator[nn.Module]:
    """The matrices of a block on whose outputs its keys or values depend directly."""
    own = [module for module in _matrices(whole) if module in leaves]
    kept: Any = cache.layers[layer] if layer < len(cache.layers) else None
    parts: tuple[Any, ...] = () if kept is None else (kept.keys, kept.values)
    sums = [part.float().sum() for part in parts if getattr(part, "requires_grad", False)]
    if not own or not sums:
        return
    total = torch.stack(sums).sum()
    slopes = torch.autograd.grad(total, [leaves[one] for one in own], allow_unused=True)
    found: list[Any] = list(slopes)
    yield from (one for one, slope in zip(own, found, strict=True) if slope is not None)


def _matrices(module: nn.Module) -> list[nn.Module]:
    return [each for each in module.modules() if isinstance(each, nn.Linear | Conv1D)]


def _in_block(names: Sequence[str], model: Model) -> str:
    """Names without those of the blocks, each once."""
    blocks = {id(block.whole) for block in model.blocks}
    paths = [f"{name}." for name, module in model.hf.named_modules() if id(module) in blocks]
    short = (name.removeprefix(path) for name in names for path in paths if name.startswith(path))
    return ", ".join(dict.fromkeys(short))
