"""The middle path: rows of one prompt in a batch, its prefix copied into a cache of every row.

For models whose attention cannot be replaced, and for those with an encoder. Every block is
computed for every row, and the prefix is held once per row, so it takes more time and much more
memory than `shared`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from crosslatent.engine.decoding import Decoded, Tick, greedy, log_probabilities, silent
from crosslatent.engine.prefill import Prefilled, prefill, read_prefix
from crosslatent.engine.prefix_attention import KeysValues, Unshareable
from crosslatent.engine.requests import Pick, Request
from crosslatent.interventions.intervention import Intervention, at_end, check_row
from crosslatent.interventions.rewrites import Window, rewrites, rewrites_by_row
from crosslatent.model import Model, encode_batch, rewriting
from crosslatent.model.structure import decoder_of


class ExpandedPrompts:
    """One prompt that has been read up to the end that its rows may edit."""

    def __init__(self, model: Model, requests: Sequence[Request], chunk: int | None = None) -> None:
        """Read the prompt.

        Raises:
            Unshareable: the prompt cannot be read in parts.
        """
        if model.reads_both_ways:
            raise Unshareable("the tokens of its prompts see those after them")
        (self._request,) = requests
        self._model = model
        self._buffers: tuple[tuple[int, int], PrefixRows] | None = None
        self._encoded = EncodedPrompt(model, self._request.main) if model.has_encoder else None
        self._read = model.decoder_reads(self._request.main)
        self._before = 0 if model.has_encoder else len(self._read) - self._request.tail
        """Tokens that are read before the end that rows may edit."""
        if self._encoded is None:
            prefix, window = self._request.main[: -self._request.tail], self._window(1)
            with rewriting(model, rewrites(self._request.common, window)):
                self._prefix: Cache = (
                    read_prefix(model, encode_batch(model, [prefix]), chunk, window)
                    if prefix
                    else DynamicCache(config=model.hf.config)
                )

    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked (0, row) together, in their order."""
        request = self._request
        room = request.tail + max([max_new_tokens, *map(len, request.options)])
        plain = [at for at, (_, row) in enumerate(picks) if row in request.plain]
        window = self._window(len(picks))
        options = () if request.plain_only else request.options
        with rewriting(self._model, rewrites(request.common, window)):
            # Before the others are read, since buffers serve one batch after the other.
            apart: tuple[float, ...] = ()
            if plain and request.plain_only:
                (apart,) = _scored(self._read_end([()], room), request.options)
            window.start = self._before
            start = self._read_end([at_end(request.rows[row]) for _, row in picks], room)
            window.start = None
            watched = log_probabilities(start.logits, request.watch)
            scores = _scored(start, options)
            scores = [apart if apart and at in plain else row for at, row in enumerate(scores)]
            answers = greedy(start, max_new_tokens, self._model.eos_ids, tick, plain)
        rows = zip(answers, watched, scores, strict=True)
        return [replace(row, watched=known, scores=scored) for row, known, scored in rows]

    def _window(self, rows: int) -> Window:
        """Where the prompt ends in so many rows."""
        length = len(self._read)
        return Window(torch.full((rows,), length - 1), lengths=torch.full((rows,), length))

    @torch.no_grad()
    def _read_end(self, rows: Sequence[tuple[Intervention, ...]], room: int) -> Prefilled:
        """The end of the prompt through the model in every row, each with its own edits."""
        if self._encoded is not None:
            return self._encoded.read(rows)
        request, model = self._request, self._model
        mask = torch.ones((len(rows), self._before), dtype=torch.long, device=model.device)
        start = Prefilled(model, self._cache(len(rows), room), torch.empty((len(rows), 0)), mask)
        end = torch.tensor(request.main[-request.tail :])
        with rewriting(model, rewrites_by_row(rows)):
            start.logits = start.read(end.expand(len(rows), -1))[:, -1]
        return start

    def _cache(self, n_rows: int, room: int) -> Cache:
        """A cache for so many rows; the buffers of an earlier, larger batch serve again."""
        if self._buffers is None or n_rows > self._buffers[0][0] or room > self._buffers[0][1]:
            self._buffers = ((n_rows, room), PrefixRows(self._prefix, n_rows, room))
        return self._buffers[1].cache(n_rows)


def _scored(start: Prefilled, options: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """Log-probabilities (nats) of continuations, a tuple a row; leaves the rows as they were."""
    columns = [_score(start, option) for option in options]
    return list(zip(*columns, strict=True)) or [()] * len(start.logits)


@torch.no_grad()
def _score(start: Prefilled, option: Sequence[int]) -> list[float]:
    """Log-probability (nats) of one continuation in every row; leaves the rows as they were."""
    logits = start.logits[:, None]
    if len(option) > 1:
        rows = replace(start, cache=copy.deepcopy(start.cache))
        read = torch.tensor(option[:-1]).expand(len(start.logits), -1)
        logits = torch.cat([logits, rows.read(read)], dim=1)
    chosen = torch.tensor(option, device=logits.device).expand(len(logits), -1)[..., None]
    total: list[float] = logits.float().log_softmax(-1).gather(-1, chosen).sum((1, 2)).tolist()
    return total


class EncodedPrompt:
    """What the encoder made of a prompt, and the cross-attention's keys and values of it."""

    def __init__(self, model: Model, main: Sequence[int]) -> None:
        """Let the encoder read the prompt."""
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
        with rewriting(model, rewrites_by_row(rows)):
            start.logits = start.read(self._start.expand(n_rows, -1))[:, -1]
        return start


class PrefixRows:
    """Makes caches of any number of rows out of the cache of one prefix."""

    def __init__(self, prefix: Cache, max_rows: int, room: int) -> None:
        """Take over a prefix.

        Args:
            prefix: its cache, batch size 1; empty for a prompt of one token.
            max_rows: most rows that a batch will have.
            room: most tokens that a row will add.
        """
        self._prefix = prefix
        self._buffers = {
            index: (
                _with_room(layer.keys, max_rows, room),
                _with_room(layer.values, max_rows, room),
                layer.get_seq_length(),
            )
            for index, layer in enumerate(prefix.layers)
            if type(layer) is DynamicLayer and layer.get_seq_length() > 0
        }

    def cache(self, n_rows: int) -> Cache:
        """A cache for `n_rows` rows; valid until the next call."""
        cache: Cache = copy.copy(self._prefix)
        cache.layers = [
            _RowLayer(*self._buffers[index], n_rows)
            if index in self._buffers
            else _expanded(layer, n_rows)
            for index, layer in enumerate(self._prefix.layers)
        ]
        return cache


def copies(cache: Cache, n_rows: int) -> Cache:
    """A read-only cache of one prompt for `n_rows` rows, as views until rows leave."""
    copied: Cache = copy.copy(cache)
    copied.layers = [_expanded(layer, n_rows) for layer in cache.layers]
    return copied


class _RowLayer(DynamicLayer):
    """A cache layer that grows within buffers, in place of copying all it holds at every step.

    Its buffers hold keys and values, rows heads pos d_head, with the prefix in front of every row.
    """

    def __init__(
        self,
        keys: Float[Tensor, "max_rows kv held d_head"],
        values: Float[Tensor, "max_rows kv held d_value"],
        length: int,
        n_rows: int,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffers = (keys, values)
        self._rows = n_rows
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._show(length)

    def update(
        self,
        key_states: Float[Tensor, "rows kv pos d_head"],
        value_states: Float[Tensor, "rows kv pos d_value"],
        *_args: object,
        **_kwargs: object,
    ) -> KeysValues:
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._rows, :, start:stop] = states
        return self._show(stop)

    def batch_select_indices(self, indices: Int[Tensor, " kept"]) -> None:
        """Keep only these rows; all have one prefix, so the buffer serves later batches too."""
        self._rows, held = len(indices), self.get_seq_length()
        for part in self._buffers:
            part[: self._rows, :, :held] = part[indices.to(part.device), :, :held]
        self._show(held)

    def _show(self, stop: int) -> KeysValues:
        keys, values = (buffer[: self._rows, :, :stop] for buffer in self._buffers)
        self.keys, self.values = keys, values
        return keys, values


def _with_room(
    prefix: Float[Tensor, "1 kv pos width"] | None, max_rows: int, room: int
) -> Float[Tensor, "max_rows kv held width"]:
    assert prefix is not None
    _, heads, length, width = prefix.shape
    buffer = prefix.new_empty((max_rows, heads, length + room, width))
    buffer[:, :, :length] = prefix
    return buffer


def _expanded(layer: Any, n_rows: int) -> Any:
    """A layer of another kind (sliding window, or empty) for `n_rows` rows, as views at first."""
    layer = copy.deepcopy(layer)
    if isinstance(layer, DynamicLayer) and layer.get_seq_length() > 0:
        assert layer.keys is not None
        assert layer.values is not None
        layer.keys = layer.keys.expand(n_rows, -1, -1, -1)
        layer.values = layer.values.expand(n_rows, -1, -1, -1)
    return layer
