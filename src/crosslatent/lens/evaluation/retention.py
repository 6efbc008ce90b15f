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
from crosslatent.lens.states import length_batches
from crosslatent.model import Model, encode_batch
from crosslatent.model.chat import Prompt, put_as_chat
from crosslatent.model.modes import answering
from crosslatent.model.prompts import encode_many
from crosslatent.stats import Estimate, clustered_mean
from crosslatent.stats.clusters import Floats

BATCH_BYTES = 256 * 2**20
"""What the logits of one batch of one model may take, as float32; a single long text may be more.

There are a few such tables at a time: two models', and their log-probabilities.
"""

_ENCODED_TOGETHER = 256

Span = tuple[int, int]
"""First token, and the one after the last."""

_MARK = "\ue000\ue001"
"""Private characters, which no template has, in the place of the text."""


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

    def counted(self, text: int) -> slice:
        """Of the tokens of a text that are predicted, its 2nd to its last, those that count."""
        start, stop = self.spans[text] if self.spans else (0, len(self.ids[text]))
        return slice(max(start - 1, 0), max(stop - 1, 0))

    @property
    def positions(self) -> int:
        """Tokens that count, of all texts."""
        spans = map(self.counted, range(len(self.ids)))
        return sum(max(span.stop - span.start, 0) for span in spans)

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
    kept, spans, cut = [], [], 0
    for text, whole in zip(distinct, _encoded(model, distinct, chat), strict=True):
        ids = tuple(whole[:limit])
        cut += len(ids) < len(whole)
        start, stop = content_span(model, text, whole, chat=chat) if chat else (0, len(ids))
        stop = min(stop, len(ids))
        if stop > max(start, 1):
            kept.append(ids)
            spans.append((start, stop))
    if not kept:
        raise SpaceError(
            f"None of the {len(texts)} texts in the central language has two tokens or more: give "
            "longer ones."
        )
    repeated = len(texts) - len(distinct)
    return HeldOut(tuple(kept), len(distinct) - len(kept), cut, repeated, tuple(spans))


def _encoded(model: Model, texts: Sequence[str], chat: AsChat) -> Iterator[list[int]]:
    for start in range(0, len(texts), _ENCODED_TOGETHER):
        part = [Prompt(text) for text in texts[start : start + _ENCODED_TOGETHER]]
        yield from encode_many(model, part, chat=chat)


def content_span(model: Model, text: str, ids: Sequence[int], *, chat: AsChat = True) -> Span:
    """The tokens of a text among those of its chat prompt.

    Characters tell, where the tokenizer says which characters each token is of; a token on the edge
    that has some of the text is the text's. Elsewhere tokens tell: what the prompt does not share
    with one of an empty text, from its beginning and from its end.

    Args:
        model: whose tokenizer and template count.
        text: the text.
        ids: token ids of `text` through the chat template.
        chat: a `core.specs.Chat` holds the arguments that the template got.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    return _by_characters(model, text, ids, chat) or _by_tokens(model, ids, chat)


def _by_characters(model: Model, text: str, ids: Sequence[int], chat: AsChat) -> Span | None:
    """None if the tokenizer tells no characters, or the template changes with the text."""
    if not model.tokenizer.is_fast:
        return None
    rendered = str(put_as_chat(model, Prompt(text), tokenize=False, chat=chat))
    around = str(put_as_chat(model, Prompt(_MARK), tokenize=False, chat=chat))
    before, marked, after = around.partition(_MARK)
    start, stop = len(before), len(rendered) - len(after)
    whole = rendered.startswith(before) and rendered.endswith(after) and start <= stop
    if not (marked and whole and rendered[start:stop].strip() == text.strip()):
        return None
    # As apply_chat_template does it: the template writes the special tokens itself.
    encoded = model.tokenizer(
        rendered, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    if list(encoded["input_ids"]) != list(ids):
        return None
    offsets = enumerate(encoded["offset_mapping"])
    inside = [token for token, (first, last) in offsets if first < stop and last > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _by_tokens(model: Model, ids: Sequence[int], chat: AsChat) -> Span:
    (empty,) = encode_many(model, [Prompt("")], chat=chat)
    start = _shared(ids, empty, min(len(ids), len(empty)))
    left = min(len(ids), len(empty)) - start
    return start, len(ids) - _shared(ids[::-1], empty[::-1], left)


def _shared(one: Sequence[int], other: Sequence[int], most: int) -> int:
    """How many tokens two texts share from their beginning, at most `most`."""
    pairs = enumerate(zip(one[:most], other[:most], strict=True))
    return next((token for token, (here, there) in pairs if here != there), most)


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
    order = sorted(range(len(held_out.ids)), key=lambda text: len(held_out.ids[text]))
    values: dict[int, Floats] = {}
    room = BATCH_BYTES // (4 * _vocabulary_of(before))
    limit = before.rotary_limit
    for part in length_batches(held_out.ids, order, limit, most=batch_size, tokens=room):
        batch = [held_out.ids[text] for text in part]
        ahead = _log_probabilities(before, batch)
        with around():
            behind = _log_probabilities(after, batch)
        for text, found in zip(part, _batch(ahead, behind, batch), strict=True):
            values[text] = found[held_out.counted(text)]
            if not np.isfinite(found).all():
                raise ModelError(
                    f"The predictions of {before.name} or {after.name} are not finite on some "
                    "text: try another dtype."
                )
    each = [values[text] for text in range(len(held_out.ids))]
    names = tuple(str(text) for text, found in enumerate(each) for _ in found)
    return Divergences(np.concatenate(each), names)


def pooled(parts: Sequence[Divergences]) -> Divergences:
    """Divergences of several models on the same texts, every model's alike."""
    return Divergences(
        np.concatenate([part.values for part in parts]),
        tuple(text for part in parts for text in part.texts),
    )


def check_vocabulary(before: Model, after: Model, size: int | None = None) -> None:
    """Refuse two models that do not have the same tokens.

    Args:
        before: one model.
        after: the other.
        size: how many tokens it predicts, if its weights are not read yet.

    Raises:
        ModelError: one predicts more tokens, or their tokenizers number them otherwise.
    """
    own, other = _vocabulary_of(before), _vocabulary_of(after) if size is None else size
    if other != own:
        raise ModelError(
            f"{after.name} predicts {other} tokens, but {before.name} {own}: compare models that "
            "were trained from the same one."
        )
    one, two = before.tokenizer, after.tokenizer
    if one is not two and one.get_vocab() != two.get_vocab():
        raise ModelError(
            f"The tokenizer of {after.name} is not that of {before.name}: compare models that were "
            "trained from the same one."
        )


def _vocabulary_of(model: Model) -> int:
    """How many tokens a model predicts."""
    return int(model.hf.config.get_text_config().vocab_size)


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
