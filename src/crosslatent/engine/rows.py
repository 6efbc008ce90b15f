"""Rows over shared prefixes, reading on together (`engine.decoding.DecodingBatch`)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosslatent.engine.prefix import SharedCache, Step, select
from crosslatent.model import Model, caches


class SharedRows:
    """Rows in a batch; used inside `engine.prefix.shared_attention`."""

    def __init__(self, model: Model, cache: SharedCache, lengths: Int[Tensor, " groups"]) -> None:
        """Start.

        Args:
            model: the model.
            cache: of the rows.
            lengths: tokens of each prompt's prefix.
        """
        self._model = model
        self._cache = cache
        self._lengths = lengths
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
        """Read tokens in the first rows, or in all; returns their logits.

        Args:
            tokens: token ids.
            step: their depths and what they may see.
            keep: of how many last positions logits are wanted.
        """
        device = self._model.device
        self._cache.begin(step)
        groups = self.groups[: len(tokens)]
        depths = step.depths[groups] if len(step.depths) > 1 else step.depths
        inputs = {
            "input_ids": tokens.to(device),
            "position_ids": (self._lengths[groups, None] + depths).to(device),
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
        self.logits = select(self.logits, rows)
