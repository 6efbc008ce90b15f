"""Retention: how far a model's next-token distributions moved on texts in the central language.

KL(before || after), in nats per token: what a reader of the changed model's predictions loses where
nothing should have changed (docs/methods.md, 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosslatent.errors import ModelError, SpaceError
from crosslatent.model import Model, encode_batch
from crosslatent.model.prompts import Prompt, encode_many
from crosslatent.stats import Estimate, clustered_mean
from crosslatent.stats.clusters import Floats

BATCH_BYTES = 256 * 2**20
"""What the logits of one batch of one model may take, as float32; a single long text may be more.

There are a few such tables at a time: two models', and their log-probabilities.
"""

_ENCODED_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Texts as token ids.

    Attributes:
        ids: token ids of each text, two or more.
        left_out: texts of fewer than two tokens, in which nothing is predicted.
        cut: texts that were longer than the model's context, and cut to it.
        repeated: texts that had been there before; each counts once.
    """

    ids: tuple[tuple[int, ...], ...]
    left_out: int
    cut: int
    repeated: int


@dataclass(frozen=True, slots=True, eq=False)
class Divergences:
    """KL divergences at single tokens.

    Attributes:
        values: nats, one for each token that is predicted, shape (tokens,).
        texts: which text each is from, shape (tokens,).
    """

    values: Floats
    texts: tuple[str, ...]

    def estimate(self, seed: int = 0) -> Estimate:
        """Mean over tokens, a ratio of sums over texts; the interval resamples texts."""
        return clustered_mean(self.values, self.texts, seed=seed)


def held_out_of(
    model: Model, texts: Sequence[str], *, chat: bool = False, max_tokens: int | None = None
) -> HeldOut:
    """Texts as token ids, tokenised like prompts.

    Args:
        model: whose tokenizer and context count.
        texts: texts in the central language.
        chat: through the chat template, as a question of the user.
        max_tokens: cut longer texts; None for the model's context.

    Raises:
        SpaceError: no text has two tokens or more.
        ModelError: the tokenizer has no chat template.
    """
    limit = min((n for n in (max_tokens, model.context_length) if n is not None), default=None)
    distinct = list(dict.fromkeys(texts))
    ids = [tuple(found) for found in _encoded(model, distinct, chat)]
    kept = tuple(found[:limit] for found in ids if len(found) > 1)
    if not kept:
        raise SpaceError(
            f"None of the {len(texts)} texts in the central language has two tokens or more: give "
            "longer ones."
        )
    return HeldOut(
        ids=kept,
        left_out=len(ids) - len(kept),
        cut=sum(limit is not None and len(found) > limit for found in ids),
        repeated=len(texts) - len(distinct),
    )


def _encoded(model: Model, texts: Sequence[str], chat: bool) -> Iterator[list[int]]:
    for start in range(0, len(texts), _ENCODED_TOGETHER):
        part = [Prompt(text) for text in texts[start : start + _ENCODED_TOGETHER]]
        yield from encode_many(model, part, chat=chat)


def divergences(
    before: Model, after: Model, held_out: HeldOut, *, batch_size: int = 16
) -> Divergences:
    """KL(before || after) of the next-token distributions, at every token that has a next one.

    A text of n tokens gives n - 1 values. Texts of like length share batches; the numbers do not
    depend on that. Log-probabilities are float32, whatever the models are in.

    Args:
        before: the model that is compared with.
        after: the changed model.
        held_out: the texts.
        batch_size: most texts in a batch; fewer where their logits would take more than
            `BATCH_BYTES`.

    Raises:
        ModelError: the two have different vocabularies, or give numbers that are not finite.
    """
    check_vocabulary(before, after)
    order = sorted(range(len(held_out.ids)), key=lambda at: len(held_out.ids[at]))
    found: dict[int, Floats] = {}
    for part in _batches(before, held_out, order, batch_size):
        batch = [held_out.ids[at] for at in part]
        found |= zip(part, _batch(before, after, batch), strict=True)
    values = [found[at] for at in range(len(held_out.ids))]
    names = tuple(str(at) for at, each in enumerate(values) for _ in range(len(each)))
    return Divergences(np.concatenate(values), names)


def pooled(parts: Sequence[Divergences]) -> Divergences:
    """Divergences of several models on the same texts, every model's alike."""
    return Divergences(
        np.concatenate([part.values for part in parts]),
        tuple(text for part in parts for text in part.texts),
    )


def check_vocabulary(before: Model, after: Model) -> None:
    """Refuse two models that do not speak of the same tokens.

    Raises:
        ModelError: they do not.
    """
    sizes = [_vocabulary(model) for model in (before, after)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"{after.name} predicts {sizes[1]} tokens, but {before.name} {sizes[0]}: compare "
            "models that were trained from the same one."
        )
    if before.tokenizer is after.tokenizer:
        return
    if before.tokenizer.get_vocab() != after.tokenizer.get_vocab():
        raise ModelError(
            f"The tokenizer of {after.name} is not that of {before.name}: compare models that were "
            "trained from the same one."
        )


def _vocabulary(model: Model) -> int:
    return int(model.hf.config.get_text_config().vocab_size)


def _batches(
    model: Model, held_out: HeldOut, order: Sequence[int], most: int
) -> Iterator[list[int]]:
    """Texts of like length, from the shortest, as many as may be together."""
    tokens = BATCH_BYTES // (4 * _vocabulary(model))
    limit = model.rotary_limit
    part: list[int] = []
    for at in order:
        width = len(held_out.ids[at])
        # A long text would change the embeddings of the short ones beside it.
        alone = limit is not None and width > limit
        if part and (len(part) == most or (len(part) + 1) * width > tokens or alone):
            yield part
            part = []
        part.append(at)
    if part:
        yield part


@torch.no_grad()
def _batch(before: Model, after: Model, ids: Sequence[Sequence[int]]) -> list[Floats]:
    """Divergences of each text of a batch, shape (tokens - 1,)."""
    ahead, behind = (_log_probabilities(model, ids) for model in (before, after))
    behind = behind.to(ahead.device)
    # Where a token is impossible before, it adds nothing, whatever comes after.
    shares = ahead.exp()
    terms = torch.where(shares > 0, shares * (ahead - behind), 0.0)
    # Never negative in exact numbers.
    values = terms.sum(-1).clamp_min(0).cpu()
    if not bool(torch.isfinite(values).all()):
        raise ModelError(
            f"The predictions of {before.name} or {after.name} are not finite on some text: try "
            "another dtype."
        )
    return [values[row, : len(text) - 1].numpy().astype(np.float64) for row, text in enumerate(ids)]


def _log_probabilities(model: Model, ids: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities (nats) of the next token, batch pos vocab, float32; 0 on padding."""
    batch = encode_batch(model, ids, "right")
    ((_, inputs),) = batch.parts()
    logits: Tensor = model.hf(**inputs, use_cache=False).logits[:, :-1]
    found = logits.float().log_softmax(-1)
    return found.masked_fill(batch.mask[:, 1:, None].to(found.device) == 0, 0.0)
