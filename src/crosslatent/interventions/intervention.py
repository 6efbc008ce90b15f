"""The edit of one transplant, and where its tokens are while a prefill passes by.

Floor 2: knows tensors and columns; the oracle, the engine and `interventions.patched.patched`
    share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crosslatent.core.errors import PairError
from crosslatent.core.specs import Site
from crosslatent.model.sites import Rewrite


@dataclass(frozen=True, slots=True)
class Intervention:
    """Put `vector` in the place of `site`'s output at the end of the prompt (docs/methods.md, 1).

    Attributes:
        site: component and block.
        vector: d_model for the last real token; positions d_model for the last positions, of which
            the last row is the last token's.
        strength: alpha in own + alpha * (vector - own); 1 is the paper's replacement.
    """

    site: Site
    vector: Tensor
    strength: float = 1.0

    @property
    def positions(self) -> int:
        """How many of the prompt's last tokens it touches."""
        return 1 if self.vector.dim() == 1 else self.vector.shape[0]

    @property
    def rows(self) -> Tensor:
        """The vectors, positions d_model."""
        return self.vector[None] if self.vector.dim() == 1 else self.vector


def tail(row: tuple[Intervention, ...]) -> int:
    """How many of the prompt's last tokens a row touches; 1 if it touches none."""
    return max((edit.positions for edit in row), default=1)


def check_row(row: tuple[Intervention, ...], length: int) -> None:
    """Refuse what cannot be done to a prompt of `length` tokens.

    Raises:
        PairError: a site is edited twice, or more tokens than the prompt has.
    """
    places = [(edit.site.layer, _module(edit.site)) for edit in row]
    for place in places:
        if places.count(place) > 1:
            raise PairError(
                f"A row edits {place[1]} of block {place[0]} more than once: keep one of the edits."
            )
    if tail(row) > length:
        raise PairError(
            f"A row edits the last {tail(row)} tokens, but the prompt has {length}: edit at most "
            "as many."
        )


def _module(site: Site) -> str:
    return "attn" if site.component == "attn_residual" else site.component


def blend(own: Tensor, vector: Tensor, strength: float | Tensor) -> Tensor:
    """Blend: own + strength * (vector - own); exactly `vector` at strength 1.

    Args:
        own: rows d_model.
        vector: likewise; in any dtype, on any device.
        strength: one number, or rows.
    """
    vector = vector.to(own)
    if not isinstance(strength, Tensor):
        return vector if strength == 1 else own + strength * (vector - own)
    alpha = strength.to(own)[:, None]
    return torch.where(alpha == 1.0, vector, own + alpha * (vector - own))


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

    def here(self, width: int, back: int = 0) -> tuple[Tensor, Tensor]:
        """Rows whose token is among the current `width` columns, and its column there.

        Args:
            width: columns of the current forward.
            back: which token, counted back from the last real one.
        """
        if self.start is None:
            nothing = self.last[:0]
            return nothing, nothing
        columns = self.last - back - self.start
        rows = torch.nonzero((columns >= 0) & (columns < width)).flatten()
        return rows, columns[rows]


def replace_in(window: Window, vectors: Tensor, strength: float = 1.0) -> Rewrite:
    """A rewrite that puts vectors at the last real prompt tokens that the window shows.

    Args:
        window: moved along by whoever runs the prefill.
        vectors: batch positions d_model; a batch of 1 serves all rows.
        strength: see `Intervention`.
    """
    shared, positions = len(vectors) == 1, vectors.shape[1]

    def rewrite(hidden: Tensor) -> Tensor:
        changed = hidden
        for back in range(positions):
            at = window.here(hidden.shape[1], back)
            if not len(at[0]):
                continue
            rows, columns = (index.to(hidden.device) for index in at)
            changed = hidden.clone() if changed is hidden else changed
            values = vectors[:, positions - 1 - back]
            values = values.expand(len(rows), -1) if shared else values[at[0].to(values.device)]
            changed[rows, columns] = blend(changed[rows, columns], values, strength)
        return changed

    return rewrite
