"""Prompts as token ids: encoding with its checks, padding on either side, and real positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from crosslatent.core.errors import PromptError
from crosslatent.core.specs import AsChat
from crosslatent.model.chat import Prompt, put_as_chat
from crosslatent.model.model import Model

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts padded to one length.

    Attributes:
        ids: token ids that the decoder reads, batch pos.
        mask: 1 for real tokens, 0 for padding, batch pos.
        encoder: token ids and mask that the encoder reads, batch pos both; None without encoder.
        types: 0 for tokens that see all the prompt, 1 for those of an answer, batch pos; None where
            every token sees those before it alone.
    """

    ids: Tensor
    mask: Tensor
    encoder: tuple[Tensor, Tensor] | None = None
    types: Tensor | None = None

    @property
    def in_one(self) -> bool:
        """Whether it cannot be read in chunks, since tokens see those after them."""
        return self.encoder is not None or self.types is not None

    @property
    def last(self) -> Tensor:
        """Column of the last real token of each row, batch."""
        return last_real(self.mask)

    @property
    def positions(self) -> Tensor:
        """Position ids counted in real tokens, batch pos; 0 on padding."""
        return (self.mask.cumsum(-1) - 1).clamp_min(0)

    def parts(self, chunk: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """What the forwards of a prefill read, one after the other.

        Args:
            chunk: columns per forward; None for all at once, as ever where it is `in_one`.

        Yields:
            The first column, and the arguments that a model takes for these columns.
        """
        width = self.ids.shape[1]
        if self.encoder is not None:
            ids, mask = self.encoder
            yield 0, {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": self.ids}
            return
        size = width if chunk is None or self.in_one else chunk
        for start in range(0, width, size):
            part = slice(start, min(start + size, width))
            inputs = {
                "input_ids": self.ids[:, part],
                "attention_mask": self.mask[:, : part.stop],
                "position_ids": self.positions[:, part],
            }
            if self.types is not None:
                inputs["token_type_ids"] = self.types
            yield start, inputs

    def followed_by(self, tokens: Sequence[int]) -> PromptBatch:
        """The same prompts, each with these tokens after it; for prompts without padding."""
        added = torch.tensor(list(tokens), dtype=torch.long, device=self.ids.device)
        ids = torch.cat([self.ids, added.expand(len(self.ids), -1)], -1)
        types = None
        if self.types is not None:
            types = torch.ones_like(ids)
            types[:, : self.types.shape[1]] = self.types
        return PromptBatch(ids, torch.ones_like(ids), self.encoder, types)


def last_real(mask: Tensor) -> Tensor:
    """Column of the last 1 of each row of a mask, batch pos -> batch."""
    columns = torch.arange(mask.shape[-1], device=mask.device)
    return (mask * (columns + 1)).argmax(-1)


def encode(
    model: Model,
    prompt: str | Prompt,
    *,
    role: str = "",
    new_tokens: int = 0,
    chat: AsChat = False,
) -> list[int]:
    """Token ids of one prompt.

    Args:
        model: whose tokenizer and context length count.
        prompt: the prompt.
        role: what the prompt is, for messages ("main", "aux"); empty if there is but one.
        new_tokens: how many tokens will be generated after it.
        chat: through the tokenizer's chat template; the last token is then the last one of the
            template's generation prompt. A `core.specs.Chat` holds arguments for the template.

    Raises:
        PromptError: the prompt is empty, too long for the model's context, or holds a token that
            the model has no embedding for.
        ModelError: the tokenizer has no chat template.
    """
    given = Prompt(prompt) if isinstance(prompt, str) else prompt
    ids = encode_many(model, [given], chat=chat)[0]
    return check_ids(model, given, ids, role=role, new_tokens=new_tokens)


def encode_many(
    model: Model, prompts: Sequence[Prompt], *, chat: AsChat = False
) -> list[list[int]]:
    """Token ids of prompts, as `encode` gives them but unchecked: see `check_ids`.

    A text that begins with the begin token already (a chat that was rendered before) gets no second
    one from the tokenizer; what it puts after a text is left out: see `left_open`.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    if not chat:
        texts = [prompt.plain() for prompt in prompts]
        # What is too long is said by check_ids, and not by the tokenizer's warning.
        encoded: list[list[int]] = model.tokenizer(texts, verbose=False)["input_ids"]
        return [begun_once(model, ids) for ids in left_open(model, texts, encoded)]
    return [_chat_ids(model, prompt, chat) for prompt in prompts]


def _chat_ids(model: Model, prompt: Prompt, chat: AsChat) -> list[int]:
    """Token ids of one prompt through the chat template."""
    ids = [int(token) for token in put_as_chat(model, prompt, tokenize=True, chat=chat)]
    return begun_once(model, ids)


def begun_once(model: Model, ids: list[int]) -> list[int]:
    """Token ids with one begin token at most."""
    begin = model.tokenizer.bos_token_id
    return ids[1:] if begin is not None and ids[:2] == [begin, begin] else ids


def left_open(model: Model, texts: Sequence[str], encoded: Sequence[list[int]]) -> list[list[int]]:
    """Token ids of texts without what the tokenizer has put after them, such as an end token.

    A decoder goes on where its prompt ends, and after an end token it would begin another text. An
    encoder's prompt keeps its end, which it was trained with. What the text itself ends in stays.
    """
    if model.has_encoder or not texts:
        return list(encoded)

    def bare(some: Sequence[str]) -> list[list[int]]:
        read = model.tokenizer(list(some), add_special_tokens=False, verbose=False)
        return list(read["input_ids"])

    # What it adds is the same for all texts, so most tokenizers are found out by the first.
    if not _added_after(bare(texts[:1])[0], encoded[0]):
        return list(encoded)
    added = [_added_after(own, ids) for own, ids in zip(bare(texts), encoded, strict=True)]
    return [ids[: len(ids) - count] for ids, count in zip(encoded, added, strict=True)]


def _added_after(own: Sequence[int], ids: Sequence[int]) -> int:
    """How many tokens follow a text's own in what a tokenizer makes of it."""
    more = len(ids) - len(own)
    fits = (before for before in range(more + 1) if ids[before : before + len(own)] == own)
    before = next(fits, more)
    return more - before if own else 0


def check_ids(
    model: Model, prompt: Prompt, ids: list[int], *, role: str, new_tokens: int
) -> list[int]:
    """The token ids of a prompt, if the model can take them; see `encode`.

    Raises:
        PromptError: the prompt is empty, too long for the model's context, or holds a token that
            the model has no embedding for.
    """
    subject = f"{role} prompt" if role else "prompt"
    if not prompt.text.strip():
        raise PromptError(f"The {subject} is empty: give it some text.")
    if not ids:
        raise PromptError(f"The {subject} {prompt.text!r} gives no tokens: give it some text.")
    check_known(model, ids, f"The {subject}")
    limit = model.context_length
    if limit is None:
        return ids
    if not model.has_encoder and len(ids) + new_tokens > limit:
        raise PromptError(
            f"The {subject} has {len(ids)} tokens, and with {new_tokens} new ones that is more "
            f"than the model's context of {limit}: shorten it to {max(limit - new_tokens, 0)}."
        )
    # With two stacks, the encoder reads the prompt, and the decoder holds the answer.
    if len(ids) > limit:
        raise PromptError(
            f"The {subject} has {len(ids)} tokens, more than the {limit} that the model's "
            f"encoder takes: shorten it to {limit}."
        )
    written = len(model.decoder_reads(ids)) + new_tokens
    if model.has_encoder and written > limit:
        raise PromptError(
            f"The answer to the {subject} may have {written} tokens, more than the {limit} "
            f"that the model's decoder takes: ask for {limit - written + new_tokens} at most."
        )
    return ids


def check_known(model: Model, ids: Sequence[int], what: str) -> None:
    """Refuse tokens that the model has no embedding for.

    Raises:
        PromptError: there is one.
    """
    size = model.vocabulary
    unknown = next((token for token in ids if not 0 <= token < size), None)
    if unknown is not None:
        raise PromptError(
            f"{what} holds the token {unknown} ({model.token_text(unknown)!r}), but the model has "
            f"embeddings for the tokens 0 to {size - 1}: use the tokenizer that belongs to it, or "
            "hf.resize_token_embeddings."
        )


def check_positions(positions: int, *prompts: Sequence[int]) -> None:
    """Refuse to touch more of the last tokens than prompts have.

    Raises:
        PromptError: `positions` is below 1, or more than the tokens of the shortest prompt.
    """
    shortest = min(len(prompt) for prompt in prompts)
    if not 1 <= positions <= shortest:
        raise PromptError(
            f"Cannot carry over the last {positions} tokens where a prompt has {shortest}: give 1 "
            f"to {shortest} positions."
        )


def encode_batch(
    model: Model, prompts: Sequence[Sequence[int]], side: Side = "left"
) -> PromptBatch:
    """Pad token ids to a batch on the model's device.

    Padded positions are masked and never read, so any token id serves as padding. An encoder's
    prompts are padded on the right whatever `side` is: many count positions from the first column.
    """
    if model.has_encoder:
        starts = torch.tensor([list(model.decoder_reads(prompt)) for prompt in prompts])
        starts = starts.to(model.device)
        read = _padded(model, prompts, "right")
        return PromptBatch(starts, torch.ones_like(starts), (read.ids, read.mask))
    padded = _padded(model, prompts, side)
    if model.reads_both_ways:
        return replace(padded, types=torch.zeros_like(padded.ids))
    return padded


def _padded(model: Model, prompts: Sequence[Sequence[int]], side: Side) -> PromptBatch:
    width = max(len(ids) for ids in prompts)
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        start = width - len(prompt) if side == "left" else 0
        ids[row, start : start + len(prompt)] = torch.tensor(prompt)
        mask[row, start : start + len(prompt)] = 1
    return PromptBatch(ids.to(model.device), mask.to(model.device))
