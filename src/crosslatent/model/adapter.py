"""Finds the decoder blocks and their modules in a Hugging Face model, and proves them right.

The proof is a probe forward: in a block that adds its modules' outputs to the residual stream, the
block's output must equal its input + attention output + feed-forward output, up to rounding. So
nothing is guessed silently.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
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

    Raises:
        ModelError: the family is not known, or its modules do not make up the residual stream.
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
    _verify(hf, blocks)
    return blocks


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


def _verify(hf: PreTrainedModel, blocks: tuple[Block, ...]) -> None:
    parts = _probe(hf, blocks)
    for layer, (entered, attn, ffn, left) in enumerate(parts):
        if not entered.shape == attn.shape == ffn.shape == left.shape:
            raise ModelError(
                f"Block {layer}: attention gives {tuple(attn.shape)} and feed-forward "
                f"{tuple(ffn.shape)}, but the residual stream is {tuple(left.shape)}."
            )
        expected = entered.double() + attn.double() + ffn.double()
        scale = expected.abs().max().clamp_min(1.0)
        error = float((expected - left.double()).abs().max() / scale)
        if not error < _tolerance(left.dtype):
            raise ModelError(
                f"Block {layer}: input + attention + feed-forward differs from the block's output "
                f"by {error:.1e} (relative); this architecture does not add its modules directly, "
                "and is not supported yet."
            )


def _tolerance(dtype: torch.dtype) -> float:
    return 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2


def _probe(
    hf: PreTrainedModel, blocks: tuple[Block, ...]
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Per block its input, attention, feed-forward and output, each batch pos d_model."""
    seen: dict[tuple[int, str], Tensor] = {}
    handles = []

    def keep(layer: int, name: str, value: Tensor) -> None:
        # On the CPU, since not every device has the double precision that the proof takes.
        seen[layer, name] = value.detach().to("cpu", copy=True)

    for layer, block in enumerate(blocks):
        handles.append(
            block.whole.register_forward_pre_hook(
                lambda _m, args, kwargs, at=layer: keep(at, "in", block_input(args, kwargs)),
                with_kwargs=True,
            )
        )
        for name, module in (("attn", block.attn), ("ffn", block.ffn), ("out", block.whole)):
            handles.append(
                module.register_forward_hook(
                    lambda _m, _args, output, at=layer, what=name: keep(at, what, hidden_of(output))
                )
            )
    try:
        ids = (
            torch.arange(_PROBE_TOKENS, device=hf.device)[None]
            % hf.config.get_text_config().vocab_size
        )
        with torch.no_grad():
            hf(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (seen[at, "in"], seen[at, "attn"], seen[at, "ffn"], seen[at, "out"])
        for at in range(len(blocks))
    ]


def block_input(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
    """The hidden states that enter a block, from a pre-hook's arguments."""
    value = args[0] if args else kwargs["hidden_states"]
    assert isinstance(value, Tensor)
    return value
