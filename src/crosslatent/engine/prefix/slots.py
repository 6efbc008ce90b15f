"""Rows of a batch arranged by the prefix that they share.

A product of all rows with their prefixes is one batched product where every group of rows has its
own line: groups slots, with as many slots as the largest group has rows. Groups of very different
sizes are arranged apart, so that the small ones are not filled up to the large ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

_LIKE = 2
"""Groups of which none has more than so many times the rows of another share an arrangement."""


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring groups of like size.

    Attributes:
        groups: which.
        shape: groups slots.
        row_of_slot: the row in each slot; None if that is its own number.
    """

    groups: slice
    shape: tuple[int, int]
    row_of_slot: Int[Tensor, " places"] | None

    def gather(self, rows: Shaped[Tensor, " rows *rest"]) -> Shaped[Tensor, "groups slots *rest"]:
        """Each row in its slot."""
        if self.row_of_slot is not None:
            rows = rows.index_select(0, self.row_of_slot)
        arranged: Tensor = rows.unflatten(0, self.shape)
        return arranged


@dataclass(frozen=True, slots=True)
class Slots:
    """The arrangement of rows, in parts, and the way back.

    Attributes:
        parts: every row is in one of them.
        slot_of_row: the slot of each row, counted through all parts; None if its own number.
    """

    parts: tuple[Part, ...]
    slot_of_row: Int[Tensor, " rows"] | None

    @classmethod
    def of(cls, groups: Int[Tensor, " rows"], n_groups: int, device: torch.device) -> Slots:
        """Arrange rows.

        Args:
            groups: which group each row belongs to, on the CPU.
            n_groups: how many groups there are; a group may be without rows.
            device: where rows are arranged.
        """
        if n_groups == 1:
            return cls((Part(slice(0, 1), (1, len(groups)), None),), None)
        counts = torch.bincount(groups, minlength=n_groups)
        first = counts.cumsum(0) - counts
        by_group = torch.argsort(groups, stable=True)
        slot_of_row = torch.empty_like(by_group)
        parts, slots = [], 0
        for start, stop in _alike(counts.tolist()):
            width = int(counts[start:stop].max())
            ranks = torch.arange(width).expand(stop - start, -1)
            filled = ranks < counts[start:stop, None]
            # A slot without a row of its own repeats the group's first; nothing reads its result.
            place = first[start:stop, None] + torch.where(filled, ranks, 0)
            row_of_slot = by_group[place]
            numbers = torch.arange(slots, slots + filled.numel()).view_as(filled)
            slot_of_row[row_of_slot[filled]] = numbers[filled]
            shape = (stop - start, width)
            parts.append(Part(slice(start, stop), shape, row_of_slot.flatten().to(device)))
            slots += filled.numel()
        return cls(tuple(parts), slot_of_row.to(device))

    def scatter(
        self, parts: Sequence[Shaped[Tensor, "_groups _slots *rest"]]
    ) -> Shaped[Tensor, " rows *rest"]:
        """The rows, out of the slots of every part."""
        slots = [part.flatten(0, 1) for part in parts]
        joined = slots[0] if len(slots) == 1 else torch.cat(slots)
        return joined if self.slot_of_row is None else joined.index_select(0, self.slot_of_row)


def _alike(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of like groups, as (first, one past the last); groups without rows are left out."""
    start = 0
    for group in range(len(counts) + 1):
        run = counts[start : group + 1]
        if group < len(counts) and min(run) and max(run) <= _LIKE * min(run):
            continue
        if group > start:
            yield start, group
        start = group + (group < len(counts) and not counts[group])


def select(
    values: Shaped[Tensor, " rows *rest"], rows: Int[Tensor, " kept"]
) -> Shaped[Tensor, " kept *rest"]:
    """Some rows of a tensor, in this order; neighbours are not copied.

    Args:
        values: of all rows, on any device.
        rows: which, on the CPU.
    """
    first, n_rows = int(rows[0]), len(rows)
    if torch.equal(rows, torch.arange(first, first + n_rows)):
        return values[first : first + n_rows]
    return values[rows.to(values.device)]
