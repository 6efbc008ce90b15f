"""The last tokens of prompts, read again and again under edits, with gradients.

The tokens before them are read once without gradients. Nothing that an edit changes goes through
them, so a backward pass is over the edited tokens alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from crosslatent.core.specs import Site
from crosslatent.engine.prefill import read_prefix
from crosslatent.model import Model, PromptBatch, caches, encode_batch, rewriting
from crosslatent.model.sites import Rewrite


class PromptEnd:
    """Prompts of which all but the last tokens are read, once; to be read to their end many times.

    Attributes:
        model: that reads.
        positions: how many of the last tokens may be edited.
    """

    def __init__(self, model: Model, mains: Sequence[Sequence[int]], positions: int) -> None:
        """Read them up to their last tokens."""
        self.model, self.positions = model, positions
        # Left padding puts the last tokens of all rows into the same columns.
        batch = encode_batch(model, mains, "left")
        self._cache, self._inputs = _before_the_last(model, batch, positions)

    def logits(self, edits: Mapping[Site, Rewrite]) -> Tensor:
        """Logits of the first new token under some edits, batch vocab."""
        with rewriting(self.model, edits):
            # A forward writes into the cache, whatever kind it is.
            cache = copy.deepcopy(self._cache)
            outputs = caches.forward(self.model.hf, self._inputs, cache, logits_to_keep=1)
        last: Tensor = outputs.logits[:, -1]
        return last


class Probe:
    """Adds zeros to a module's output at the last tokens: its own output stays, a slope appears.

    The zeros are the leaves of the backward pass. So a module may change its output in place
    afterwards, and no weight has to take part. Unless `keep` is set, the zeros are all that stays.
    """

    def __init__(self, positions: int, *, keep: bool = True) -> None:
        self._positions, self._keep = positions, keep
        self.own: Tensor
        """The module's output at the last tokens, batch positions d_model."""
        self.nudge: Tensor
        """The added zeros, batch positions d_model."""

    def rewrite(self, hidden: Tensor) -> Tensor:
        """See `model.sites.Rewrite`."""
        last = hidden[:, -self._positions :]
        self.own = last.detach().clone()
        self.nudge = torch.zeros_like(self.own, requires_grad=True)
        written = last + self.nudge if self._keep else self.nudge
        return torch.cat([hidden[:, : -self._positions], written], 1)


def replacing(values: Tensor) -> Rewrite:
    """Put values, batch positions d_model, in the place of the last outputs."""
    return lambda hidden: torch.cat([hidden[:, : -values.shape[1]], values.to(hidden)], dim=1)


def _before_the_last(
    model: Model, batch: PromptBatch, positions: int
) -> tuple[Cache | None, dict[str, Any]]:
    """Read all but the last tokens; the cache, and what the forward with gradients reads."""
    width = batch.ids.shape[1]
    limit = model.rotary_limit
    # Where rotary embeddings change with the length, a prompt is read in one piece.
    whole = width == positions or (limit is not None and width > limit)
    tail = width if whole else positions
    inputs = {
        "input_ids": batch.ids[:, width - tail :],
        "attention_mask": batch.mask,
        "position_ids": batch.positions[:, width - tail :],
    }
    if whole:
        return None, inputs
    return read_prefix(model, PromptBatch(batch.ids[:, :-tail], batch.mask[:, :-tail])), inputs


@contextmanager
def without_weights(hf: PreTrainedModel) -> Iterator[None]:
    """While open, no weight wants a gradient, so that nothing is kept for it."""
    wanting = [weight for weight in hf.parameters() if weight.requires_grad]
    try:
        for weight in wanting:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in wanting:
            weight.requires_grad_(True)
