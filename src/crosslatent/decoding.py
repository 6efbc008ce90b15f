"""Prefill and greedy decoding with a key-value cache, over padded batches.

Plain greedy: the highest logit wins, and nothing of the model's generation config but its end
tokens is applied (no repetition penalty, no forced tokens), so that rows can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from crosslatent.edits import Window
from crosslatent.model import Model, PromptBatch


@dataclass(slots=True)
class Prefilled:
    """A prompt batch after its prefill.

    Attributes:
        cache: keys and values of all prompt columns.
        logits: at the last real token of each row, batch vocab.
        mask: of the prompt, batch pos.
    """

    cache: Cache
    logits: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Decoded:
    """One generated answer.

    Attributes:
        ids: new token ids, without the end token.
        watched: log-probabilities (nats) of the watched tokens as the first new token.
        min_margin: smallest gap between the two highest logits over the steps taken.
        finite: False if a logit was NaN or the highest one infinite.
    """

    ids: tuple[int, ...]
    watched: tuple[float, ...]
    min_margin: float
    finite: bool


@torch.no_grad()
def prefill(
    model: Model, batch: PromptBatch, *, chunk: int | None = None, window: Window | None = None
) -> Prefilled:
    """Run the prompts through the model once.

    Args:
        model: the model.
        batch: prompts, padded on either side.
        chunk: columns per forward; None for all at once.
        window: moved along with the chunks, for whoever reads or edits the last token.
    """
    cache = DynamicCache(config=model.hf.config)
    window = window or Window(batch.last)
    width = batch.ids.shape[1]
    logits: Tensor | None = None
    for start in range(0, width, chunk or width):
        stop = min(start + (chunk or width), width)
        window.start = start
        rows, columns = window.here(stop - start)
        keep = torch.unique(columns) if len(rows) else columns.new_tensor([stop - start - 1])
        out = model.hf(
            input_ids=batch.ids[:, start:stop],
            attention_mask=batch.mask[:, :stop],
            position_ids=batch.positions[:, start:stop],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        if logits is None:
            logits = out.new_zeros((out.shape[0], out.shape[-1]))
        logits[rows] = out[rows, torch.searchsorted(keep, columns)]
    window.start = None
    assert logits is not None
    return Prefilled(cache, logits, batch.mask)


@torch.no_grad()
def greedy(
    model: Model, start: Prefilled, max_new_tokens: int, watch: Sequence[int] = ()
) -> list[Decoded]:
    """Decode greedily from a prefill, all rows together, until each has ended.

    Args:
        model: the model.
        start: changed by this call (its cache grows).
        max_new_tokens: most tokens per row, the end token counted in.
        watch: token ids whose log-probability as first token is wanted.
    """
    logits, mask = start.logits, start.mask
    watched = _log_probabilities(logits, watch)
    n_rows = logits.shape[0]
    ids: list[list[int]] = [[] for _ in range(n_rows)]
    margins = torch.full((n_rows,), torch.inf)
    finite = torch.ones(n_rows, dtype=torch.bool)
    alive = torch.ones(n_rows, dtype=torch.bool)
    for step in range(max_new_tokens):
        token, margin, sane = (part.cpu() for part in _choose(logits))
        margins = torch.where(alive, torch.minimum(margins, margin), margins)
        finite &= sane | ~alive
        alive &= ~torch.isin(token, torch.tensor(sorted(model.eos_ids), dtype=token.dtype))
        for row in torch.nonzero(alive).flatten().tolist():
            ids[row].append(int(token[row]))
        if not alive.any() or step == max_new_tokens - 1:
            break
        mask = torch.cat([mask, mask.new_ones((n_rows, 1))], dim=-1)
        logits = _step(model, token.to(mask.device), mask, start.cache)
    return [
        Decoded(tuple(ids[row]), watched[row], float(margins[row]), bool(finite[row]))
        for row in range(n_rows)
    ]


def _step(model: Model, token: Tensor, mask: Tensor, cache: Cache) -> Tensor:
    out = model.hf(
        input_ids=token[:, None],
        attention_mask=mask,
        position_ids=mask.sum(-1, keepdim=True) - 1,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def _choose(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Greedy token, top-2 margin and finiteness of each row; the lowest id wins an exact tie."""
    best, token = logits.max(-1)
    top = logits.float().topk(2, dim=-1).values
    return token, top[:, 0] - top[:, 1], torch.isfinite(best)


def _log_probabilities(logits: Tensor, watch: Sequence[int]) -> list[tuple[float, ...]]:
    if not watch:
        return [()] * logits.shape[0]
    index = torch.tensor(list(watch), device=logits.device)
    chosen = logits.float().log_softmax(-1)[:, index]
    return [tuple(row) for row in chosen.tolist()]
