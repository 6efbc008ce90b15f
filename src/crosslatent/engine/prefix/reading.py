"""Reading prompts for their keys and values alone: nothing after the last of them is computed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from crosslatent.engine.prefix.attention import KeysValues
from crosslatent.interventions.intervention import Window
from crosslatent.model import Model, PromptBatch, caches


class _EnoughError(Exception):
    """The last block has its keys and values; what it makes of them is not wanted."""


class _KeysAndValues(DynamicCache):
    """A cache that ends the forward once its last layer is filled."""

    def update(
        self,
        key_states: Float[Tensor, "rows kv pos d_head"],
        value_states: Float[Tensor, "rows kv pos d_value"],
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> KeysValues:
        """Store, and end the forward if this was the last layer."""
        stored = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx == len(self.layers) - 1:
            raise _EnoughError
        return stored


@torch.no_grad()
def read(
    model: Model, batch: PromptBatch, chunk: int | None = None, window: Window | None = None
) -> DynamicCache:
    """Keys and values of prompts.

    Args:
        model: the model.
        batch: prompts, padded on either side.
        chunk: columns per forward; None for all at once.
        window: moved along with the chunks, for interventions that change these tokens.
    """
    # accelerate's hooks must see the end of every module: they put fetched weights away there.
    whole = hasattr(model.hf, "hf_device_map")
    cache = DynamicCache(config=model.hf.config)
    filled = cache if whole else _KeysAndValues(config=model.hf.config)
    cache.layers = filled.layers
    for start, inputs in batch.parts(chunk):
        if window is not None:
            window.start = start
        with suppress(_EnoughError):
            caches.forward(model.hf, inputs, filled, logits_to_keep=1)
    return cache
