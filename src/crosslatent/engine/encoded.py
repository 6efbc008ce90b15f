"""Rows of an encoder-decoder: the prompt is encoded once for all rows, which change the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from crosslatent.engine.decoding import Prefilled, prefill
from crosslatent.engine.prefix import copies
from crosslatent.engine.rewrites import rewrites
from crosslatent.interventions.intervention import Intervention, check_row
from crosslatent.model import Model, encode_batch, rewriting
from crosslatent.model.structure import decoder_of


class EncodedPrompt:
    """What the encoder made of a prompt, and the cross-attention's keys and values of it."""

    def __init__(self, model: Model, main: Sequence[int]) -> None:
        """Let the encoder read the prompt.

        Args:
            model: an encoder-decoder model.
            main: token ids of the prompt.
        """
        batch = encode_batch(model, [main])
        # No row changes what cross-attention looks at: its keys and values are the encoder's.
        read = prefill(model, batch)
        assert read.encoded is not None
        assert isinstance(read.cache, EncoderDecoderCache)
        self._model = model
        self._start = batch.ids
        self._encoded = read.encoded
        self._cross = read.cache.cross_attention_cache

    @torch.no_grad()
    def read(self, rows: Sequence[tuple[Intervention, ...]]) -> Prefilled:
        """What the decoder begins with, in every row with its own edits.

        Raises:
            PairError: a row edits a site twice, or more tokens than the decoder begins with.
        """
        model, n_rows = self._model, len(rows)
        for row in rows:
            check_row(row, self._start.shape[1])
        decoder: Any = decoder_of(model.hf)
        own = DynamicCache(config=decoder.config)
        start = Prefilled(
            model,
            EncoderDecoderCache(own, copies(self._cross, n_rows)),
            torch.empty((n_rows, 0)),
            self._start.new_ones((n_rows, 0)),
            self._encoded.expand(n_rows),
        )
        with rewriting(model, rewrites(rows)):
            start.logits = start.read(self._start.expand(n_rows, -1))[:, -1]
        return start
