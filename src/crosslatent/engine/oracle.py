"""The oracle: one row at a time, the whole prompt through the model, one hook.

Plain on purpose. Every faster path is tested to give the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from crosslatent.engine.decoding import Decoded, greedy, log_probabilities
from crosslatent.engine.prefill import Prefilled, prefill
from crosslatent.interventions.intervention import Intervention, check_row
from crosslatent.interventions.rewrites import Window, rewrites
from crosslatent.model import Model, encode_batch, rewriting
from crosslatent.model.modes import answering, plain_settings


@plain_settings()
def run_rows(
    model: Model,
    main: Sequence[int],
    rows: Sequence[tuple[Intervention, ...]],
    *,
    max_new_tokens: int,
    watch: Sequence[int] = (),
    options: Sequence[Sequence[int]] = (),
    chunk: int | None = None,
) -> list[Decoded]:
    """Answer `main` once for each row of interventions (XTransplant, arXiv 2412.12686, 3.1).

    Args:
        model: the model.
        main: token ids of the prompt.
        rows: the interventions of each answer; an empty row is the unmodified run.
        max_new_tokens: most new tokens, the end token counted in.
        watch: token ids whose log-probability as first token is wanted.
        options: continuations, as token ids, whose log-probability is wanted.
        chunk: prompt tokens per forward; None for all at once.

    Raises:
        PairError: a row edits a site twice, or more tokens than the prompt has.
    """
    decoded = []
    for row in rows:
        with reading(model, main, row, chunk) as start:
            watched = log_probabilities(start.logits, watch)[0]
            measured = () if row else (0,)
            (answer,) = greedy(start, max_new_tokens, model.eos_ids, measured=measured)
        with answering(model.hf):
            scores = tuple(_score(model, main, row, option) for option in options)
        decoded.append(replace(answer, watched=watched, scores=scores))
    return decoded


@contextmanager
def reading(
    model: Model, main: Sequence[int], row: tuple[Intervention, ...], chunk: int | None = None
) -> Iterator[Prefilled]:
    """The whole prompt through the model under one row's interventions.

    They stay while the context is open, for those that act on generated tokens too.

    Raises:
        PairError: see `run_rows`.
    """
    check_row(row, len(model.decoder_reads(main)))
    with answering(model.hf):
        prompt = encode_batch(model, [main])
        window = Window(prompt.last, lengths=prompt.mask.sum(-1))
        with rewriting(model, rewrites(row, window)):
            yield prefill(model, prompt, chunk=chunk, window=window)


def _score(
    model: Model, main: Sequence[int], row: tuple[Intervention, ...], option: Sequence[int]
) -> float:
    """Log-probability (nats) of one continuation, read as one text with the prompt."""
    prompt = encode_batch(model, [main])
    window = Window(prompt.last, lengths=prompt.mask.sum(-1))
    ((_, whole),) = prompt.followed_by(option).parts()
    if not model.has_encoder:
        whole["logits_to_keep"] = len(option) + 1
    with rewriting(model, rewrites(row, window)):
        logits = model.hf(**whole).logits[0, -1 - len(option) : -1]
    chosen = torch.tensor(list(option), device=logits.device)[:, None]
    return float(logits.float().log_softmax(-1).gather(-1, chosen).sum())
