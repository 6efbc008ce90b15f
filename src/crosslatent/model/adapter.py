"""Finds the decoder blocks and their modules in a Hugging Face model, and proves them right.

The proof is a probe forward: in a block that adds its modules' outputs to the residual stream, the
block's output must equal its input + attention output + feed-forward output, up to rounding. Where
the family names a norm after a module, the norm must receive what the module returns, and its
output counts in the sum. A second forward checks that no token changes what comes before it. So
nothing is guessed silently.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from crosslatent.errors import ModelError
from crosslatent.model.families import FAMILIES, Family

_PROBE_TOKENS = 3


@dataclass(frozen=True, slots=True)
class Block:
    """One decoder block and the two modules in it that write to the residual stream."""

    whole: nn.Module
    attn: nn.Module
    ffn: nn.Module


def hidden_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states in a module's output, which is a tensor or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output


def with_hidden(output: Tensor | tuple[Tensor, ...], hidden: Tensor) -> Tensor | tuple[Tensor, ...]:
    """The same module output with `hidden` in the place of its hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def resolve(hf: PreTrainedModel) -> tuple[Block, ...]:
    """Return the decoder blocks of `hf`, verified by a probe forward.

    Makes a model with soft-capped attention use an implementation that applies the caps.

    Raises:
        ModelError: the family is not known, its modules do not make up the residual stream, or it
            is not causal.
    """
    family = _family_of(hf)
    blocks = tuple(
        Block(whole, whole.get_submodule(family.attn), whole.get_submodule(family.ffn))
        for whole in _block_list(hf, family)
    )
    expected = hf.config.get_text_config().num_hidden_layers
    if len(blocks) != expected:
        raise ModelError(
            f"Found {len(blocks)} decoder blocks at {family.blocks!r}, but the config says "
            f"num_hidden_layers = {expected}: give a model whose blocks are all in that list."
        )
    _keep_soft_caps(hf)
    _verify(hf, blocks, family)
    _verify_causal(hf)
    return blocks


def input_device(hf: PreTrainedModel) -> torch.device:
    """Where token ids go: the device of the embeddings."""
    embeddings = hf.get_input_embeddings()
    weight = embeddings.weight
    assert isinstance(weight, Tensor)
    if weight.device.type == "meta":  # kept elsewhere until it is used; accelerate knows where to
        return torch.device(getattr(embeddings, "_hf_hook").execution_device)  # noqa: B009
    return weight.device


def _family_of(hf: PreTrainedModel) -> Family:
    model_type = hf.config.model_type
    if model_type not in FAMILIES:
        raise ModelError(
            f"The model type {model_type!r} ({type(hf).__name__}) is not supported yet: "
            f"use a model of type {', '.join(FAMILIES)}."
        )
    return FAMILIES[model_type]


def _block_list(hf: PreTrainedModel, family: Family) -> nn.ModuleList:
    try:
        blocks = hf.get_submodule(family.blocks)
    except AttributeError as error:
        raise ModelError(
            f"{type(hf).__name__} has no {family.blocks!r}: load it as a causal language model."
        ) from error
    if not isinstance(blocks, nn.ModuleList):
        raise ModelError(
            f"{family.blocks!r} is a {type(blocks).__name__}, not a list of decoder blocks."
        )
    return blocks


def _keep_soft_caps(hf: PreTrainedModel) -> None:
    # Some versions of transformers choose sdpa for these models, which leaves the caps out without
    # a word; later ones choose eager, so this gives the same numbers with all of them.
    config = hf.config.get_text_config()
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    if capped and getattr(config, "_attn_implementation", None) == "sdpa":
        hf.set_attn_implementation("eager")


def _verify(hf: PreTrainedModel, blocks: tuple[Block, ...], family: Family) -> None:
    for layer, seen in enumerate(_probe(hf, blocks, family)):
        attn, ffn, stream = (part.shape for part in (seen.attn.output, seen.ffn.output, seen.left))
        if not seen.entered.shape == attn == ffn == stream:
            raise ModelError(
                f"Block {layer}: attention gives {tuple(attn)} and feed-forward {tuple(ffn)}, "
                f"but the residual stream is {tuple(stream)}."
            )
        for norm, part in ((family.attn_norm, seen.attn), (family.ffn_norm, seen.ffn)):
            error = _difference(part.output, part.handed_on)
            if not error < _tolerance(part.output.dtype):
                raise ModelError(
                    f"Block {layer}: {norm!r} does not receive the output of the module before it "
                    f"(they differ by {error:.1e}, relative); this architecture is not supported "
                    "yet."
                )
        error = _difference(seen.sum_of_parts(), seen.left)
        if not error < _tolerance(seen.left.dtype):
            raise ModelError(
                f"Block {layer}: input + attention + feed-forward differs from the block's output "
                f"by {error:.1e} (relative); this architecture does not add its modules directly, "
                "and is not supported yet."
            )


def _difference(expected: Tensor, value: Tensor) -> float:
    """Largest difference, relative to the largest expected value (or 1, if that is more)."""
    if expected.shape != value.shape:
        return float("inf")
    scale = expected.double().abs().max().clamp_min(1.0)
    return float((expected.double() - value.double()).abs().max() / scale)


def _tolerance(dtype: torch.dtype) -> float:
    return 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2


@dataclass(frozen=True, slots=True)
class _Written:
    """What one module did in the probe, each batch pos d_model.

    Attributes:
        output: what it returned.
        handed_on: what the norm after it received; the output itself where there is no norm.
        added: what was added to the residual stream.
    """

    output: Tensor
    handed_on: Tensor
    added: Tensor


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the probe saw of one block: its input, its two modules, and its output."""

    entered: Tensor
    attn: _Written
    ffn: _Written
    left: Tensor

    def sum_of_parts(self) -> Tensor:
        """What the block's output must be."""
        return self.entered.double() + self.attn.added.double() + self.ffn.added.double()


def _probe(hf: PreTrainedModel, blocks: tuple[Block, ...], family: Family) -> list[_Seen]:
    trace = _Trace()
    names = [name for name in (family.attn_norm, family.ffn_norm) if name is not None]
    with ExitStack() as hooks:
        for block in blocks:
            norms = [block.whole.get_submodule(name) for name in names]
            for module in (block.whole, *norms):
                hooks.callback(trace.watch_input(module).remove)
            for module in (block.whole, block.attn, block.ffn, *norms):
                hooks.callback(trace.watch_output(module).remove)
        _forward(hf)
    return [
        _Seen(
            trace.entered[block.whole],
            trace.written(block, block.attn, family.attn_norm),
            trace.written(block, block.ffn, family.ffn_norm),
            trace.left[block.whole],
        )
        for block in blocks
    ]


class _Trace:
    """What goes into modules and what comes out of them in one forward.

    Kept as copies, since some blocks go on to add to a module's output in place; on the CPU, since
    not every device has the double precision that the proof takes.
    """

    def __init__(self) -> None:
        self.entered: dict[nn.Module, Tensor] = {}
        self.left: dict[nn.Module, Tensor] = {}

    def watch_input(self, module: nn.Module) -> RemovableHandle:
        def keep(_module: nn.Module, args: Any, kwargs: Any) -> None:
            self.entered[module] = _copy(block_input(args, kwargs))

        return module.register_forward_pre_hook(keep, with_kwargs=True)

    def watch_output(self, module: nn.Module) -> RemovableHandle:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            self.left[module] = _copy(hidden_of(output))

        return module.register_forward_hook(keep)

    def written(self, block: Block, module: nn.Module, norm: str | None) -> _Written:
        output = self.left[module]
        if norm is None:
            return _Written(output, output, output)
        after = block.whole.get_submodule(norm)
        return _Written(output, self.entered[after], self.left[after])


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True)


def _verify_causal(hf: PreTrainedModel) -> None:
    # Some families have forms that read in both directions (text encoders made of decoders). Rows
    # could not share a prefix there, and chunks would change the numbers.
    first, second = (_copy(_forward(hf, last=last)[:, :-1]) for last in (0, 1))
    error = _difference(first, second)
    if not error < _tolerance(first.dtype):
        raise ModelError(
            f"{type(hf).__name__} is not causal: another last token changes what comes before it "
            f"by {error:.1e} (relative); use a model that reads from left to right."
        )


def _forward(hf: PreTrainedModel, last: int = 0) -> Tensor:
    """Final states of the probe's tokens, batch pos d_model; `last` picks another last token.

    Without the head, which may be large and not even in memory yet, and mixes no positions.
    """
    ids = torch.arange(_PROBE_TOKENS, device=input_device(hf))[None]
    ids[:, -1] += last
    with torch.no_grad():
        decoder: Any = hf.base_model
        out = decoder(input_ids=ids % hf.config.get_text_config().vocab_size, use_cache=False)
    return hidden_of(out[0])


def block_input(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
    """The hidden states that enter a block, from a pre-hook's arguments."""
    value = args[0] if args else kwargs["hidden_states"]
    assert isinstance(value, Tensor)
    return value
