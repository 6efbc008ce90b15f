"""Virtual tokens before a prompt: trained keys and values, or trained embeddings.

They act around the model and not in its modules, so answers do not come through the engine but from
here: the prompt is read after the virtual tokens, and decoded from its cache as ever. Positions
are counted from the first virtual token. Prompts of unlike lengths share a batch only where
attention has no window, since padding comes between virtual and real tokens.
"""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache

from crosslatent.answering.scoring import ItemScorer
from crosslatent.core.specs import ORACLE
from crosslatent.engine.decoding import Decoded, greedy, log_probabilities
from crosslatent.engine.prefill import Prefilled
from crosslatent.methods.method import Bench, MethodAnswer
from crosslatent.methods.tuning import Reads, TunedWay, Tuning, Weights
from crosslatent.model import encode_batch
from crosslatent.model.modes import answering, plain_settings
from crosslatent.model.structure import text_config
from crosslatent.sweeps.tokens import PromptTokens
from crosslatent.tasks import Item

if TYPE_CHECKING:
    from crosslatent.model import Model, PromptBatch

VIRTUAL = 20
"""Virtual tokens."""

_ROWS = 32
"""Rows of a batch, unless the bench says it."""

Begun = tuple[Float[Tensor, "rows pos vocab"], Cache]
"""Logits of a batch of prompts after the virtual tokens, and the cache of both."""

Begin = Callable[["Model", Mapping[str, Tensor], "PromptBatch", int], Begun]
"""Reads a batch after virtual tokens; gives the logits of so many last columns at least."""


class SoftWay(TunedWay):
    """Trained virtual tokens, before every prompt.

    Attributes:
        begin: reads prompts after them.
        read_tokens: how many of them go through the model with each prompt.
    """

    begin: Begin
    read_tokens: int = 0

    def extra_tokens(self, item: Item, /) -> int:
        """The virtual tokens, where they are read like others."""
        del item
        return self.read_tokens

    def answers(
        self, bench: Bench, items: Sequence[Item], advance: Callable[[float], None]
    ) -> Iterator[MethodAnswer]:
        """Answers to questions, in their order; see `Way.answers`."""
        tokens = bench.tokens(items, self.new_tokens(bench) + VIRTUAL)
        found: dict[str, MethodAnswer] = {}
        with plain_settings():
            weights = {name: one.to(bench.model.device) for name, one in self.state.items()}
            for part in _batches(bench, [one for one in items if one.id in tokens], tokens):
                found |= self._answered(bench, part, tokens, weights)
                advance(float(len(found)))
        for item in items:
            yield found.get(item.id) or MethodAnswer(item.id, failure=tokens.failures[item.id])

    def _answered(
        self, bench: Bench, items: Sequence[Item], tokens: PromptTokens, weights: Mapping[str, Any]
    ) -> dict[str, MethodAnswer]:
        """Answers to the questions of a batch."""
        started = time.monotonic()
        scorers = [bench.scorer(item, tokens) for item in items]
        prompts = [tuple(tokens[item.id].main) for item in items]
        asked = list(zip(prompts, scorers, strict=True))
        with answering(bench.model.hf):
            decoded = self._decoded(bench, asked, weights)
        seconds = (time.monotonic() - started) / len(items)
        answers = {}
        for item, (prompt, scorer), one in zip(items, asked, decoded, strict=True):
            record = {**scorer.record(one), "path": ORACLE, "seconds": seconds}
            read = len(prompt) + len(one.ids) + self.extra_tokens(item)
            answers[item.id] = MethodAnswer(item.id, record, read)
        return answers

    def _decoded(
        self,
        bench: Bench,
        asked: Sequence[tuple[tuple[int, ...], ItemScorer]],
        weights: Mapping[str, Any],
    ) -> list[Decoded]:
        """Greedy answers to prompts, with what their scorers need."""
        model = bench.model
        batch = encode_batch(model, [prompt for prompt, _ in asked])
        logits, cache = self.begin(model, weights, batch, 1)
        mask = torch.cat([batch.mask.new_ones((len(asked), VIRTUAL)), batch.mask], -1)
        rows = Prefilled(model, cache, logits[:, -1], mask)
        watched = [
            log_probabilities(rows.logits[at : at + 1], scorer.watch)[0]
            for at, (_, scorer) in enumerate(asked)
        ]
        new, measured = self.new_tokens(bench), range(len(asked))
        scores = _scores(rows, [scorer.continuations for _, scorer in asked])
        answers = greedy(rows, new, model.eos_ids, measured=measured)
        return [
            replace(answer, watched=first, scores=wholes)
            for answer, first, wholes in zip(answers, watched, scores, strict=True)
        ]


class SoftTuning(Tuning):
    """A method that trains virtual tokens on gold answers."""

    read_tokens: ClassVar[int] = 0
    epochs = 5
    taken = VIRTUAL

    def refusal(self, bench: Bench) -> str:
        """As ever, or a model whose prompts are read in both directions."""
        model = bench.model
        if model.reads_both_ways:
            return (
                f"{self.title} does not work for {type(model.hf).__name__}, whose prompts are "
                "read in both directions: use a method that trains inside the modules."
            )
        return super().refusal(bench)

    @abstractmethod
    def fresh(self, model: Model, /) -> Weights:
        """Untrained weights."""

    @staticmethod
    @abstractmethod
    def begin(model: Model, weights: Mapping[str, Any], batch: PromptBatch, keep: int) -> Begun:
        """Read prompts after the virtual tokens; see `Begin`."""

    def put(self, model: Model, seed: int, held: ExitStack, /) -> Weights:
        """Draw weights; nothing is put into the model."""
        from crosslatent.lens.training.processes import seeded

        del held
        with seeded(seed):
            weights = self.fresh(model)
        for weight in weights.values():
            weight.data = weight.data.to(model.device)
        return weights

    def reads(self, weights: Weights, /) -> Reads:
        """Prompts are read after the virtual tokens."""
        return reads_of(self.begin, weights)

    def way(self, model: Model, weights: Weights) -> TunedWay:
        """What answers."""
        found = SoftWay(model, self.put, weights)
        found.begin, found.read_tokens = self.begin, self.read_tokens
        return found


def reads_of(begin: Begin, weights: Mapping[str, Any]) -> Reads:
    """The logits of `begin` alone."""

    def reads(model: Model, batch: PromptBatch, keep: int) -> Float[Tensor, "rows pos vocab"]:
        return begin(model, weights, batch, keep)[0]

    return reads


def inputs_after(batch: PromptBatch) -> dict[str, Tensor]:
    """What a model takes for prompts that follow virtual tokens, beside the prompts themselves."""
    before = batch.mask.new_ones((len(batch.mask), VIRTUAL))
    return {
        "attention_mask": torch.cat([before, batch.mask], -1),
        "position_ids": batch.positions + VIRTUAL,
    }


def _scores(
    rows: Prefilled, options: Sequence[Sequence[tuple[int, ...]]]
) -> list[tuple[float, ...]]:
    """Log-probabilities (nats) of each row's options as continuations; leaves `rows` as it is."""
    owners = [row for row, some in enumerate(options) for _ in some]
    wanted = [torch.tensor(one) for some in options for one in some]
    if not wanted:
        return [()] * len(options)
    ids = pad_sequence(wanted, batch_first=True).to(rows.logits.device)
    copies = replace(rows, cache=copy.deepcopy(rows.cache))
    copies.keep(torch.tensor(owners))
    first = copies.logits[:, None]
    logits = torch.cat([first, copies.read(ids[:, :-1])], 1) if ids.shape[1] > 1 else first
    found = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    sums = iter([float(row[: len(one)].sum()) for row, one in zip(found, wanted, strict=True)])
    return [tuple(next(sums) for _ in some) for some in options]


def _batches(bench: Bench, items: Sequence[Item], tokens: PromptTokens) -> Iterator[list[Item]]:
    """Questions that are read together: of one length where attention has a window."""
    fields: dict[str, Any] = text_config(bench.model.hf).to_dict()
    windowed = any(
        value and ("window" in name or "chunk" in name) for name, value in fields.items()
    )
    limited = windowed or bench.model.rotary_limit is not None
    alike: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        alike[tokens.ends[item.id].main_length if limited else 0].append(item)
    size = bench.batch_rows or _ROWS
    for some in alike.values():
        yield from (some[start : start + size] for start in range(0, len(some), size))
