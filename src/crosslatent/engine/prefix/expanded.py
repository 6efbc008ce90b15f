"""The keys and values of one prompt's prefix, shared out to the rows of a batch.

Every row of a batch attends to the same prefix and to its own few tokens after it. The prefix is
copied into the batch's buffers once per prompt, and again only where a sliding window moves on;
each batch writes its own tokens behind it.
"""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from crosslatent.engine.prefix.attention import KeysValues


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
            index: _Buffer(layer, max_rows, room)
            for index, layer in enumerate(prefix.layers)
            if type(layer) is DynamicLayer and layer.get_seq_length() > 0
        }

    def cache(self, n_rows: int) -> Cache:
        """A cache for `n_rows` rows; valid until the next call."""
        cache: Cache = copy.copy(self._prefix)
        cache.layers = [
            _RowLayer(self._buffers[index], n_rows)
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


class _Buffer:
    """One layer's keys and values, rows heads pos d_head, with the prefix in front of every row."""

    def __init__(self, prefix: DynamicLayer, max_rows: int, room: int) -> None:
        self.length = prefix.get_seq_length()
        self.keys = _with_room(prefix.keys, max_rows, room)
        self.values = _with_room(prefix.values, max_rows, room)


class _RowLayer(DynamicLayer):
    """A cache layer that grows within a buffer, in place of copying all it holds at every step."""

    def __init__(self, buffer: _Buffer, n_rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffer = buffer
        self._rows = n_rows
        self.dtype, self.device = buffer.keys.dtype, buffer.keys.device
        self.is_initialized = True
        self._show(buffer.length)

    def update(
        self,
        key_states: Float[Tensor, "rows kv pos d_head"],
        value_states: Float[Tensor, "rows kv pos d_value"],
        *_args: object,
        **_kwargs: object,
    ) -> KeysValues:
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        self._buffer.keys[: self._rows, :, start:stop] = key_states
        self._buffer.values[: self._rows, :, start:stop] = value_states
        return self._show(stop)

    def batch_select_indices(self, indices: Int[Tensor, " kept"]) -> None:
        """Keep only these rows; all have one prefix, so the buffer serves later batches too."""
        self._rows = len(indices)
        for part in (self._buffer.keys, self._buffer.values):
            part[: self._rows] = part[indices.to(part.device)]
        self._show(self.get_seq_length())

    def _show(self, stop: int) -> KeysValues:
        keys = self._buffer.keys[: self._rows, :, :stop]
        values = self._buffer.values[: self._rows, :, :stop]
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
