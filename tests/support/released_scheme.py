"""A plain re-creation of what the released XTransplant scripts compute, as a reference for tests.

Source: XTransplant (arXiv 2412.12686) and its released scripts. They replace ``self_attn`` and
``mlp`` of decoder blocks by wrappers that keep the module's output, and put what was kept at the
last token of the auxiliary prompt in place of the output of another block's module at the last
token of the main prompt, in the first forward pass only.

The attention wrapper keeps a reference, and the residual is added to that same tensor in place:
what is stored, and so transplanted, is attention output + the residual that entered the block.
It still replaces the attention output alone, so the residual of the main prompt is added after
it. The feed-forward wrapper stores what the module returns, as the paper says. Components:

- ``attn_residual``: attention as released, the residual included in what is stored;
- ``attn``: attention as the paper defines it, the module's output alone;
- ``ffn``: feed-forward, the same in the paper and in the scripts;
- ``block``: the whole output of a block replaces the whole output of another.

Written for the sequential pre-norm blocks of Llama, Mistral, Qwen2 and Qwen3 in transformers 5.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

COMPONENTS = ("attn_residual", "attn", "ffn", "block")


class Wrapper(nn.Module):
    """Stands in for a module: keeps its output, after replacing the last token's if asked to."""

    def __init__(self, original: nn.Module, replacement: Tensor | None) -> None:
        super().__init__()
        self.original = original
        # Some versions of transformers read this from a block to choose its attention mask.
        self.attention_type = getattr(original, "attention_type", None)
        self.replacement = replacement
        self.kept: Tensor | None = None

    def keep(self, output: Tensor) -> Tensor:
        if self.replacement is not None:
            output[:, -1, :] = self.replacement
        self.kept = output  # a reference, not a copy: later in-place changes show in it
        return output


class AttentionWrapper(Wrapper):
    """Replaces ``layer.self_attn``, which is called by keyword and returns (output, weights)."""

    def forward(self, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        output, weights = self.original(**kwargs)
        return self.keep(output), weights


class PlainWrapper(Wrapper):
    """Replaces ``layer.mlp``, or a whole block: modules that return one tensor."""

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return self.keep(self.original(hidden_states, **kwargs))


class InPlaceLayer(nn.Module):
    """Replaces a decoder block: the same computation, with the attention residual in place.

    ``a += b`` gives the same bits as ``b + a``, so the model computes what it always does; but
    the tensor that the attention wrapper refers to now holds attention output + residual. Nothing
    after that writes to it.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.attention_type = getattr(layer, "attention_type", None)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        layer: Any = self.layer
        residual = hidden_states
        hidden_states, _ = layer.self_attn(
            hidden_states=layer.input_layernorm(hidden_states), **kwargs
        )
        hidden_states += residual
        residual = hidden_states
        hidden_states = layer.mlp(layer.post_attention_layernorm(hidden_states))
        return residual + hidden_states


@contextmanager
def wrapped(
    hf: PreTrainedModel, component: str, index: int, replacement: Tensor | None = None
) -> Iterator[Wrapper]:
    """Wrap one component of block ``index``; the original modules are back on leaving."""
    if component not in COMPONENTS:
        raise ValueError(f"unknown component {component!r}, expected one of {COMPONENTS}")
    model: Any = hf.model
    layers = model.layers
    layer = layers[index]
    self_attn, mlp = layer.self_attn, layer.mlp
    wrapper: Wrapper
    try:
        if component == "ffn":
            wrapper = layer.mlp = PlainWrapper(mlp, replacement)
        elif component == "block":
            wrapper = layers[index] = PlainWrapper(layer, replacement)
        else:
            wrapper = layer.self_attn = AttentionWrapper(self_attn, replacement)
            if component == "attn_residual":
                layers[index] = InPlaceLayer(layer)
        yield wrapper
    finally:
        layers[index] = layer
        layer.self_attn, layer.mlp = self_attn, mlp


def stored_vector(hf: PreTrainedModel, aux_ids: list[int], component: str, source: int) -> Tensor:
    """What the scheme stores for block ``source`` at the last token of the auxiliary prompt."""
    with torch.no_grad(), wrapped(hf, component, source) as wrapper:
        hf(input_ids=torch.tensor([aux_ids], device=hf.device), use_cache=False)
    assert wrapper.kept is not None
    return wrapper.kept[0, -1].clone()


def released_answer(
    hf: PreTrainedModel,
    main_ids: list[int],
    aux_ids: list[int],
    component: str,
    source: int,
    target: int,
    max_new_tokens: int,
) -> list[int]:
    """Greedy answer to ``main_ids`` with block ``source`` of aux put into block ``target``.

    Returns the new token ids, up to and without the end-of-sequence token. ``hf`` is a float32
    model in eval mode and is left as it was.
    """
    if hf.training or hf.dtype != torch.float32:
        raise ValueError("the reference needs a float32 model in eval mode")
    eos: Any = hf.generation_config.eos_token_id
    stop = {eos} if isinstance(eos, int) else set(eos or ())

    vector = stored_vector(hf, aux_ids, component, source)
    new_ids: list[int] = []
    with torch.no_grad():
        with wrapped(hf, component, target, vector):
            cache = DynamicCache(config=hf.config)
            name = "cache" if "cache" in signature(hf.forward).parameters else "past_key_values"
            asked: dict[str, Any] = {name: cache, "use_cache": True}
            out = hf(input_ids=torch.tensor([main_ids], device=hf.device), **asked)
        while len(new_ids) < max_new_tokens:
            token = int(out.logits[0, -1].argmax())
            if token in stop:
                break
            new_ids.append(token)
            out = hf(input_ids=torch.tensor([[token]], device=hf.device), **asked)
    return new_ids
