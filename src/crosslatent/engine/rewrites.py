"""The interventions of a batch of rows, as one rewrite for every site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import Change, Intervention
from crosslatent.model.sites import Rewrite

Member = tuple[int, Intervention]
"""Where a row is in the batch, and what is done in it."""


def rewrites(rows: Sequence[tuple[Intervention, ...]], first: int = 0) -> Mapping[Site, Rewrite]:
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
    parts = [
        (back, torch.tensor([place for place, _ in touching]), _together(touching, back))
        for back in range(max(each.tokens.count for _, each in members))
        for touching in _by_kind([(at, each) for at, each in members if each.tokens.count > back])
    ]

    def rewrite(hidden: Float[Tensor, "rows pos width"]) -> Float[Tensor, "rows pos width"]:
        changed = hidden.clone()
        for back, places, change in parts:
            rows = places.to(hidden.device)
            changed[rows, -1 - back] = change(changed[rows, -1 - back])
        return changed

    return rewrite


def _by_kind(members: Sequence[Member]) -> list[list[Member]]:
    kinds: dict[type[Intervention], list[Member]] = defaultdict(list)
    for place, each in members:
        kinds[type(each)].append((place, each))
    return list(kinds.values())


def _together(members: Sequence[Member], back: int) -> Change:
    kind = type(members[0][1])
    return kind.together([each for _, each in members], back)
