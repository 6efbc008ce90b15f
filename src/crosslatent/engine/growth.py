"""Blocks below a row's first edit are not computed for it: there it equals the unmodified run.

The end of the prompt goes through the blocks in a batch that grows on the way. The first block sees
one unmodified row for every prompt; a row joins, as a copy of its prompt's, at the first block that
it edits (docs/methods.md, 2). The modules before the blocks, mostly embeddings, are
computed for all rows, since some models fix the shape of their output there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Growth:
    """Which rows are in the batch at each block; given to `model.sites.entering`.

    Attributes:
        groups: the prompt of each row of the grown batch, rows; the unmodified ones come first.
        order: index of the requested row at each place after those.
    """

    def __init__(self, n_groups: int, groups: Sequence[int], first: Sequence[int]) -> None:
        """Plan the growth.

        Args:
            n_groups: how many prompts there are.
            groups: the prompt of each row.
            first: the first block that each row edits.
        """
        self.order = sorted(range(len(groups)), key=lambda row: first[row])
        self._first = sorted(first)
        self._n_groups = n_groups
        self.groups = torch.tensor([*range(n_groups), *(groups[row] for row in self.order)])

    def rows_at(self, layer: int) -> int:
        """How many rows block `layer` computes."""
        return self._n_groups + bisect_right(self._first, layer)

    def hidden(
        self, layer: int, value: Float[Tensor, "rows pos d_model"]
    ) -> Float[Tensor, "grown pos d_model"]:
        """Let the rows that join at this block in; at the first, hold back."""
        if layer == 0:
            return value[: self.rows_at(0)]
        joining = self.groups[len(value) : self.rows_at(layer)]
        if not len(joining):
            return value
        return torch.cat([value, value[joining.to(value.device)]])

    def context(self, layer: int, value: Any) -> Any:
        """What the model made for all rows (position embeddings), for those that are in."""
        if isinstance(value, tuple | list):
            return type(value)(self.context(layer, part) for part in value)
        if not isinstance(value, Tensor) or value.dim() < 2 or len(value) != len(self.groups):
            return value
        return value[: self.rows_at(layer)]
