"""The fast path: rows of several prompts over shared prefixes, in one batch.

The prompts are read once, without their ends. Each row then reads the end of its prompt with its
own edits, scores options if asked to, and decodes, holding keys and values of its own tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from crosslatent.decoding import Decoded, Tick, greedy, log_probabilities, silent
from crosslatent.edits import Row
from crosslatent.engine.contract import Pick
from crosslatent.engine.growth import Growth
from crosslatent.engine.options import OptionTree, read_all, scores
from crosslatent.engine.rewrites import rewrites
from crosslatent.model import Model, encode_batch, entering, rewriting
from crosslatent.prefix import Prefix, SharedCache, Step, Unshareable, read, shared_attention
from crosslatent.requests import Request

NAME = "shared-prefix"


class SharedPrompts:
    """Prompts that have been read up to the ends that their rows may edit."""

    def __init__(self, model: Model, requests: Sequence[Request], chunk: int | None = None) -> None:
        """Read the prompts.

        Args:
            model: the model.
            requests: prompts whose rows all touch the same number of tokens at the end.
            chunk: prompt tokens per forward; None for all at once.

        Raises:
            Unshareable: the model's cache or attention is of a kind that cannot be shared.
        """
        (self._tail,) = {request.tail for request in requests}
        if not getattr(model.hf, "_supports_attention_backend", False):
            raise Unshareable("its attention does not go through transformers' AttentionInterface")
        self._model = model
        self._requests = requests
        self._trees = [OptionTree.of(request.options) for request in requests]
        starts = [request.main[: -self._tail] for request in requests]
        self._lengths = torch.tensor([len(start) for start in starts])
        self._prefix = _read_prefixes(model, starts, chunk)

    @torch.inference_mode()
    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked rows together, in their order."""
        batch = _Batch.of(picks, self._requests)
        read = max((len(self._trees[group].tokens) for group, _ in picks), default=0)
        room = self._tail + max(max_new_tokens - 1, read)
        cache = SharedCache(self._prefix, batch.growth.groups, room)
        with shared_attention(self._model, cache):
            rows = SharedRows(self._model, cache, self._lengths[batch.growth.groups])
            rows.logits = self._read_ends(rows, batch)
            groups = batch.growth.groups
            if len(batch.stay) < len(groups):
                rows.keep(torch.tensor(batch.stay))
                groups = groups[batch.stay]
            watched = self._watched(rows.logits, groups)
            scored = self._scored(rows, groups)
            answers = greedy(rows, max_new_tokens, self._model.eos_ids, tick)
        return [answers.row(at, watched[at], scored[at]) for at in batch.place]

    def _read_ends(self, rows: SharedRows, batch: _Batch) -> Tensor:
        """The ends of the prompts through the model, each row with its edits: rows vocab."""
        ends = torch.tensor([request.main[-self._tail :] for request in self._requests])
        growth = batch.growth
        first = len(self._requests)
        edits = [batch.edits[row] for row in growth.order]
        with entering(self._model, growth), rewriting(self._model, rewrites(edits, first)):
            logits = rows.read(ends, Step.chain(0, self._tail), self._lengths, keep=1)
        return logits[:, -1]

    def _watched(self, logits: Tensor, groups: Tensor) -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = [()] * len(logits)
        for group, request in enumerate(self._requests):
            at = torch.nonzero(groups == group).flatten()
            if len(at) and request.watch:
                chosen = log_probabilities(logits[at.to(logits.device)], request.watch)
                for row, values in zip(at.tolist(), chosen, strict=True):
                    found[row] = values
        return found

    def _scored(self, rows: SharedRows, groups: Tensor) -> list[tuple[float, ...]]:
        """Score every row's options; leaves the rows as they were."""
        found: list[tuple[float, ...]] = [()] * len(groups)
        if not any(tree.paths for tree in self._trees):
            return found
        logits = None
        if any(tree.tokens for tree in self._trees):
            tokens, step = read_all(self._trees, rows.depth)
            chosen = Step(step.depths, step.seen)
            logits = rows.read(tokens[groups], chosen, self._lengths[groups], keep=tokens.shape[1])
            rows.forget(tokens.shape[1])
        for group, tree in enumerate(self._trees):
            at = torch.nonzero(groups == group).flatten()
            if len(at) and tree.paths:
                index = at.to(rows.logits.device)
                nodes = None if logits is None else logits[index]
                values = scores(tree, rows.logits[index], nodes).tolist()
                for row, value in zip(at.tolist(), values, strict=True):
                    found[row] = tuple(value)
        return found


class SharedRows:
    """Rows in a batch, of `decoding.Rows`."""

    def __init__(self, model: Model, cache: SharedCache, lengths: Tensor) -> None:
        """Start.

        Args:
            model: the model, inside `shared_attention`.
            cache: of the rows.
            lengths: tokens of each row's prefix, rows.
        """
        self._model = model
        self._cache = cache
        self._lengths = lengths
        self.depth = 0
        """Tokens that every row has read after its prefix."""
        self.logits = torch.empty(0)

    def read(self, tokens: Tensor, step: Step, lengths: Tensor, keep: int) -> Tensor:
        """Read tokens in every row.

        Args:
            tokens: token ids, rows pos.
            step: their depths and what they may see.
            lengths: tokens of each row's prefix, rows.
            keep: of how many last positions logits are wanted.

        Returns:
            Logits, rows pos vocab.
        """
        device = self._model.device
        self._cache.begin(step)
        groups = self._cache.groups[: len(tokens)]
        depths = step.depths[groups] if len(step.depths) > 1 else step.depths
        logits: Tensor = self._model.hf(
            input_ids=tokens.to(device),
            position_ids=(lengths[:, None] + depths).to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        self.depth += tokens.shape[1]
        return logits

    def feed(self, tokens: Tensor) -> None:
        """Read one more token in every row, rows."""
        step = Step.chain(self.depth, 1)
        self.logits = self.read(tokens[:, None], step, self._lengths, keep=1)[:, -1]

    def forget(self, tokens: int) -> None:
        """Drop the last tokens of every row; the logits stay."""
        self._cache.forget(tokens)
        self.depth -= tokens

    def keep(self, rows: Tensor) -> None:
        """Let only these rows go on, in this order."""
        self._cache.keep(rows)
        self._lengths = self._lengths[rows]
        self.logits = self.logits[rows.to(self.logits.device)]


@dataclass(frozen=True, slots=True)
class _Batch:
    """How the picked rows stand in a batch that begins with one unmodified row per prompt.

    Attributes:
        growth: the rows with edits, and where they join.
        edits: their edits.
        stay: the places of the batch that are asked for.
        place: for each pick, which of `stay` answers it.
    """

    growth: Growth
    edits: list[Row]
    stay: list[int]
    place: list[int]

    @classmethod
    def of(cls, picks: Sequence[Pick], requests: Sequence[Request]) -> _Batch:
        edited = [(group, row) for group, row in picks if requests[group].rows[row]]
        edits = [requests[group].rows[row] for group, row in edited]
        first = [min(edit.site.layer for edit in row) for row in edits]
        growth = Growth(len(requests), [group for group, _ in edited], first)
        at = {edited[row]: len(requests) + place for place, row in enumerate(growth.order)}
        places = [at.get(pick, pick[0]) for pick in picks]
        stay = sorted(set(places))
        number = {place: n for n, place in enumerate(stay)}
        return cls(growth, edits, stay, [number[place] for place in places])


def _read_prefixes(model: Model, starts: Sequence[Sequence[int]], chunk: int | None) -> Prefix:
    length = max(len(start) for start in starts)
    pads = torch.tensor([length - len(start) for start in starts])
    if not length:
        empty: Cache = DynamicCache(config=model.hf.config)
        return Prefix.of(empty, pads, length)
    # A prompt without a prefix reads some token all the same: a row of nothing but padding has no
    # softmax. As padding it is seen by nobody.
    batch = encode_batch(model, [start or (0,) for start in starts], "left")
    return Prefix.of(read(model, batch, chunk), pads, length)
