"""Prompts under interventions in, judged rows out: all answers come through `ask`; and samples."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from crosslatent import engine
from crosslatent.answering.scoring import ItemScorer
from crosslatent.core.errors import UsageError
from crosslatent.engine import EnginePath
from crosslatent.engine.decoding import Decoded, rows_at_once, silent
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.engine.prefill import Prefilled, prefill
from crosslatent.engine.requests import Request
from crosslatent.interventions.intervention import Intervention
from crosslatent.model import Model, encode_batch
from crosslatent.model.modes import answering


@dataclass(frozen=True, slots=True)
class Prompted:
    """One prompt, the interventions of each of its answers, and what judges these.

    Attributes:
        prompt: token ids.
        rows: the interventions of each answer; an empty row is the unmodified model.
        scorer: what judges; None where the caller reads the answers itself.
        options: continuations that are scored where there is no scorer.
        watch: tokens whose log-probability as first token is wanted where there is no scorer.
        least_tail: see `engine.requests.Request`.
    """

    prompt: tuple[int, ...]
    rows: tuple[tuple[Intervention, ...], ...]
    scorer: ItemScorer | None = None
    options: tuple[tuple[int, ...], ...] = ()
    watch: tuple[int, ...] = ()
    least_tail: int = 1

    @property
    def request(self) -> Request:
        """What the engine is asked.

        Raises:
            PairError: a row changes what the prompt does not have.
        """
        judge = self.scorer
        if judge is None:
            return Request(self.prompt, self.rows, self.watch, self.options, self.least_tail)
        return Request(
            self.prompt,
            self.rows,
            tuple(judge.watch),
            judge.continuations,
            self.least_tail,
            plain_only=not judge.whole,
        )


class JudgedRow(NamedTuple):
    """One answer.

    Attributes:
        record: the columns of `runs.schema.ROWS` that follow from the answer; empty without judge.
        decoded: the answer as it was decoded.
        path: how it was computed, one of `specs.PATHS`, or `specs.EXACT`.
        seconds: its share of the wall time of its batch.
        engine: the path of its batch, with the reason why no faster one was taken.
    """

    record: dict[str, Any]
    decoded: Decoded
    path: str
    seconds: float
    engine: EnginePath


def ask(
    model: Model,
    prompts: Iterable[Prompted],
    *,
    max_new_tokens: int,
    path: EnginePath | None = None,
    batch_rows: int | None = None,
    exact: TieBreaker | None = None,
    advance: Callable[[float], None] = silent,
) -> Iterator[tuple[JudgedRow, ...]]:
    """Answer prompts under their interventions, and judge the answers.

    Args:
        model: who answers.
        prompts: taken as they are needed; rows of several share a batch.
        max_new_tokens: most new tokens, the end token counted in.
        path: how rows are computed; None for the fastest that serves the model.
        batch_rows: rows per batch; None for what memory holds.
        exact: answers near-ties again; None to leave them.
        advance: gets how many rows have been answered, parts of those under way included.

    Yields:
        The rows of one prompt, in the order of the prompts.

    Raises:
        MemoryShortError: memory does not suffice for one row.
        PairError: a row changes what its prompt does not have.
    """
    waiting: deque[tuple[Prompted, Request]] = deque()

    def requests() -> Iterator[Request]:
        for prompted in prompts:
            request = prompted.request
            waiting.append((prompted, request))
            yield request

    answers = engine.run(
        model,
        requests(),
        max_new_tokens=max_new_tokens,
        path=path,
        batch_rows=batch_rows,
        advance=advance,
    )
    for answered in answers:
        prompted, request = waiting.popleft()
        judge = prompted.scorer
        taken = EnginePath(answered.paths[0] if answered.paths else "", answered.reason)
        if exact is not None:
            rows = answered.rows
            margins = [row.min_margin if judge is None else judge.margin(row) for row in rows]
            answered = exact.settle(request, answered, margins)  # noqa: PLW2901 - near-ties again
        columns = zip(answered.rows, answered.paths, answered.seconds, strict=True)
        yield tuple(
            JudgedRow({} if judge is None else judge.record(row), row, way, seconds, taken)
            for row, way, seconds in columns
        )


_BELOW_ONE = 1 - 2**-20
"""Keeps a random number times the whole probability below it, after rounding."""


def sample(
    model: Model,
    prompts: Sequence[Sequence[int]],
    names: Sequence[str],
    *,
    samples: int,
    max_new_tokens: int,
    seed: int = 0,
    temperature: float = 1.0,
    batch_rows: int = 64,
    advance: Callable[[int], None] | None = None,
) -> Iterator[list[str]]:
    """Sample answers to prompts; each prompt is read once.

    Args:
        model: the model.
        prompts: token ids.
        names: of the prompts; equal names draw equal random numbers.
        samples: answers per prompt.
        max_new_tokens: most new tokens, the end token counted in.
        seed: of the draws.
        temperature: what logits are divided by; 1 is the model's own distribution.
        batch_rows: answers that are sampled together; the draws do not depend on it.
        advance: called after every batch with the number of answers made so far.

    Yields:
        The texts for each prompt, in the order in which they were drawn.

    Raises:
        UsageError: not a positive number of samples or temperature.
    """
    check_sampling(samples, temperature)
    together = max(1, batch_rows // samples)
    limit = model.rotary_limit
    if limit is not None and max(map(len, prompts), default=0) + max_new_tokens > limit:
        together = 1  # a long prompt would change the embeddings of the short ones beside it
    for at in range(0, len(prompts), together):
        part = prompts[at : at + together]
        with answering(model.hf):
            draws = [_draws(seed, name, samples, max_new_tokens) for name in names[at:][:together]]
            rows = prefill(model, encode_batch(model, part))
            _repeat(rows, samples)
            ids = _sampled(rows, torch.cat(draws), temperature, model.eos_ids)
        texts = [model.text_of(row) for row in ids]
        for prompt in range(len(part)):
            yield texts[prompt * samples : (prompt + 1) * samples]
        if advance is not None:
            advance((at + len(part)) * samples)


def check_sampling(samples: int, temperature: float = 1.0) -> None:
    """Refuse what cannot be sampled.

    Raises:
        UsageError: fewer than one sample, or a temperature that is not above 0.
    """
    if samples < 1:
        raise UsageError(f"The number of samples is {samples}: it must be 1 or more.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"The temperature is {temperature}: it must be a number above 0.")


def _draws(seed: int, name: str, samples: int, steps: int) -> Tensor:
    """Uniform random numbers for the answers to one prompt, samples steps."""
    digest = hashlib.sha256(f"{seed}/{name}/samples".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand((samples, steps), generator=generator, dtype=torch.float64)


def _repeat(rows: Prefilled, times: int) -> None:
    """Every row so many times, side by side."""
    rows.keep(torch.arange(len(rows.mask)).repeat_interleave(times))


def _sampled(
    rows: Prefilled, draws: Tensor, temperature: float, eos_ids: frozenset[int]
) -> list[list[int]]:
    """New token ids of every row, end token left out; uses `rows` up.

    Args:
        rows: rows that have read their prompts.
        draws: uniform random numbers, rows steps.
        temperature: what logits are divided by.
        eos_ids: tokens that end an answer.
    """
    ids: list[list[int]] = [[] for _ in draws]
    here = list(range(len(draws)))  # the answer that each row of the batch writes
    device, steps = rows.logits.device, draws.shape[1]
    draws = draws.to(device, torch.float64 if has_float64(device) else torch.float32)
    for step in range(steps):
        token = _drawn(rows.logits, draws[:, step], temperature)
        drawn = token.tolist()
        alive = [at for at, one in enumerate(drawn) if one not in eos_ids]
        for at in alive:
            ids[here[at]].append(drawn[at])
        if step == steps - 1 or not alive:
            break
        if len(alive) < len(here):
            stay = torch.tensor(alive, device=device)
            rows.keep(stay)
            here, token, draws = [here[at] for at in alive], token[stay], draws[stay]
        rows.feed(token)
    return ids


def _drawn(logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """The token at which the summed probability passes the random number, rows.

    Args:
        logits: rows vocab, on any device.
        draws: uniform random numbers, rows, there too: float64 where the device has that.
        temperature: what logits are divided by.
    """
    draw = _drawn_at if draws.dtype == torch.float64 else _drawn_by_blocks
    rows = rows_at_once(logits)
    scaled = (part.to(draws.dtype) / temperature for part in logits.split(rows))
    return torch.cat([draw(*part) for part in zip(scaled, draws.split(rows), strict=True)])


def _drawn_at(logits: Tensor, draws: Tensor) -> Tensor:
    """As `_drawn`; a sum over a large vocabulary wants float64."""
    probs = logits.softmax(-1).cumsum(-1)
    passed = draws[:, None] * probs[:, -1:] * _BELOW_ONE
    return torch.searchsorted(probs, passed, right=True)[:, 0]


def _drawn_by_blocks(logits: Tensor, draws: Tensor, width: int = 256) -> Tensor:
    """As `_drawn` in float32: the block of `width` tokens is drawn, then the token in it.

    No sum runs over more than some hundred numbers, so a probability is off by some 1e-6 at most.
    """
    vocab = logits.shape[-1]
    weights = functional.pad(logits.softmax(-1), (0, -vocab % width)).unflatten(-1, (-1, width))
    sums = weights.sum(-1)
    before = sums.cumsum(-1)
    passed = draws * before[:, -1] * _BELOW_ONE
    block = _first_above(before, passed, sums)
    left = passed - (before - sums).gather(-1, block)[:, 0]
    inside = weights.gather(1, block[..., None].expand(-1, -1, width))[:, 0]
    return (block * width + _first_above(inside.cumsum(-1), left, inside))[:, 0]


def _first_above(sums: Tensor, passed: Tensor, parts: Tensor) -> Tensor:
    """Where a running sum passes a number, rows 1: only at a part above 0; the last if nowhere."""
    places = torch.arange(parts.shape[-1], device=parts.device)
    last = torch.where(parts > 0, places, 0).amax(-1, keepdim=True)
    above = (sums > passed[:, None]) & (parts > 0)
    first = torch.where(above, places, parts.shape[-1]).amin(-1, keepdim=True)
    return torch.minimum(first, last)


@cache
def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; Apple's and some of Intel's do not."""
    try:
        return torch.ones(1, dtype=torch.float64, device=device).dtype == torch.float64
    except (RuntimeError, TypeError):
        return False
