"""The middle path: rows of one prompt in a batch, its prefix copied into a cache of every row.

For models whose attention cannot be replaced, and for those with an encoder (`encoded`). Every
block is computed for every row, and the prefix is held once per row, so it takes more time and much
more memory than `shared`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import Cache, DynamicCache

from crosslatent.engine.contract import Pick
from crosslatent.engine.decoding import Decoded, Prefilled, Tick, greedy, log_probabilities, silent
from crosslatent.engine.encoded import EncodedPrompt
from crosslatent.engine.prefix import PrefixRows, Unshareable, read
from crosslatent.engine.requests import Request
from crosslatent.engine.rewrites import rewrites
from crosslatent.interventions.intervention import Intervention, Window, at_end
from crosslatent.interventions.intervention import rewrites as in_window
from crosslatent.model import Model, encode_batch, rewriting


class ExpandedPrompts:
    """One prompt that has been read up to the end that its rows may edit."""

    def __init__(self, model: Model, requests: Sequence[Request], chunk: int | None = None) -> None:
        """Read the prompt.

        Args:
            model: the model.
            requests: one.
            chunk: prompt tokens per forward; None for all at once.

        Raises:
            Unshareable: the prompt cannot be read in parts.
        """
        if model.reads_both_ways:
            raise Unshareable("the tokens of its prompts see those after them")
        (self._request,) = requests
        self._model = model
        self._buffers: tuple[tuple[int, int], PrefixRows] | None = None
        self._encoded = EncodedPrompt(model, self._request.main) if model.has_encoder else None
        self._read = model.decoder_reads(self._request.main)
        self._before = 0 if model.has_encoder else len(self._read) - self._request.tail
        """Tokens that are read before the end that rows may edit."""
        if self._encoded is None:
            prefix, window = self._request.main[: -self._request.tail], self._window(1)
            with rewriting(model, in_window(self._request.common, window)):
                self._prefix = _read_prefix(model, prefix, chunk, window)

    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked (0, row) together, in their order."""
        request = self._request
        room = request.tail + max([max_new_tokens, *map(len, request.options)])
        plain = [at for at, (_, row) in enumerate(picks) if row in request.plain]
        window = self._window(len(picks))
        with rewriting(self._model, in_window(request.common, window)):
            # Before the others are read, since buffers serve one batch after the other.
            apart = self._plain_scores(room) if plain else ()
            window.start = self._before
            start = self._read_end([at_end(request.rows[row]) for _, row in picks], room)
            window.start = None
            watched = log_probabilities(start.logits, request.watch)
            scores = _scored(start, () if request.plain_only else request.options)
            scores = [apart if apart and at in plain else row for at, row in enumerate(scores)]
            answers = greedy(start, max_new_tokens, self._model.eos_ids, tick, plain)
        return [answers.row(at, watched[at], scores[at]) for at in range(len(picks))]

    def _window(self, rows: int) -> Window:
        """Where the prompt ends in so many rows."""
        length = len(self._read)
        return Window(torch.full((rows,), length - 1), lengths=torch.full((rows,), length))

    def _plain_scores(self, room: int) -> tuple[float, ...]:
        """Log-probabilities (nats) of the options that unmodified rows alone are asked for."""
        if not self._request.plain_only:
            return ()
        (found,) = _scored(self._read_end([()], room), self._request.options)
        return found

    @torch.no_grad()
    def _read_end(self, rows: Sequence[tuple[Intervention, ...]], room: int) -> Prefilled:
        """The end of the prompt through the model in every row, each with its own edits."""
        if self._encoded is not None:
            return self._encoded.read(rows)
        request, model = self._request, self._model
        mask = torch.ones((len(rows), self._before), dtype=torch.long, device=model.device)
        start = Prefilled(model, self._cache(len(rows), room), torch.empty((len(rows), 0)), mask)
        end = torch.tensor(request.main[-request.tail :])
        with rewriting(model, rewrites(rows)):
            start.logits = start.read(end.expand(len(rows), -1))[:, -1]
        return start

    def _cache(self, n_rows: int, room: int) -> Cache:
        """A cache for so many rows; the buffers of an earlier, larger batch serve again."""
        if self._buffers is None or n_rows > self._buffers[0][0] or room > self._buffers[0][1]:
            self._buffers = ((n_rows, room), PrefixRows(self._prefix, n_rows, room))
        return self._buffers[1].cache(n_rows)


def _read_prefix(model: Model, prefix: Sequence[int], chunk: int | None, window: Window) -> Cache:
    if not prefix:
        return DynamicCache(config=model.hf.config)
    return read(model, encode_batch(model, [prefix]), chunk, window)


def _scored(start: Prefilled, options: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """Log-probabilities (nats) of continuations, a tuple a row; leaves the rows as they were."""
    columns = [_score(start, option) for option in options]
    return list(zip(*columns, strict=True)) or [()] * len(start.logits)


@torch.no_grad()
def _score(start: Prefilled, option: Sequence[int]) -> list[float]:
    """Log-probability (nats) of one continuation in every row; leaves the rows as they were."""
    logits = start.logits[:, None]
    if len(option) > 1:
        rows = replace(start, cache=copy.deepcopy(start.cache))
        read = torch.tensor(option[:-1]).expand(len(start.logits), -1)
        logits = torch.cat([logits, rows.read(read)], dim=1)
    chosen = torch.tensor(option, device=logits.device).expand(len(logits), -1)[..., None]
    total: list[float] = logits.float().log_softmax(-1).gather(-1, chosen).sum((1, 2)).tolist()
    return total
