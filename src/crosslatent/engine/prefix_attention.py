"""Attention of many rows over a prefix that they share and over their own tokens, exactly.

Registered with transformers' `AttentionInterface`, so that every model that uses it runs its own
forward unchanged. The scores of a row over the prefix are a matrix product of all rows with one set
of keys (Hydragen, Juravsky et al. 2024, arXiv 2402.05099); one softmax over both parts joins them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from transformers import AttentionInterface

from crosslatent.engine.prefix_layout import Hidden, Mask, Reach, SlotBlock, Slots
from crosslatent.model.structure import attention_called

if TYPE_CHECKING:
    from crosslatent.engine.prefix_cache import SharedCache
    from crosslatent.model import Model


NAME = "crosslatent_shared_prefix"

_WITHOUT_EFFECT = frozenset({"dropout", "position_ids"})
"""Arguments of attention that change nothing: models are in evaluation mode, and positions serve
packed texts alone."""

KeysValues = tuple[Float[Tensor, "_rows kv _pos d_head"], Float[Tensor, "_rows kv _pos d_value"]]
"""Of rows, or of groups."""

Weights = Float[Tensor, "groups kv slots share pos key"]
"""Of every key for every query; `share` heads have the same keys (grouped-query attention)."""


class Unshareable(Exception):  # noqa: N818 - a reason to take another path, not yet an error
    """This model's rows cannot share a prefix; the message says why."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a model turns products of queries and keys into weights.

    Attributes:
        scale: factor of the products.
        softcap: s in s * tanh(score / s) (Gemma 2); None for none.
        sinks: a logit per head that takes weight and gives nothing (gpt-oss); None for none.
    """

    scale: float
    softcap: float | None = None
    sinks: Float[Tensor, " heads"] | None = None

    def weights(
        self, scores: Weights, hidden: list[tuple[slice, Hidden]]
    ) -> Float32[Tensor, "groups kv slots share pos key"]:
        """Softmax weights in float32."""
        scores = scores.float()
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        for columns, mask in hidden:
            scores[..., columns].masked_fill_(mask, -torch.inf)
        if self.sinks is None:
            return scores.softmax(-1)
        _, kv, _, share, _, _ = scores.shape
        sinks = self.sinks.float().view(1, kv, 1, share, 1, 1).expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]


def attend(
    query: Float[Tensor, "rows heads pos d_head"],
    prefix: KeysValues | None,
    suffix: KeysValues,
    slots: Slots,
    hidden: tuple[Mask, Mask],
    scoring: Scoring,
) -> Float[Tensor, "rows heads pos d_value"]:
    """Attention over prefix and suffix.

    Args:
        query: of the tokens of this forward.
        prefix: keys and values of the groups; None if there is no prefix.
        suffix: keys and values of the rows, those of this forward included.
        slots: which group each row belongs to.
        hidden: keys of prefix and suffix that must not be seen.
        scoring: how the model scores.
    """
    _, heads, width, _ = query.shape
    keys, values = suffix
    kv = keys.shape[1]
    # Heads that share keys stand together: rows kv share pos d_head.
    query = (query * scoring.scale).unflatten(1, (kv, heads // kv))
    own = (query.flatten(2, 3) @ keys.mT).unflatten(2, (-1, width))
    after, before = [], []
    for part in slots.parts:
        scores = part.gather(own).transpose(1, 2)
        length = 0
        if prefix is not None:
            length = prefix[0].shape[-2]
            over = _over_prefix(part.gather(query), prefix[0][part.groups])
            scores = torch.cat([over, scores], -1)
        columns = (slice(0, length), slice(length, None))
        weights = scoring.weights(scores, _masks(columns, hidden, part)).to(values.dtype)
        after.append(weights[..., length:].transpose(1, 2))
        if prefix is not None:
            before.append(_mix(weights[..., :length], prefix[1][part.groups]))
    mixed = (slots.scatter(after).flatten(2, 3) @ values).unflatten(2, (-1, width))
    if prefix is not None:
        mixed = mixed + slots.scatter(before)
    joined: Tensor = mixed.flatten(1, 2)
    return joined


def _masks(
    columns: tuple[slice, slice], hidden: tuple[Mask, Mask], part: SlotBlock
) -> list[tuple[slice, Hidden]]:
    """The masks that there are, with their columns, for the groups of a part."""
    return [
        (at, mask if len(mask) == 1 else mask[part.groups])
        for at, mask in zip(columns, hidden, strict=True)
        if mask is not None
    ]


def _over_prefix(
    query: Float[Tensor, "groups slots kv share pos d_head"],
    keys: Float[Tensor, "groups kv key d_head"],
) -> Weights:
    """Scores of the rows of each group over its prefix."""
    query = query.transpose(1, 2)
    scores: Tensor = (query.flatten(2, 4) @ keys.mT).unflatten(2, query.shape[2:5])
    return scores


def _mix(
    weights: Weights, values: Float[Tensor, "groups kv key d_value"]
) -> Float[Tensor, "groups slots kv share pos d_value"]:
    """Values of each group's prefix, weighted for its rows."""
    mixed = weights.flatten(2, 4) @ values
    arranged: Tensor = mixed.unflatten(2, weights.shape[2:5])
    return arranged.transpose(1, 2)


def takes_attention_functions(model: Model) -> bool:
    """Whether a model's attention asks transformers' registry which function computes it.

    Some models say so; of others, the code of their blocks shows it.
    """
    code = sys.modules.get(type(model.blocks[0].whole).__module__)
    says = getattr(model.hf, "_supports_attention_backend", False)
    return bool(says) or hasattr(code, "ALL_ATTENTION_FUNCTIONS")


_running: ContextVar[SharedCache] = ContextVar("crosslatent_running_cache")


@contextmanager
def shared_attention(model: Model, cache: SharedCache) -> Iterator[None]:
    """While open, forwards of the model over `cache` attend to its prefixes."""
    token = _running.set(cache)
    try:
        with attention_called(model.hf.config.get_text_config(), NAME):
            yield
    finally:
        _running.reset(token)


def _matters(name: str, value: object) -> bool:
    """Whether an argument that is not known here could change what attention gives.

    Rows of short prompts would not show it where it is about long ones.
    """
    counts = isinstance(value, Tensor | int | float) and not isinstance(value, bool)
    return counts and name not in _WITHOUT_EFFECT


def _attention(
    module: nn.Module,
    query: Float[Tensor, "rows heads pos d_head"],
    key: Float[Tensor, "rows kv key d_head"],
    value: Float[Tensor, "rows kv key d_value"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " heads"] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows pos heads d_value"], None]:
    """The attention function of transformers' interface."""
    layer = _running.get().layer(int(module.layer_idx))  # type: ignore[arg-type]
    if attention_mask is not None:
        raise Unshareable("it makes an attention mask of its own")
    if unknown := sorted(name for name, value in kwargs.items() if _matters(name, value)):
        raise Unshareable(f"its attention receives {', '.join(unknown)}, which sharing leaves out")
    if kwargs.get("is_causal") is False or getattr(module, "is_causal", True) is False:
        raise Unshareable("its attention is not causal")
    if sliding_window is not None and layer.reach != Reach(sliding_window):
        raise Unshareable(f"its cache does not know the window of {sliding_window} tokens")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Where a model caches latents, its attention says how keys and values are made of them.
    expand = getattr(module, "expand_kv", None)
    out = layer.attend(query, key, value, Scoring(scale, softcap, s_aux), expand)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attention)
