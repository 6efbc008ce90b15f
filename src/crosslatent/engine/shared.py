"""The fast path: rows of several prompts over shared prefixes, in one batch.

The prompts are read once, without their ends. Each row then reads the end of its prompt with its
own edits, scores options if asked to, and decodes, holding keys and values of its own tokens only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache

from crosslatent.engine.decoding import Decoded, Tick, greedy, log_probabilities, logsumexp, silent
from crosslatent.engine.option_tree import OptionTree, read_all, scores
from crosslatent.engine.prefill import read_prefix
from crosslatent.engine.prefix_attention import (
    Unshareable,
    shared_attention,
    takes_attention_functions,
)
from crosslatent.engine.prefix_cache import Prefix, SharedCache
from crosslatent.engine.prefix_layout import Copies, Step, select
from crosslatent.engine.requests import Pick, Request
from crosslatent.interventions.intervention import Intervention, at_end
from crosslatent.interventions.rewrites import Window, rewrites, rewrites_by_row
from crosslatent.model import Model, caches, encode_batch, entering, rewriting


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
        if model.has_encoder:
            raise Unshareable("an encoder reads its prompts, and its decoder's are a token or two")
        if model.reads_both_ways:
            raise Unshareable("the tokens of its prompts see those after them")
        (self._tail,) = {request.tail for request in requests}
        if not takes_attention_functions(model):
            raise Unshareable("its attention does not go through transformers' AttentionInterface")
        self._model = model
        self._requests = requests
        self._trees, self._plain_trees = (
            [OptionTree.of(each.options if each.plain_only == only else ()) for each in requests]
            for only in (False, True)
        )
        starts = [request.main[: -self._tail] for request in requests]
        self._lengths = torch.tensor([len(start) for start in starts])
        self._common = requests[0].common
        window = self._window()
        with rewriting(model, rewrites(self._common, window)):
            self._prefix = _read_prefixes(model, starts, chunk, window)

    @torch.inference_mode()
    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked rows together, in their order."""
        batch = _Arrangement.of(picks, self._requests)
        trees = (self._trees, self._plain_trees)
        read = max((len(kind[group].tokens) for group, _ in picks for kind in trees), default=0)
        room = self._tail + max(max_new_tokens - 1, read)
        cache = SharedCache(self._prefix, batch.growth.groups, room)
        window = self._window(batch.growth.groups)
        common = rewriting(self._model, rewrites(self._common, window))
        with shared_attention(self._model, cache), common:
            rows = SharedRows(self._model, cache, self._lengths)
            window.start = self._prefix.length
            rows.logits = self._read_ends(rows, batch)
            window.start = None
            apart = self._plain_scores(rows, picks)
            if len(batch.stay) < len(rows.groups):
                rows.keep(torch.tensor(batch.stay))
            watched, scored = self._log_probs(rows)
            plain = 0 if self._common else len(self._requests)
            measured = [at for at, place in enumerate(batch.stay) if place < plain]
            answers = greedy(rows, max_new_tokens, self._model.eos_ids, tick, measured)
        return [
            replace(answers[at], watched=watched[at], scores=apart.get(pick, scored[at]))
            for pick, at in zip(picks, batch.place, strict=True)
        ]

    def _window(self, groups: Int[Tensor, " rows"] | None = None) -> Window:
        """Where the prompts end, for each of them, or for rows of them; padded on the left."""
        lengths = self._lengths + self._tail
        last = torch.full_like(lengths, int(self._lengths.max()) + self._tail - 1)
        if groups is not None:
            lengths, last = lengths[groups], last[groups]
        return Window(last, lengths=lengths)

    def _read_ends(self, rows: SharedRows, batch: _Arrangement) -> Float[Tensor, "rows vocab"]:
        """The ends of the prompts through the model, each row with its edits."""
        ends = torch.tensor([request.main[-self._tail :] for request in self._requests])
        edits = [batch.edits[row] for row in batch.growth.order]
        own = rewriting(self._model, rewrites_by_row(edits, len(self._requests)))
        with entering(self._model, batch.growth), own:
            return rows.read(ends[rows.groups], Step.chain(0, self._tail), keep=1)[:, -1]

    def _plain_scores(
        self, rows: SharedRows, picks: Sequence[Pick]
    ) -> dict[Pick, tuple[float, ...]]:
        """Log-probabilities of the options that unmodified rows alone are asked for.

        To be called while the batch begins with one unmodified row per prompt, which are read on
        without the others; leaves the rows as they were.
        """
        asked = [
            (group, row)
            for group, row in picks
            if self._plain_trees[group].paths and row in self._requests[group].plain
        ]
        if not asked:
            return {}
        nodes = self._read_options(rows, self._plain_trees, torch.arange(len(self._requests)))
        found = {}
        for group, row in asked:
            logits = rows.logits[group : group + 1]
            after = None if nodes is None else nodes[group : group + 1]
            values = scores(self._plain_trees[group], logits, logsumexp(logits), after)
            found[group, row] = tuple(values[0].tolist())
        return found

    def _log_probs(
        self, rows: SharedRows
    ) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
        """Log-probabilities of watched tokens and of options, a tuple a row each.

        Leaves the rows as they were.
        """
        watched: list[tuple[float, ...]] = [()] * len(rows.groups)
        scored = list(watched)
        nodes = self._read_options(rows, self._trees, rows.groups)
        for group in rows.groups.unique().tolist():
            request, tree = self._requests[group], self._trees[group]
            if not (request.watch or tree.paths):
                continue
            at = torch.nonzero(rows.groups == group).flatten()
            logits = select(rows.logits, at)
            mass = logsumexp(logits)
            found = scores(tree, logits, mass, None if nodes is None else select(nodes, at))
            chosen = log_probabilities(logits, request.watch, mass)
            for row, *values in zip(at.tolist(), chosen, found.tolist(), strict=True):
                watched[row], scored[row] = map(tuple, values)
        return watched, scored

    def _read_options(
        self, rows: SharedRows, trees: Sequence[OptionTree], groups: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows pos vocab"] | None:
        """Logits at the tokens of the option trees; None if there are none.

        Args:
            rows: the batch; its first rows are read on, one for each entry of `groups`.
            trees: of each prompt.
            groups: the prompt of each of these rows.
        """
        if not any(tree.tokens for tree in trees):
            return None
        tokens, step = read_all(trees, rows.depth)
        logits = rows.read(tokens[groups], step, keep=tokens.shape[1])
        rows.forget(tokens.shape[1])
        return logits


@dataclass(frozen=True, slots=True)
class _Arrangement:
    """How the picked rows stand in a batch that begins with one unmodified row per prompt.

    Attributes:
        growth: the rows with edits, and where they join.
        edits: their edits.
        stay: the places of the batch that are asked for.
        place: for each pick, which of `stay` answers it.
    """

    growth: Growth
    edits: list[tuple[Intervention, ...]]
    stay: list[int]
    place: list[int]

    @classmethod
    def of(cls, picks: Sequence[Pick], requests: Sequence[Request]) -> _Arrangement:
        ends = {pick: at_end(requests[pick[0]].rows[pick[1]]) for pick in picks}
        edited = [pick for pick in picks if ends[pick]]
        edits = [ends[pick] for pick in edited]
        first = [min(edit.site.layer for edit in row) for row in edits]
        growth = Growth(len(requests), [group for group, _ in edited], first)
        at = {edited[row]: len(requests) + place for place, row in enumerate(growth.order)}
        places = [at.get(pick, pick[0]) for pick in picks]
        stay = sorted(set(places))
        number = {place: n for n, place in enumerate(stay)}
        return cls(growth, edits, stay, [number[place] for place in places])


def _read_prefixes(
    model: Model, starts: Sequence[Sequence[int]], chunk: int | None, window: Window
) -> Prefix:
    length = max(len(start) for start in starts)
    pads = torch.tensor([length - len(start) for start in starts])
    if not length:
        empty: Cache = DynamicCache(config=model.hf.config)
        return Prefix.of(empty, pads, length, model.layer_kinds)
    # A prompt without a prefix reads one token all the same, since a row of padding alone has no
    # softmax. It is masked as padding, so no token attends to it.
    batch = encode_batch(model, [start or (0,) for start in starts], "left")
    return Prefix.of(read_prefix(model, batch, chunk, window), pads, length, model.layer_kinds)


class Growth:
    """Which rows are in the batch at each block; given to `model.sites.entering`.

    Attributes:
        groups: the prompt of each row of the grown batch, rows; the unmodified ones come first.
        order: index of the requested row at each place after those.
    """

    def __init__(self, n_groups: int, groups: Sequence[int], first: Sequence[int]) -> None:
        """Plan the growth."""
        self.order = sorted(range(len(groups)), key=lambda row: first[row])
        self._first = sorted(first)
        self._n_groups = n_groups
        self.groups = torch.tensor([*range(n_groups), *(groups[row] for row in self.order)])
        self._copied = Copies(self.groups)

    def rows_at(self, layer: int) -> int:
        """How many rows block `layer` computes."""
        return self._n_groups + bisect_right(self._first, layer)

    def hidden(
        self, layer: int, value: Float[Tensor, "rows pos d_model"]
    ) -> Float[Tensor, "grown pos d_model"]:
        """Let the rows that join at this block in; at the first, hold back."""
        if layer == 0:
            return value[: self.rows_at(0)]
        joining = self._copied.on(value.device)[len(value) : self.rows_at(layer)]
        return torch.cat([value, value[joining]]) if len(joining) else value

    def context(self, layer: int, value: Any) -> Any:
        """What the model made for all rows (position embeddings), for those that are in."""
        if isinstance(value, tuple | list):
            return type(value)(self.context(layer, part) for part in value)
        if not isinstance(value, Tensor) or value.dim() < 2 or len(value) != len(self.groups):
            return value
        return value[: self.rows_at(layer)]


class SharedRows:
    """Rows in a batch; used inside `engine.prefix_attention.shared_attention`."""

    def __init__(self, model: Model, cache: SharedCache, lengths: Int[Tensor, " groups"]) -> None:
        """Start."""
        self._model = model
        self._cache = cache
        self._lengths = lengths
        self._starts = Copies(lengths[cache.groups])
        self.depth = 0
        """Tokens that every row has read after its prefix."""
        self.logits: Float[Tensor, "rows vocab"] = torch.empty((0, 0))

    @property
    def groups(self) -> Int[Tensor, " rows"]:
        """The prompt of each row, on the CPU."""
        return self._cache.groups

    def read(
        self, tokens: Int[Tensor, "rows pos"], step: Step, keep: int
    ) -> Float[Tensor, "rows kept vocab"]:
        """Read tokens in the first rows, or in all; returns their logits."""
        device = self._model.device
        self._cache.begin(step)
        depths = step.on(device).depths
        if len(depths) > 1:
            depths = depths[self._cache.copied.on(device)[: len(tokens)]]
        inputs = {
            "input_ids": tokens.to(device),
            "position_ids": self._starts.on(device)[: len(tokens), None] + depths,
        }
        out = caches.forward(self._model.hf, inputs, self._cache, logits_to_keep=keep)
        logits: Tensor = out.logits
        self.depth += tokens.shape[1]
        return logits

    def feed(self, tokens: Int[Tensor, " rows"]) -> None:
        """Read one more token in every row."""
        self.logits = self.read(tokens[:, None], Step.chain(self.depth, 1), keep=1)[:, -1]

    def forget(self, tokens: int) -> None:
        """Drop the last tokens of every row; the logits stay."""
        self._cache.forget(tokens)
        self.depth -= tokens

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Let only these rows go on, in this order."""
        self._cache.keep(rows)
        self._starts = Copies(self._lengths[self.groups])
        self.logits = select(self.logits, rows)
