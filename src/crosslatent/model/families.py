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
    """

    blocks: str = "model.layers"
    attn: str = "self_attn"
    ffn: str = "mlp"


FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(),
    "qwen3": Family(),
}
"""By ``config.model_type`` of transformers."""
