"""The edits of a batch of rows, as one rewrite for every site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import Intervention, blend
from crosslatent.model.sites import Rewrite


def rewrites(rows: Sequence[tuple[Intervention, ...]], first: int = 0) -> Mapping[Site, Rewrite]:
    """One rewrite per site, each touching only the rows that edit there.

    Args:
        rows: the edits of each row; the forward's last columns are the prompt's last tokens.
        first: place of the first of these rows in the batch.
    """
    grouped: dict[Site, list[tuple[int, Intervention]]] = defaultdict(list)
    for place, row in enumerate(rows, start=first):
        for edit in row:
            grouped[edit.site].append((place, edit))
    return {site: _replace(edits) for site, edits in grouped.items()}


def _replace(edits: Sequence[tuple[int, Intervention]]) -> Rewrite:
    parts = [
        (back, *_stacked([(place, edit) for place, edit in edits if edit.positions > back], back))
        for back in range(max(edit.positions for _, edit in edits))
    ]

    def rewrite(hidden: Tensor) -> Tensor:
        changed = hidden.clone()
        for back, places, vectors, strengths in parts:
            rows = places.to(hidden.device)
            changed[rows, -1 - back] = blend(changed[rows, -1 - back], vectors, strengths)
        return changed

    return rewrite


def _stacked(
    edits: Sequence[tuple[int, Intervention]], back: int
) -> tuple[Tensor, Tensor, Tensor | float]:
    """Places, vectors and strengths of the edits at the column `back` from the last."""
    places = torch.tensor([place for place, _ in edits])
    vectors = torch.stack([edit.rows[-1 - back] for _, edit in edits])
    strengths = [edit.strength for _, edit in edits]
    if len(set(strengths)) == 1:
        return places, vectors, strengths[0]
    return places, vectors, torch.tensor(strengths)
