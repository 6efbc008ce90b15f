"""A cache that holds only each row's own tokens, beside one prefix for every group of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from crosslatent.engine.prefix_attention import KeysValues, Scoring, Unshareable, attend
from crosslatent.engine.prefix_layout import Copies, Reach, Slots, Step, neighbours


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of the prompts of a batch, without the ends that rows may edit.

    Attributes:
        layers: cache layers, each with keys and values, groups heads pos d_head; or still empty.
        pads: columns of padding in front of each group's prefix, on the CPU.
        length: columns of the prefix, padding included.
        reaches: how far back the tokens of each layer may look; None for all the way.
    """

    layers: list[Any]
    pads: Int[Tensor, " groups"]
    length: int
    reaches: list[Reach | None]

    @classmethod
    def of(
        cls,
        cache: Cache,
        pads: Int[Tensor, " groups"],
        length: int,
        kinds: Sequence[str] | None = None,
    ) -> Prefix:
        """Take over a cache that has read the prefixes, padded on the left.

        Args:
            cache: of the prefixes.
            pads: columns of padding in front of each.
            length: columns of the prefixes.
            kinds: of the attention of each layer (``layer_types`` of transformers' configs).

        Raises:
            Unshareable: a layer of the cache keeps something else than keys and values, or attends
                in a way that is not known here.
        """
        if unknown := set(kinds or ()) - _KINDS:
            raise Unshareable(f"it has {', '.join(sorted(unknown))}")
        for layer in cache.layers:
            if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
                raise Unshareable(f"its cache has a layer of type {type(layer).__name__}")
        chunked = [kind == "chunked_attention" for kind in kinds or ()]
        chunked += [False] * (len(cache.layers) - len(chunked))
        prefix = cls(cache.layers, pads, length, list(map(_reach, cache.layers, chunked)))
        if bool(pads.any()):
            prefix._clear_padding()
        return prefix

    def _clear_padding(self) -> None:
        """Nothing reads padding, but a weight of zero times what is not a number is not zero."""
        for layer in self.layers:
            kept = layer.keys.shape[-2]
            hidden = torch.arange(self.length - kept, self.length) < self.pads[:, None]
            hidden = hidden[:, None, :, None].to(layer.keys.device)
            layer.keys = layer.keys.masked_fill(hidden, 0)
            layer.values = layer.values.masked_fill(hidden, 0)


_KINDS = frozenset({"full_attention", "sliding_attention", "chunked_attention", "attention"})
"""Kinds of attention that are reproduced here; others may differ in long texts alone."""


def _reach(layer: Any, chunked: bool) -> Reach | None:
    if not isinstance(layer, DynamicSlidingWindowLayer):
        return None
    return Reach(int(layer.sliding_window), chunked)


Expand = Callable[[Tensor, Tensor], KeysValues]
"""Makes keys and values of what a cache holds, where that is something smaller (DeepSeek)."""


@dataclass(slots=True)
class _Common:
    """What all layers of a cache must agree on."""

    prefix: Prefix
    groups: Int[Tensor, " rows"]
    """Which prefix each row continues, on the CPU."""
    room: int
    """Most tokens that a row will hold."""
    step: Step = field(default_factory=lambda: Step.chain(0, 1))
    pads: Copies = field(init=False)
    """Of `prefix`."""
    starts: Copies = field(init=False)
    """Tokens in each group's prefix."""
    copied: Copies = field(init=False)
    """Of `groups`."""
    _slots: dict[tuple[int, torch.device], Slots] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pads = Copies(self.prefix.pads)
        self.starts = Copies(self.prefix.length - self.prefix.pads)
        self.copied = Copies(self.groups)

    def slots(self, n_rows: int, device: torch.device) -> Slots:
        """The arrangement of the first `n_rows` rows; lower blocks may see fewer than all."""
        key = (n_rows, device)
        if key not in self._slots:
            self._slots[key] = Slots.of(self.groups[:n_rows], len(self.prefix.pads), device)
        return self._slots[key]

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        self.groups = self.groups[rows]
        self.copied = Copies(self.groups)
        self._slots.clear()


class SharedCache(Cache):
    """A cache of transformers for rows that share prefixes; used inside `shared_attention`.

    The first row of every group has the group's number as its index: a block that sees fewer rows
    than the batch has (`engine.shared.Growth`) fills the caches of the others from it.
    """

    def __init__(self, prefix: Prefix, groups: Int[Tensor, " rows"], room: int) -> None:
        """Start without any token of the rows."""
        self._batch = _Common(prefix, groups, room)
        self._suffixes = [
            SuffixLayer(layer, reach, self._batch)
            for layer, reach in zip(prefix.layers, prefix.reaches, strict=True)
        ]
        super().__init__(layers=list(self._suffixes))

    @property
    def groups(self) -> Int[Tensor, " rows"]:
        """Which prefix each row continues, on the CPU."""
        return self._batch.groups

    @property
    def copied(self) -> Copies:
        """`groups` on the devices."""
        return self._batch.copied

    def layer(self, index: int) -> SuffixLayer:
        """The cache of one block."""
        return self._suffixes[index]

    def begin(self, step: Step) -> None:
        """Say which tokens the next forward reads."""
        self._batch.step = step

    def forget(self, tokens: int) -> None:
        """Drop the last tokens of all rows."""
        for layer in self._suffixes:
            layer.length -= tokens

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep only these rows, in this order; rows on the CPU."""
        self._batch.keep(rows)
        together = neighbours(rows)
        kept = Copies(rows) if together is None else together
        for layer in self._suffixes:
            layer.keep(kept)


class SuffixLayer(DynamicLayer):
    """One layer's keys and values of the rows' own tokens, rows heads pos d_head."""

    def __init__(self, prefix: Any, reach: Reach | None, batch: _Common) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._prefix = prefix
        self._batch = batch
        self.reach = reach
        self.length = 0
        """Tokens that every row holds."""
        self._buffers: KeysValues | None = None
        self._expanded: KeysValues | None = None

    def get_seq_length(self) -> int:
        """Tokens of prefix and row together."""
        return self._batch.prefix.length + self.length

    def update(
        self,
        key_states: Float[Tensor, "rows kv pos d_head"],
        value_states: Float[Tensor, "rows kv pos d_value"],
        *_args: object,
        **_kwargs: object,
    ) -> KeysValues:
        """Add the tokens of this forward; returns what the rows that it saw now hold."""
        if self._buffers is None:
            self._buffers = (self._buffer(key_states), self._buffer(value_states))
            self.is_initialized = True
        n_rows, start = key_states.shape[0], self.length
        self.length += key_states.shape[-2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:n_rows, :, start : self.length] = states
            if n_rows < len(buffer):
                # The rows that are not here yet have seen the same as their group's first row.
                first = self._batch.copied.on(states.device)[n_rows:]
                buffer[n_rows:, :, start : self.length] = states[first]
        keys, values = (buffer[:n_rows, :, : self.length] for buffer in self._buffers)
        return keys, values

    def attend(
        self,
        query: Float[Tensor, "rows heads pos d_head"],
        keys: Float[Tensor, "rows kv key d_head"],
        values: Float[Tensor, "rows kv key d_value"],
        scoring: Scoring,
        expand: Expand | None = None,
    ) -> Float[Tensor, "rows heads pos d_value"]:
        """Attention of the rows of a forward over prefix and suffix."""
        batch, step = self._batch, self._batch.step
        past = self.length - query.shape[-2]
        prefix = None
        hides_prefix = None
        if batch.prefix.length:
            prefix = self._of_prefix(expand)
            if (prefix[0].shape[1], prefix[1].shape[1]) != (keys.shape[1], values.shape[1]):
                raise Unshareable("its cache holds something else than the keys of its attention")
            hides_prefix = step.hides_prefix(
                batch.pads,
                batch.prefix.length,
                prefix[0].shape[-2],
                self.reach,
                query.device,
            )
        hides_suffix = step.hides_suffix(batch.starts, past, self.reach, query.device)
        slots = batch.slots(query.shape[0], query.device)
        return attend(query, prefix, (keys, values), slots, (hides_prefix, hides_suffix), scoring)

    def _of_prefix(self, expand: Expand | None) -> KeysValues:
        """Keys and values of the prefix, of the groups."""
        if expand is None:
            return self._prefix.keys, self._prefix.values
        if self._expanded is None:
            self._expanded = expand(self._prefix.keys, self._prefix.values)
        return self._expanded

    def keep(self, rows: slice | Copies) -> None:
        """Keep only these rows; neighbours are not copied, nor is room that is still empty."""
        if self._buffers is not None:
            keys, values = (self._kept(buffer, rows) for buffer in self._buffers)
            self._buffers = (keys, values)

    def _kept(
        self, buffer: Float[Tensor, "rows kv room width"], rows: slice | Copies
    ) -> Float[Tensor, "kept kv room width"]:
        if isinstance(rows, slice):
            return buffer[rows]
        kept = buffer.new_empty((len(rows.here), *buffer.shape[1:]))
        held, into = buffer[:, :, : self.length], kept[:, :, : self.length]
        torch.index_select(held, 0, rows.on(buffer.device), out=into)
        return kept

    def _buffer(
        self, states: Float[Tensor, "rows kv pos width"]
    ) -> Float[Tensor, "all_rows kv room width"]:
        shape = (len(self._batch.groups), states.shape[1], self._batch.room, states.shape[3])
        return states.new_empty(shape)
