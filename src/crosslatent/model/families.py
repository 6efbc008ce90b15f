"""The table of model families: where each keeps its decoder blocks, attention and feed-forward.

Adding a family is one entry here; `adapter.resolve` then verifies it with a probe forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Module names of one family.

    Attributes:
        blocks: dotted path from the causal LM to the ``ModuleList`` of decoder blocks.
        attn: name of the attention module inside a block.
        ffn: name of the feed-forward module inside a block.
        attn_norm: name of the norm that takes the attention output before it is added to the
            residual stream; None where it is added as it is.
        ffn_norm: the same for the feed-forward output.

    The norms serve the probe alone: what is captured and replaced is always what the module itself
    returns (docs/methods.md, 1). Many families call the norm *before* the feed-forward
    ``post_attention_layernorm``; that one does not belong here.
    """

    blocks: str = "model.layers"
    attn: str = "self_attn"
    ffn: str = "mlp"
    attn_norm: str | None = None
    ffn_norm: str | None = None


_NORMS_AFTER = Family(
    attn_norm="post_attention_layernorm",
    ffn_norm="post_feedforward_layernorm",
)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(),
    "qwen3": Family(),
    "gemma2": _NORMS_AFTER,
    "gemma3_text": _NORMS_AFTER,
    "olmo2": _NORMS_AFTER,
    "gpt_oss": Family(),
    "phi3": Family(),
    "falcon": Family(blocks="transformer.h", attn="self_attention"),
    "gpt_neox": Family(blocks="gpt_neox.layers", attn="attention"),
}
"""By ``config.model_type`` of transformers."""
