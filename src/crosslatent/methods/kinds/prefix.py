"""`prefix`: trained keys and values of virtual tokens, in every block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import DynamicCache

from crosslatent.core.errors import ModelError
from crosslatent.methods.method import register_method
from crosslatent.methods.soft_prompts import VIRTUAL, Begun, SoftTuning, inputs_after
from crosslatent.methods.tuning import Weights
from crosslatent.model import caches, encode_batch
from crosslatent.model.modes import answering

if TYPE_CHECKING:
    from crosslatent.model import Model, PromptBatch


@register_method("prefix")
class PrefixTuning(SoftTuning):
    """Prefix tuning (arXiv 2101.00190): keys and values of 20 virtual tokens, without an MLP."""

    title = "prefix tuning"
    about = "Trained keys and values of virtual tokens before the prompt, in every block."
    source = "arXiv 2101.00190"
    rates = (1e-2, 3e-2)

    def fresh(self, model: Model, /) -> Weights:
        """Keys and values as PEFT draws them, virtual tokens by all layers' numbers.

        Raises:
            ModelError: the model's layers keep keys and values of unlike shapes.
        """
        from peft import PrefixEncoder, PrefixTuningConfig

        layers, heads, width = _kept(model)
        config = PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=VIRTUAL,
            num_layers=layers,
            num_attention_heads=heads,
            token_dim=heads * width,
            num_transformer_submodules=1,
        )
        drawn: Any = PrefixEncoder
        return {"prefix": drawn(config).embedding.weight}

    @staticmethod
    def begin(model: Model, weights: Mapping[str, Any], batch: PromptBatch, keep: int) -> Begun:
        """Read prompts over a cache that holds the prefix."""
        cache = prefix_cache(model, weights["prefix"], len(batch.ids))
        inputs = {"input_ids": batch.ids, **inputs_after(batch)}
        logits = caches.forward(model.hf, inputs, cache, logits_to_keep=keep).logits
        return logits, cache


def prefix_cache(model: Model, prefix: Tensor, rows: int) -> DynamicCache:
    """A cache of trained keys and values: PEFT's order, virtual (layer, key or value, head, width).

    Args:
        model: whose cache it is.
        prefix: what was trained, virtual numbers.
        rows: rows of the batch, all alike.
    """
    layers, heads, width = _kept(model)
    parts = prefix.to(model.dtype).view(VIRTUAL, layers, 2, heads, width)
    cache = DynamicCache(config=model.hf.config)
    for layer, (keys, values) in enumerate(parts.permute(1, 2, 3, 0, 4)):
        both = (one.expand(rows, -1, -1, -1) for one in (keys, values))
        cache.update(*both, layer)
    return cache


def _kept(model: Model) -> tuple[int, int, int]:
    """How many layers keep keys and values, of how many heads, and how wide these are.

    Raises:
        ModelError: they differ from layer to layer, or keys from values.
    """
    cache = DynamicCache(config=model.hf.config)
    with answering(model.hf):
        ((_, inputs),) = encode_batch(model, [(0,)]).parts()
        caches.forward(model.hf, inputs, cache)
    found: list[Any] = cache.layers
    kept = [part for layer in found for part in (layer.keys, layer.values)]
    shapes = {tuple(part.shape[1::2]) if part is not None else () for part in kept}
    if len(shapes) != 1 or () in shapes:
        raise ModelError(
            f"The layers of {type(model.hf).__name__} keep keys and values of unlike shapes "
            f"({', '.join(map(str, sorted(shapes)))}), which no prefix has: use another method."
        )
    ((heads, width),) = shapes
    return len(cache.layers), heads, width
