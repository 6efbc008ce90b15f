"""Retention: how far a model's next-token distributions moved on texts in the central language.

KL(before || after), in nats per token: what a reader of the changed model's predictions loses where
nothing should have changed (docs/methods.md, 7.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosslatent.core.errors import ModelError, SpaceError
from crosslatent.core.specs import AsChat
from crosslatent.lens.evaluation.contents import Span, content_span
from crosslatent.model import Model, encode_batch
from crosslatent.model.chat import Prompt
from crosslatent.model.modes import answering
from crosslatent.model.prompts import encode_many
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
        left_out: texts in which nothing is predicted: of fewer than two tokens, or (through a chat
            template) with none of their own within the context.
        cut: texts that were longer than the model's context, and cut to it.
        repeated: texts that had been there before; each counts once.
    """

    ids: tuple[tuple[int, ...], ...]
    left_out: int
    cut: int
    repeated: int
    spans: tuple[Span, ...] = ()
    """Of each text, the tokens that are its own and not a chat template's; none: all are."""

    def counted(self, at: int) -> slice:
        """Of the tokens of a text that are predicted, its 2nd to its last, those that count."""
        start, stop = self.spans[at] if self.spans else (0, len(self.ids[at]))
        return slice(max(start - 1, 0), max(stop - 1, 0))

    @property
    def positions(self) -> int:
        """Tokens that count, of all texts."""
        return sum(len(range(*self.counted(at).indices(10**9))) for at in range(len(self.ids)))

    @property
    def around(self) -> int:
        """Tokens that are predicted and do not count: those of the chat template."""
        return sum(len(ids) - 1 for ids in self.ids) - self.positions


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
    model: Model, texts: Sequence[str], *, chat: AsChat = False, max_tokens: int | None = None
) -> HeldOut:
    """Texts as token ids, tokenised like prompts.

    Args:
        model: whose tokenizer and context count.
        texts: texts in the central language.
        chat: through the chat template, as a question of the user; what the template says around a
            text, the same for all texts, is read but does not count.
        max_tokens: cut longer texts; None for the model's context.

    Raises:
        SpaceError: in no text is anything predicted.
        ModelError: the tokenizer has no chat template.
    """
    limit = min((n for n in (max_tokens, model.context_length) if n is not None), default=None)
    distinct = list(dict.fromkeys(texts))
    ids = [tuple(found) for found in _encoded(model, distinct, chat)]
    spans = [_span(model, text, found, chat) for text, found in zip(distinct, ids, strict=True)]
    short = [found[:limit] for found in ids]
    ends = [(start, min(stop, len(one))) for (start, stop), one in zip(spans, short, strict=True)]
    kept = [at for at, (start, stop) in enumerate(ends) if stop > max(start, 1)]
    if not kept:
        raise SpaceError(
            f"None of the {len(texts)} texts in the central language has two tokens or more: give "
            "longer ones."
        )
    return HeldOut(
        ids=tuple(short[at] for at in kept),
        left_out=len(ids) - len(kept),
        cut=sum(limit is not None and len(found) > limit for found in ids),
        repeated=len(texts) - len(distinct),
        spans=tuple(ends[at] for at in kept),
    )


def _span(model: Model, text: str, ids: Sequence[int], chat: AsChat) -> Span:
    return content_span(model, text, ids, chat=chat) if chat else (0, len(ids))


def _encoded(model: Model, texts: Sequence[str], chat: AsChat) -> Iterator[list[int]]:
    for start in range(0, len(texts), _ENCODED_TOGETHER):
        part = [Prompt(text) for text in texts[start : start + _ENCODED_TOGETHER]]
        yield from encode_many(model, part, chat=chat)


def divergences(
    before: Model,
    after: Model,
    held_out: HeldOut,
    *,
    batch_size: int = 16,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Divergences:
    """KL(before || after) of the next-token distributions, for every token that is predicted.

    A text of n tokens gives n - 1 values; through a chat template, one for each token of its own.
    Texts of like length share batches; the numbers do not depend on that.
    Log-probabilities are float32, whatever the models are in.

    Args:
        before: the model that is compared with.
        after: the changed model.
        held_out: the texts.
        batch_size: most texts in a batch; fewer where their logits would take more than
            `BATCH_BYTES`.
        around: opens what is open while `after` runs and closed while `before` does, such as
            `steered`; the two may then be one model.

    Raises:
        ModelError: the two have different vocabularies, or give numbers that are not finite.
    """
    check_vocabulary(before, after)
    order = sorted(range(len(held_out.ids)), key=lambda at: len(held_out.ids[at]))
    found: dict[int, Floats] = {}
    for part in _batches(before, held_out, order, batch_size):
        batch = [held_out.ids[at] for at in part]
        ahead = _log_probabilities(before, batch)
        with around():
            behind = _log_probabilities(after, batch)
        found |= zip(part, _batch(ahead, behind, batch), strict=True)
        if not all(np.isfinite(found[at]).all() for at in part):
            raise ModelError(
                f"The predictions of {before.name} or {after.name} are not finite on some text: "
                "try another dtype."
            )
    values = [found[at][held_out.counted(at)] for at in range(len(held_out.ids))]
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
    check_sizes(before, vocabulary_of(after), after.name)
    check_tokenizers(before, after)


def check_sizes(before: Model, size: int, name: str) -> None:
    """Refuse a model called `name` that predicts `size` tokens if `before` predicts others.

    Raises:
        ModelError: it does.
    """
    own = vocabulary_of(before)
    if size != own:
        raise ModelError(
            f"{name} predicts {size} tokens, but {before.name} {own}: compare models that were "
            "trained from the same one."
        )


def check_tokenizers(before: Model, after: Model) -> None:
    """Refuse two tokenizers that call tokens by other numbers.

    Raises:
        ModelError: they do.
    """
    if before.tokenizer is after.tokenizer:
        return
    if before.tokenizer.get_vocab() != after.tokenizer.get_vocab():
        raise ModelError(
            f"The tokenizer of {after.name} is not that of {before.name}: compare models that were "
            "trained from the same one."
        )


def vocabulary_of(model: Model) -> int:
    """How many tokens a model predicts."""
    return int(model.hf.config.get_text_config().vocab_size)


def _batches(
    model: Model, held_out: HeldOut, order: Sequence[int], most: int
) -> Iterator[list[int]]:
    """Texts of like length, from the shortest, as many as may be together."""
    tokens = BATCH_BYTES // (4 * vocabulary_of(model))
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
def _batch(ahead: Tensor, behind: Tensor, ids: Sequence[Sequence[int]]) -> list[Floats]:
    """Divergences of each text of a batch, shape (tokens - 1,), from log-probabilities."""
    behind = behind.to(ahead.device)
    # Where a token is impossible before, it adds nothing, whatever comes after.
    shares = ahead.exp()
    terms = torch.where(shares > 0, shares * (ahead - behind), 0.0)
    # Never negative in exact numbers.
    values = terms.sum(-1).clamp_min(0).cpu()
    return [values[row, : len(text) - 1].numpy().astype(np.float64) for row, text in enumerate(ids)]


def _log_probabilities(model: Model, ids: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities (nats) of the next token, batch pos vocab, float32; 0 on padding."""
    with answering(model.hf):
        batch = encode_batch(model, ids, "right")
        ((_, inputs),) = batch.parts()
        logits: Tensor = model.hf(**inputs, use_cache=False).logits[:, :-1]
        found = logits.float().log_softmax(-1)
        return found.masked_fill(batch.mask[:, 1:, None].to(found.device) == 0, 0.0)
