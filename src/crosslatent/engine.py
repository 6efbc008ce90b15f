"""The batched engine: all rows of a prompt over keys and values of its prefix computed once.

Attention is causal and only the last prompt token is edited, so the cache of the tokens before it
is the same for every row. Rows are then one-token inputs over that cache (`prefix.PrefixRows`), and
are decoded together. Same contract as `oracle.run_rows`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from crosslatent.decoding import Decoded, Prefilled, greedy, prefill
from crosslatent.edits import Row
from crosslatent.model import Model, encode_batch, rewriting
from crosslatent.model.sites import Rewrite
from crosslatent.prefix import PrefixRows
from crosslatent.specs import Site

PATH = "expanded-cache"


def run_rows(
    model: Model,
    main: Sequence[int],
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    watch: Sequence[int] = (),
    chunk: int | None = None,
    batch_rows: int = 256,
) -> list[Decoded]:
    """Answer `main` once for each row, with that row's edits; see `oracle.run_rows`.

    Args:
        model: the model.
        main: token ids of the prompt.
        rows: the edits of each answer; an empty row is the unmodified run.
        max_new_tokens: most new tokens, the end token counted in.
        watch: token ids whose log-probability as first token is wanted.
        chunk: prefix tokens per forward; None for all at once.
        batch_rows: rows per batch; the answers do not depend on it, but for exact near-ties.
    """
    prefix = PrefixRows(
        _prefix_cache(model, main[:-1], chunk), min(batch_rows, len(rows)), max_new_tokens
    )
    decoded: list[Decoded] = []
    for at in range(0, len(rows), batch_rows):
        batch = rows[at : at + batch_rows]
        start = _last_token(model, main, batch, prefix.cache(len(batch)))
        decoded += greedy(model, start, max_new_tokens, watch)
    return decoded


def _prefix_cache(model: Model, prefix: Sequence[int], chunk: int | None) -> Cache:
    if not prefix:
        return DynamicCache(config=model.hf.config)
    return prefill(model, encode_batch(model, [prefix]), chunk=chunk).cache


@torch.no_grad()
def _last_token(model: Model, main: Sequence[int], rows: Sequence[Row], cache: Cache) -> Prefilled:
    """The last prompt token of every row through the model, each with its own edits."""
    n_rows, length = len(rows), len(main)
    mask = torch.ones((n_rows, length), dtype=torch.long, device=model.device)
    with rewriting(model, _edits_by_site(rows)):
        out = model.hf(
            input_ids=torch.full((n_rows, 1), main[-1], device=model.device),
            attention_mask=mask,
            position_ids=torch.full((n_rows, 1), length - 1, device=model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefilled(cache, out.logits[:, -1], mask)


def _edits_by_site(rows: Sequence[Row]) -> Mapping[Site, Rewrite]:
    """One rewrite per site, each touching only the rows that edit there."""
    grouped: dict[Site, tuple[list[int], list[Tensor]]] = defaultdict(lambda: ([], []))
    for number, row in enumerate(rows):
        for edit in row:
            grouped[edit.site][0].append(number)
            grouped[edit.site][1].append(edit.vector)
    return {
        site: _replace_rows(torch.tensor(numbers), torch.stack(vectors))
        for site, (numbers, vectors) in grouped.items()
    }


def _replace_rows(rows: Tensor, vectors: Tensor) -> Rewrite:
    def rewrite(hidden: Tensor) -> Tensor:
        changed = hidden.clone()
        changed[rows.to(hidden.device), -1] = vectors.to(hidden)
        return changed

    return rewrite
