"""Prefill and greedy decoding with a key-value cache, over padded batches.

Plain greedy: the highest logit wins, and nothing of the model's generation config but its end
tokens is applied (no repetition penalty, no forced tokens), so that rows can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from crosslatent.engine.prefix_layout import Copies

_WORTH_LEAVING = 0.9
"""DecodingBatch that have ended leave the batch when fewer than this share of it go on: leaving
copies the caches of those that stay."""


_LOGITS_AT_ONCE = {"cpu": 2**20}
"""Logits that are summed up together: 4 MiB of float32, which a cache of a CPU holds."""
_LOGITS_AT_ONCE_ELSEWHERE = 2**25
"""128 MiB of float32: few launches, and no more memory than a batch leaves free."""
_LOWEST = torch.finfo(torch.float32).min

Tick = Callable[[float], None]
"""Called with the share of a batch that is done, from 0 to 1."""


def silent(_share: float) -> None:
    """A `Tick` that does nothing."""


class DecodingBatch(Protocol):
    """Rows whose prompts have been read, and that generate one token each per step."""

    @property
    def logits(self) -> Float[Tensor, "rows vocab"]:
        """At the last token that each row has read."""
        ...

    def feed(self, tokens: Int[Tensor, " rows"]) -> None:
        """Read one more token in every row."""
        ...

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Let only these rows go on, in this order."""
        ...


class FirstStep(NamedTuple):
    """How sure the model was of the first new token.

    Attributes:
        logprob: log-probability (nats) of the token that was chosen, the likeliest one.
        entropy: of the distribution over the vocabulary, in nats.
        margin: gap between the two highest logits.
    """

    logprob: float
    entropy: float
    margin: float


UNSURE = FirstStep(math.nan, math.nan, math.nan)
"""Of an answer whose first step is not known."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One generated answer.

    Attributes:
        ids: new token ids, without the end token.
        watched: log-probabilities (nats) of the watched tokens as the first new token.
        min_margin: smallest gap between the two highest logits over the steps taken.
        finite: False if a logit was NaN or the highest one infinite.
        scores: log-probability (nats) of each option as the continuation of the prompt.
        first: how sure the first token was.
        mean_logprob: mean log-probability (nats) of `ids`, each after those before it; None where
            there are none, and in rows with edits, of which it is not measured.
    """

    ids: tuple[int, ...]
    watched: tuple[float, ...]
    min_margin: float
    finite: bool
    scores: tuple[float, ...] = ()
    first: FirstStep = UNSURE
    mean_logprob: float | None = None


@torch.no_grad()
def greedy(
    rows: DecodingBatch,
    max_new_tokens: int,
    eos_ids: frozenset[int],
    tick: Tick = silent,
    measured: Sequence[int] = (),
) -> list[Decoded]:
    """Decode greedily, all rows together; a row that has ended leaves the batch.

    Args:
        rows: rows that have read their prompts; used up by this call.
        max_new_tokens: most tokens per row, the end token counted in.
        eos_ids: tokens that end an answer.
        tick: called after every step with a lower bound of the share of tokens that are done.
        measured: rows whose tokens' log-probabilities are wanted; a sum over the vocabulary at
            every step, which is why not all rows get it.

    Returns:
        The answer of each row, without what is read of it beside decoding.
    """
    n_rows = len(rows.logits)
    ids = torch.zeros((n_rows, max_new_tokens), dtype=torch.long)
    lengths = torch.zeros(n_rows, dtype=torch.long)
    margins = torch.full((n_rows,), torch.inf)
    finite = torch.ones(n_rows, dtype=torch.bool)
    ends = torch.tensor(sorted(eos_ids), dtype=torch.long)
    here = torch.arange(n_rows)  # the row of the answers that each row of the batch writes
    alive = torch.ones(n_rows, dtype=torch.bool)  # of the rows in the batch
    first = _first_steps(rows.logits)
    surprise = _Surprise.of(n_rows, measured)
    for step in range(max_new_tokens):
        token, chosen, margin, sane = _choose(rows.logits)
        at = here[alive]
        margins[at] = torch.minimum(margins[at], margin[alive])
        finite[at] &= sane[alive]
        alive &= ~torch.isin(chosen, ends)
        at = here[alive]
        ids[at, step] = chosen[alive]
        lengths[at] += 1
        surprise.add(rows.logits, token, alive, here)
        tick((step + 1) / max_new_tokens)
        if not len(at) or step == max_new_tokens - 1:
            break
        if len(at) < _WORTH_LEAVING * len(here):
            stay = torch.nonzero(alive).flatten()
            rows.keep(stay)
            here, token, alive = at, token[stay.to(token.device)], alive[alive]
        rows.feed(token)
    means = surprise.means(lengths)
    columns = (ids.tolist(), lengths.tolist(), margins.tolist(), finite.tolist(), first, means)
    return [
        Decoded(tuple(row[:length]), (), margin, sane, (), sure, mean)
        for row, length, margin, sane, sure, mean in zip(*columns, strict=True)
    ]


@dataclass(slots=True)
class _Surprise:
    """Log-probabilities (nats) of the tokens of some rows of the answers.

    Attributes:
        wanted: which rows of the answers.
        places: their rows of the batch.
        steps: what was read of each token: the rows of the answers, and log-probabilities.
    """

    wanted: Bool[Tensor, " rows"]
    places: Copies
    steps: list[tuple[Int[Tensor, " some"], Float32[Tensor, " some"]]] = field(default_factory=list)

    @classmethod
    def of(cls, n_rows: int, measured: Sequence[int]) -> _Surprise:
        wanted = torch.zeros(n_rows, dtype=torch.bool)
        wanted[list(measured)] = True
        return cls(wanted, Copies(torch.nonzero(wanted).flatten()))

    def add(
        self,
        logits: Float[Tensor, "rows vocab"],
        token: Int[Tensor, " rows"],
        alive: Bool[Tensor, " rows"],
        here: Int[Tensor, " rows"],
    ) -> None:
        """Add the chosen token of the rows that go on.

        Args:
            logits: of the batch.
            token: what each row of the batch chose, where the logits are.
            alive: which of them go on.
            here: the row of the answers that each of them writes.
        """
        at = torch.nonzero(alive & self.wanted[here]).flatten()
        if not len(at):
            return
        if not torch.equal(at, self.places.here):
            self.places = Copies(at)
        places = self.places.on(logits.device)
        part = logits[places]
        chosen = part.gather(-1, token[places, None])[:, 0].float()
        self.steps.append((here[at], chosen - logsumexp(part)))

    def means(self, lengths: Int[Tensor, " rows"]) -> list[float | None]:
        """Means over so many tokens a row; None where they are not measured, or there is none."""
        known = self.wanted & (lengths > 0)
        total = torch.zeros(len(lengths), dtype=torch.float64)
        if self.steps:
            rows, values = zip(*self.steps, strict=True)
            read = torch.cat(values).cpu().double().split(list(map(len, rows)))
            for at, part in zip(rows, read, strict=True):
                total[at] += part
        pairs = zip((total / lengths).tolist(), known.tolist(), strict=True)
        return [mean if is_known else None for mean, is_known in pairs]


def _first_steps(logits: Float[Tensor, "rows vocab"]) -> list[FirstStep]:
    """How sure every row is of its next token."""
    token, best, second = top_two(logits)
    rows = rows_at_once(logits)
    parts = zip(logits.split(rows), token.split(rows), best.split(rows), strict=True)
    surprise = [_surprise(*part) for part in parts]
    values = torch.cat([torch.cat(surprise, dim=1), (best.float() - second.float())[None]])
    return [FirstStep(*row) for row in values.T.tolist()]


def _surprise(
    logits: Float[Tensor, "rows vocab"], token: Int[Tensor, " rows"], best: Float[Tensor, " rows"]
) -> Float32[Tensor, "2 rows"]:
    """Log-probability of the likeliest token, and entropy of all; nothing waits for the device."""
    logits = logits.float()
    probs = logits.softmax(-1)
    likeliest = probs.gather(-1, token[:, None])[:, 0].log()
    # What is impossible adds nothing: 0 log 0 is 0 here, and 0 times a finite number as well.
    mean = logits.clamp_min(_LOWEST).mul_(probs).sum(-1)
    return torch.stack([likeliest, best.float() - likeliest - mean])


def _choose(
    logits: Float[Tensor, "rows vocab"],
) -> tuple[
    Int[Tensor, " rows"],
    Int[Tensor, " rows"],
    Float32[Tensor, " rows"],
    Bool[Tensor, " rows"],
]:
    """Greedy token of each row, where the logits are; and on the CPU it, margin and finiteness."""
    token, best, second = top_two(logits)
    margin = best.float() - second.float()
    # One transfer in place of three: each waits for the device. Float32 holds ids up to 2^24.
    chosen = torch.stack([token.float(), margin, torch.isfinite(best).float()]).cpu()
    return token, chosen[0].long(), chosen[1], chosen[2].bool()


def top_two(
    logits: Float[Tensor, "rows vocab"], width: int = 128
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The highest logit and the next of every row.

    Looks for the block of `width` tokens that holds the highest logit, and then only in there: on
    the CPU, an argmax over a whole vocabulary takes ten times as long as its maximum.

    Returns:
        Token id of the highest logit (the lowest id if several are equal), that logit, and the
        second highest (equal to it then).
    """
    vocab = logits.shape[-1]
    whole = vocab - vocab % width
    peaks = logits[:, :whole].unflatten(-1, (-1, width)).amax(-1)
    if whole < vocab:
        peaks = torch.cat([peaks, logits[:, whole:].amax(-1, keepdim=True)], -1)
    block = peaks.argmax(-1, keepdim=True)
    columns = block * width + torch.arange(width, device=logits.device)
    inside = logits.gather(-1, columns.clamp_max(vocab - 1))
    inside = inside.masked_fill(columns >= vocab, -torch.inf)
    at = inside.argmax(-1, keepdim=True)
    beside = inside.scatter(-1, at, -torch.inf).amax(-1)
    elsewhere = peaks.scatter(-1, block, -torch.inf).amax(-1)
    best = inside.gather(-1, at)[:, 0]
    return (block * width + at)[:, 0], best, torch.maximum(beside, elsewhere)


def logsumexp(logits: Float[Tensor, "rows vocab"]) -> Float32[Tensor, " rows"]:
    """Log of the summed exponentials of every row in float32.

    Some rows at a time: what is made of them on the way then fits into the cache of a CPU.
    """
    parts = logits.split(rows_at_once(logits))
    return torch.cat([part.float().logsumexp(-1) for part in parts])


def rows_at_once(logits: Float[Tensor, "rows vocab"]) -> int:
    """How many rows are worked on together where each takes more memory than its logits."""
    most = _LOGITS_AT_ONCE.get(logits.device.type, _LOGITS_AT_ONCE_ELSEWHERE)
    return max(1, most // logits.shape[-1])


def log_probabilities(
    logits: Float[Tensor, "rows vocab"],
    tokens: Sequence[int],
    mass: Float[Tensor, " rows"] | None = None,
) -> list[tuple[float, ...]]:
    """Log-probabilities (nats) of some tokens in every row."""
    if not tokens:
        return [()] * len(logits)
    mass = logsumexp(logits) if mass is None else mass
    index = torch.tensor(list(tokens), device=logits.device)
    return [tuple(row) for row in (logits[:, index].float() - mass[:, None]).tolist()]
