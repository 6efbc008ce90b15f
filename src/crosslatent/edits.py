"""The edit of one transplant, and where its token is while a prefill passes by.

Floor 2: knows tensors and columns; the oracle, the batched engine and `patch.patched` share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crosslatent.model.sites import Rewrite
from crosslatent.specs import Site


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `vector` (d_model) in the place of `site`'s output at the last real prompt token."""

    site: Site
    vector: Tensor


Row = tuple[Edit, ...]
"""What one generated answer changes: no edit is the unmodified run, one is a transplant."""


@dataclass(slots=True)
class Window:
    """Which columns of the prompt the current forward sees.

    A prompt may go through the model in chunks, and rows of a right-padded batch end in different
    ones; the last real token of a row is in the current forward only if `here` names the row.

    Attributes:
        last: column of the last real token of each row, batch.
        start: first column of the current forward; None when it is not part of the prompt.
    """

    last: Tensor
    start: int | None = 0

    def here(self, width: int) -> tuple[Tensor, Tensor]:
        """Rows whose last real token is among the current `width` columns, and its column there."""
        if self.start is None:
            nothing = self.last[:0]
            return nothing, nothing
        columns = self.last - self.start
        rows = torch.nonzero((columns >= 0) & (columns < width)).flatten()
        return rows, columns[rows]


def replace_in(window: Window, vectors: Tensor) -> Rewrite:
    """A rewrite that puts vectors at the last real prompt tokens that the window shows.

    Args:
        window: moved along by whoever runs the prefill.
        vectors: d_model (the same for all rows) or batch d_model.
    """

    def rewrite(hidden: Tensor) -> Tensor:
        rows, columns = (index.to(hidden.device) for index in window.here(hidden.shape[1]))
        if not len(rows):
            return hidden
        values = vectors.to(hidden)
        changed = hidden.clone()
        changed[rows, columns] = values if values.dim() == 1 else values[rows]
        return changed

    return rewrite
