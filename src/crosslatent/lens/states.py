"""Hidden states of texts: the output of every block, and the state after the final norm.

What Lens works on (arXiv 2410.04407, section 3.1): one vector for each text and layer, of the last
real token or averaged over all real tokens; `docs/methods.md`, 7.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosslatent.core.errors import PromptError
from crosslatent.core.specs import FINAL, AsChat, Component, Layer, Site
from crosslatent.lens.compatibility import check_decoder
from crosslatent.lens.lens_settings import (
    Pooling,
    check_batch_size,
    check_max_tokens,
    check_pooling,
)
from crosslatent.lens.space import block_index
from crosslatent.model import Model, PromptBatch, encode_batch, reading
from crosslatent.model.chat import Prompt
from crosslatent.model.modes import answering, plain_settings
from crosslatent.model.prompts import Side, encode_many


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Texts as token ids.

    Attributes:
        ids: of each text; empty where a text gives no token.
        cut: whether the text was too long, and only its beginning is there.
    """

    ids: list[list[int]]
    cut: list[bool]


def encode_texts(
    model: Model, texts: Sequence[str], *, chat: AsChat = False, max_tokens: int | None = None
) -> EncodedTexts:
    """Token ids of texts, the long ones cut behind.

    Args:
        model: whose tokenizer and context count.
        texts: the texts.
        chat: through the chat template; a long text is then cut before it goes in, so that the
            template stays whole and the last token is its own.
        max_tokens: most tokens of a text; the model's context is a limit in any case.

    Raises:
        UsageError: `max_tokens` is below 1.
        ModelError: `chat`, but the tokenizer has no chat template.
        PromptError: the chat template alone is longer than `max_tokens`.
    """
    limit = token_limit(model, max_tokens)
    if not texts:
        return EncodedTexts([], [])
    whole = encode_many(model, [Prompt(text) for text in texts], chat=chat)
    if limit is None:
        return EncodedTexts(whole, [False] * len(whole))
    ids = []
    for text, tokens in zip(texts, whole, strict=True):
        fits = len(tokens) <= limit
        ids.append(tokens if fits else _beginning(model, text, tokens, limit, chat))
    return EncodedTexts(ids, [len(tokens) > limit for tokens in whole])


def token_limit(model: Model, max_tokens: int | None) -> int | None:
    """Most tokens that a text may have; None if nothing limits it.

    Raises:
        UsageError: `max_tokens` is below 1.
    """
    check_max_tokens(max_tokens)
    limits = [limit for limit in (max_tokens, model.context_length) if limit is not None]
    return min(limits, default=None)


def _beginning(model: Model, text: str, tokens: list[int], limit: int, chat: AsChat) -> list[int]:
    if not chat:
        return tokens[:limit]
    # The end of the template comes behind the text, so the text itself must become shorter: its
    # longest beginning that fits, in characters.
    (kept,), low, high = encode_many(model, [Prompt("")], chat=chat), 0, len(text)
    if len(kept) > limit:
        raise PromptError(
            f"The chat template of {model.name} has {len(kept)} tokens without any text, more than "
            f"the {limit} that a text may have: raise max_tokens."
        )
    while high - low > 1:
        middle = (low + high) // 2
        (ids,) = encode_many(model, [Prompt(text[:middle])], chat=chat)
        if len(ids) <= limit:
            kept, low = ids, middle
        else:
            high = middle
    return kept


@plain_settings()
def read_states(
    model: Model,
    ids: Sequence[Sequence[int]],
    *,
    pooling: Pooling = "last",
    layers: Sequence[Layer] | None = None,
    batch_size: int = 16,
    side: Side = "left",
    component: Component = "block",
    special: bool = False,
) -> Float[Tensor, "texts layers width"]:
    """Hidden states of texts; logits are never made.

    The numbers depend neither on the batch size nor on the side of the padding: positions are
    counted in real tokens, batches are made of texts of like length, and a text that is longer than
    `Model.rotary_limit` is read alone.

    Args:
        model: the model.
        ids: token ids of each text.
        pooling: "last" real token, or "mean" over the real tokens but the tokenizer's special ones
            (the state of a beginning-of-text token can be hundreds of times larger than others, so
            that a mean with it tells lengths), summed in float32 at least.
        layers: which blocks' outputs (negative ones count from the last), and "final" for the state
            after the final norm; None for all, in this order.
        batch_size: texts per forward.
        side: where a batch is padded.
        component: what of the blocks is read, if not their outputs; `layers` are then blocks alone.
        special: a mean is over the special tokens too.

    Returns:
        States on the CPU, in the order of `ids` and of `layers`; float32, or float64 if the model
        is.

    Raises:
        PromptError: a text without tokens, or longer than the model's context.
        SpaceError: a layer that is a word other than "final".
        PairError: a block that the model does not have.
        UsageError: an unknown pooling, or a batch size below 1.
        ModelError: an encoder reads the model's prompts.
    """
    check_pooling(pooling)
    check_batch_size(batch_size)
    check_decoder(model)
    wanted = [*range(model.n_layers), FINAL] if layers is None else layers
    places = [block_index(layer, model.n_layers) for layer in wanted]
    _check_lengths(model, ids)
    dtype = torch.promote_types(model.dtype, torch.float32)
    states = torch.zeros((len(ids), len(places), model.width(component)), dtype=dtype)
    known = [] if special else model.tokenizer.all_special_ids
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    for rows in length_batches(ids, order, model.rotary_limit, most=batch_size):
        batch = encode_batch(model, [ids[row] for row in rows], side)
        counted = None if pooling == "last" else _counted(batch, known)
        states[rows] = _read_batch(model, batch, places, counted, component)
    return states


def _check_lengths(model: Model, ids: Sequence[Sequence[int]]) -> None:
    limit = model.context_length
    for row, tokens in enumerate(ids):
        if not tokens:
            raise PromptError(f"The text at place {row} has no tokens: leave it out.")
        if limit is not None and len(tokens) > limit:
            raise PromptError(
                f"The text at place {row} has {len(tokens)} tokens, more than the model's context "
                f"of {limit}: cut it."
            )


def length_batches(
    texts: Sequence[Sequence[int]],
    order: Iterable[int],
    alone_above: int | None,
    *,
    most: int | None = None,
    tokens: int | None = None,
) -> Iterator[list[int]]:
    """Numbers of the texts that share a forward.

    Args:
        texts: token ids.
        order: numbers of the texts, best from the shortest, so that little is padded.
        alone_above: longer texts are alone (see `Model.rotary_limit`): they would change the
            embeddings of others.
        most: texts of a forward.
        tokens: padded tokens of a forward.
    """
    part: list[int] = []
    width = 0
    for number in order:
        width = max(width, len(texts[number]))
        alone = alone_above is not None and width > alone_above
        full = len(part) == most or (tokens is not None and width * (len(part) + 1) > tokens)
        if part and (alone or full):
            yield part
            part, width = [], len(texts[number])
        part.append(number)
    if part:
        yield part


def _read_batch(
    model: Model,
    batch: PromptBatch,
    places: list[int | None],
    counted: Bool[Tensor, "batch pos"] | None,
    component: Component,
) -> Float[Tensor, "batch layers width"]:
    """States of one batch; of the last tokens if none are counted."""
    dtype = torch.promote_types(model.dtype, torch.float32)
    kept = torch.zeros((len(batch.ids), len(places), model.width(component)), dtype=dtype)
    where: dict[int | None, list[int]] = {}
    for column, place in enumerate(places):
        where.setdefault(place, []).append(column)

    def keep(place: int | None, value: Float[Tensor, "batch pos d_model"]) -> None:
        pooled = _pool(value, batch.last, counted, dtype).to("cpu")
        for column in where[place]:
            kept[:, column] = pooled

    def receive(site: Site, value: Float[Tensor, "batch pos d_model"]) -> None:
        keep(site.layer, value)

    sites = [Site(component, place) for place in where if place is not None]
    decoder: Any = model.hf.base_model
    ((_, inputs),) = batch.parts()
    with answering(model.hf), reading(model, sites, receive) if sites else nullcontext():
        out = decoder(**inputs, use_cache=False)
    if None in where:
        keep(None, out[0])
    return kept


def _counted(batch: PromptBatch, special: Sequence[int]) -> Bool[Tensor, "batch pos"]:
    """Tokens that a mean is of: real ones but the special, unless all are special."""
    real = batch.mask.bool()
    known = torch.tensor(sorted(set(special)), device=batch.ids.device, dtype=batch.ids.dtype)
    own = real & ~torch.isin(batch.ids, known)
    return torch.where(own.any(1, keepdim=True), own, real)


def _pool(
    value: Float[Tensor, "batch pos d_model"],
    last: Int[Tensor, " batch"],
    counted: Bool[Tensor, "batch pos"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "batch d_model"]:
    """One vector for each row."""
    if counted is None:
        rows = torch.arange(len(value), device=value.device)
        return value[rows, last.to(value.device)].to(dtype)
    mask = counted.to(value.device)
    # Not a product with the mask: states at padding may have any value, NaN included.
    real = value.masked_fill(~mask[..., None], 0.0)
    return real.sum(1, dtype=dtype) / mask.sum(1, dtype=dtype)[:, None]
