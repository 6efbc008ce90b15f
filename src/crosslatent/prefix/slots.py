"""Rows of a batch arranged by the prefix that they share.

A product of all rows with their prefixes is one batched product when every group of rows has its
own line: groups slots, with as many slots as the largest group has rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Slots:
    """The arrangement of rows into groups slots, and back."""

    def __init__(self, groups: Tensor, n_groups: int) -> None:
        """Arrange rows.

        Args:
            groups: which group each row belongs to, rows, on the CPU.
            n_groups: how many groups there are; a group may be without rows.
        """
        self._moved: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if n_groups == 1:
            self._shape, self._in_order = (1, len(groups)), True
            return
        counts = torch.bincount(groups, minlength=n_groups)
        self._shape = (n_groups, int(counts.max()))
        order = torch.argsort(groups, stable=True)
        first = counts.cumsum(0) - counts
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(groups)) - first[groups[order]]
        self._slot_of_row = groups * self._shape[1] + rank
        # A slot without a row of its own repeats the first row; nothing reads its result.
        self._row_of_slot = torch.zeros(n_groups * self._shape[1], dtype=torch.long)
        self._row_of_slot[self._slot_of_row] = torch.arange(len(groups))
        self._in_order = torch.equal(self._row_of_slot, torch.arange(len(groups)))

    def gather(self, rows: Tensor) -> Tensor:
        """Rows ... -> groups slots ..."""
        if not self._in_order:
            rows = rows.index_select(0, self._on(rows.device)[1])
        arranged: Tensor = rows.unflatten(0, self._shape)
        return arranged

    def scatter(self, slots: Tensor) -> Tensor:
        """Groups slots ... -> rows ..."""
        rows = slots.flatten(0, 1)
        return rows if self._in_order else rows.index_select(0, self._on(rows.device)[0])

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._moved:
            self._moved[device] = (self._slot_of_row.to(device), self._row_of_slot.to(device))
        return self._moved[device]


def select(values: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a tensor, in this order; neighbours are not copied.

    Args:
        values: rows ..., on any device.
        rows: which, on the CPU.
    """
    first, n_rows = int(rows[0]), len(rows)
    if torch.equal(rows, torch.arange(first, first + n_rows)):
        return values[first : first + n_rows]
    return values[rows.to(values.device)]
