"""Reading prompts: for their last logits and a cache to go on with, or for the cache alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from crosslatent.core.errors import ModelError
from crosslatent.engine.prefix_attention import KeysValues
from crosslatent.interventions.rewrites import Window
from crosslatent.model import Model, PromptBatch, caches


@dataclass
class _Output(BaseModelOutput):
    """What models take for an encoder's output; those with experts look for their routers, too."""

    router_logits: None = None
    router_probs: None = None


@dataclass(frozen=True, slots=True)
class EncoderStates:
    """What an encoder made of prompts.

    Attributes:
        states: its last hidden states, batch pos d_model.
        mask: 1 for real tokens of the prompts, 0 for padding, batch pos.
    """

    states: Tensor
    mask: Tensor

    @property
    def arguments(self) -> dict[str, Any]:
        """As a model takes them."""
        return {
            "encoder_outputs": _Output(last_hidden_state=self.states),
            "attention_mask": self.mask,
        }

    def select(self, rows: Tensor) -> EncoderStates:
        """These rows alone, in this order."""
        return EncoderStates(self.states[rows.to(self.states.device)], self.mask[rows])

    def expand(self, n_rows: int) -> EncoderStates:
        """One prompt for many rows, as a view."""
        return EncoderStates(self.states.expand(n_rows, -1, -1), self.mask.expand(n_rows, -1))


@dataclass(slots=True)
class Prefilled:
    """A prompt batch after its prefill, over an ordinary cache.

    Attributes:
        model: what has read it.
        cache: keys and values of all prompt columns; grows.
        logits: at the last real token of each row.
        mask: of the prompt; grows.
        encoded: what an encoder made of the prompt; None in a model without one.
    """

    model: Model
    cache: Cache
    logits: Float[Tensor, "rows vocab"]
    mask: Int[Tensor, "rows pos"]
    encoded: EncoderStates | None = None

    def feed(self, tokens: Int[Tensor, " rows"]) -> None:
        """Read one more token in every row."""
        self.logits = self.read(tokens[:, None])[:, -1]

    @torch.no_grad()
    def read(self, tokens: Int[Tensor, "rows pos"]) -> Float[Tensor, "rows pos vocab"]:
        """Read more tokens in every row, and return their logits."""
        n_rows, width = tokens.shape
        self.mask = torch.cat([self.mask, self.mask.new_ones((n_rows, width))], dim=-1)
        tokens = tokens.to(self.mask.device)
        inputs: dict[str, Any] = {
            "input_ids": tokens,
            "attention_mask": self.mask,
            "position_ids": self.mask.cumsum(-1)[:, -width:] - 1,
            "logits_to_keep": width,
        }
        if self.encoded is not None:
            inputs = {"decoder_input_ids": tokens, **self.encoded.arguments}
        logits: Tensor = caches.forward(self.model.hf, inputs, self.cache).logits
        return logits

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Let only these rows go on, in this order."""
        rows = rows.to(self.mask.device)
        caches.keep_rows(self.cache, rows)
        self.mask, self.logits = self.mask[rows], self.logits[rows]
        if self.encoded is not None:
            self.encoded = self.encoded.select(rows)


@torch.no_grad()
def prefill(
    model: Model, batch: PromptBatch, *, chunk: int | None = None, window: Window | None = None
) -> Prefilled:
    """Run the prompts through the model once.

    Args:
        model: the model.
        batch: prompts, padded on either side.
        chunk: columns per forward; None for all at once.
        window: moved along with the chunks, for hooks that read or edit the last tokens.

    Raises:
        ModelError: the model gives no logits, or keeps no cache.
    """
    window = window or Window(batch.last)
    if batch.encoder is not None:
        return _prefill_both(model, batch, window)
    cache = DynamicCache(config=model.hf.config)
    logits: Tensor | None = None
    for start, inputs in batch.parts(chunk):
        window.start = start
        width = inputs["input_ids"].shape[1]
        rows, columns = window.here(width)
        # A number: a tensor of columns would have to be on the device of the last block.
        keep = width - int(columns.min()) if len(rows) else 1
        out = _logits(model, caches.forward(model.hf, inputs, cache, logits_to_keep=keep))
        if logits is None:
            logits = out.new_zeros((out.shape[0], out.shape[-1]))
        rows, columns = rows.to(out.device), columns.to(out.device)
        logits[rows] = out[rows, columns - width]  # counted from the end, however many there are
    window.start = None
    assert logits is not None
    return Prefilled(model, cache, logits, batch.mask)


def _prefill_both(model: Model, batch: PromptBatch, window: Window) -> Prefilled:
    """Prompts through the encoder, and what the decoder begins with through the decoder."""
    ((window.start, inputs),) = batch.parts()
    out = model.hf(**inputs, use_cache=True)
    window.start = None
    encoded = EncoderStates(out.encoder_last_hidden_state, inputs["attention_mask"])
    last = _logits(model, out)[:, -1]
    return Prefilled(model, caches.cache_of(out), last, batch.mask, encoded)


def _logits(model: Model, output: Any) -> Float[Tensor, "rows pos vocab"]:
    """The logits of a forward.

    Raises:
        ModelError: there are none for every token: the model has no head that writes text.
    """
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor) and logits.dim() == 3:
        return logits
    found = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else "no logits"
    raise ModelError(
        f"{type(model.hf).__name__} returns {found}, where answering takes one for each token and "
        "each word of the vocabulary: load the model with AutoModelForCausalLM."
    )


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
def read_prefix(
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
