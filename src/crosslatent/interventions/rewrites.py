"""Interventions as rewrites of a forward: one row's in a window, or a row each in a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import Intervention, Tokens
from crosslatent.model.sites import Rewrite


@dataclass(slots=True)
class Window:
    """Which columns of the prompt the current forward sees.

    A prompt may go through the model in chunks, and rows of a right-padded batch end in different
    ones; the last real token of a row is in the current forward only if `here` names the row.

    Attributes:
        last: column of the last real token of each row; beyond the columns of the forward where
            the end of the prompt is read in another one.
        start: first column of the current forward; None when it is not part of the prompt.
        lengths: real tokens of each row's prompt; None where only its end is asked for.
    """

    last: Int[Tensor, " rows"]
    start: int | None = 0
    lengths: Int[Tensor, " rows"] | None = None

    def here(
        self, width: int, back: int = 0
    ) -> tuple[Int[Tensor, " found"], Int[Tensor, " found"]]:
        """Rows whose token is among the current `width` columns, and its column there."""
        if self.start is None:
            nothing = self.last[:0]
            return nothing, nothing
        columns = self.last - back - self.start
        rows = torch.nonzero((columns >= 0) & (columns < width)).flatten()
        return rows, columns[rows]

    def split(self, parts: int) -> list[Window]:
        """The same for consecutive rows of the batch, as many in each part."""
        lengths = [None] * parts if self.lengths is None else self.lengths.chunk(parts)
        if not len(self.last):
            return [self] * parts
        return [
            Window(last, self.start, some)
            for last, some in zip(self.last.chunk(parts), lengths, strict=True)
        ]

    def among(self, tokens: Tokens, rows: int, width: int) -> Bool[Tensor, "rows pos"] | None:
        """Which tokens of the current forward some tokens are; None for all of them."""
        if tokens.everywhere or (self.start is None and tokens.kind == "all"):
            return None
        if self.start is None:
            return torch.zeros((rows, width), dtype=torch.bool)
        assert self.lengths is not None
        lengths, last = self.lengths[:rows], self.last[:rows]
        columns = torch.arange(self.start, self.start + width, device=last.device)
        return tokens.among(columns - (last - lengths + 1)[:, None], lengths)


EVERYWHERE = Window(torch.zeros(0, dtype=torch.long), None)
"""For interventions on all tokens, which need to know nothing of the prompt."""


def rewrites(row: tuple[Intervention, ...], window: Window) -> Mapping[Site, Rewrite]:
    """One row's interventions, in every row of a forward, as one rewrite a site.

    Args:
        row: what is done; at one site in the order given.
        window: moved along by the code that runs the prefill.
    """
    return {
        site: _in_window([each for each in row if each.site == site], window)
        for site in dict.fromkeys(each.site for each in row)
    }


def _in_window(members: Sequence[Intervention], window: Window) -> Rewrite:
    def rewrite(hidden: Float[Tensor, "rows pos width"]) -> Float[Tensor, "rows pos width"]:
        for each in members:
            hidden = (_at_end if each.tokens.at_end else _among)(each, window, hidden)
        return hidden

    return rewrite


def _at_end(
    each: Intervention, window: Window, hidden: Float[Tensor, "rows pos width"]
) -> Float[Tensor, "rows pos width"]:
    changed = hidden
    for back in range(each.tokens.count):
        rows, columns = (index.to(hidden.device) for index in window.here(hidden.shape[1], back))
        if len(rows):
            changed = hidden.clone() if changed is hidden else changed
            changed[rows, columns] = each.change(changed[rows, columns], back)
    return changed


def _among(
    each: Intervention, window: Window, hidden: Float[Tensor, "rows pos width"]
) -> Float[Tensor, "rows pos width"]:
    mask = window.among(each.tokens, *hidden.shape[:2])
    if mask is None:
        return each.change(hidden.flatten(0, -2)).view_as(hidden)
    mask = mask.to(hidden.device)
    if not bool(mask.any()):
        return hidden
    changed = hidden.clone()
    changed[mask] = each.change(hidden[mask])
    return changed


Member = tuple[int, Intervention]
"""Where a row is in the batch, and what is done in it."""


def rewrites_by_row(
    rows: Sequence[tuple[Intervention, ...]], first: int = 0
) -> Mapping[Site, Rewrite]:
    """One rewrite per site, each changing only the rows that have an intervention there.

    Args:
        rows: the interventions of each row, all at the end of the prompt; the forward's last
            columns are the prompt's last tokens.
        first: place of the first of these rows in the batch.
    """
    grouped: dict[Site, list[Member]] = defaultdict(list)
    for place, row in enumerate(rows, start=first):
        for each in row:
            grouped[each.site].append((place, each))
    return {site: _rewrite(members) for site, members in grouped.items()}


def _rewrite(members: Sequence[Member]) -> Rewrite:
    parts = []
    for back in range(max(each.tokens.count for _, each in members)):
        kinds: dict[type[Intervention], list[Member]] = defaultdict(list)
        for place, each in members:
            if each.tokens.count > back:
                kinds[type(each)].append((place, each))
        for kind, touching in kinds.items():
            change = kind.together([each for _, each in touching], back)
            parts.append((back, torch.tensor([place for place, _ in touching]), change))

    def rewrite(hidden: Float[Tensor, "rows pos width"]) -> Float[Tensor, "rows pos width"]:
        changed = hidden.clone()
        for back, places, change in parts:
            rows = places.to(hidden.device)
            changed[rows, -1 - back] = change(changed[rows, -1 - back])
        return changed

    return rewrite
