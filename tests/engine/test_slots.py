"""Rows find their slots and back, whatever the sizes of their groups."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from crosslatent.engine.prefix_layout import Slots, select

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(6, 8))
def test_rows_come_back_from_slots_of_their_own_group(groups, n_groups):
    slots = Slots.of(torch.tensor(groups), n_groups, CPU)
    rows = torch.arange(len(groups)) * 10
    arranged = [part.gather(rows) for part in slots.parts]
    assert torch.equal(slots.scatter(arranged), rows)
    for part, found in zip(slots.parts, arranged, strict=True):
        assert found.shape == part.shape
        for line, group in zip(found, range(n_groups)[part.groups], strict=True):
            assert {groups[row // 10] for row in line.tolist()} == {group}


def test_one_group_is_not_moved():
    slots = Slots.of(torch.zeros(7, dtype=torch.long), 1, CPU)
    rows = torch.arange(7)
    (part,) = slots.parts
    assert part.gather(rows).data_ptr() == rows.data_ptr()
    assert slots.scatter([part.gather(rows)]).data_ptr() == rows.data_ptr()


def test_small_groups_are_not_filled_up_to_large_ones():
    counts = (100, 90, 60, 1, 1, 0, 2, 40)
    groups = torch.repeat_interleave(torch.arange(8), torch.tensor(counts))
    slots = Slots.of(groups, 8, CPU)
    assert [part.groups for part in slots.parts] == [
        slice(0, 3), slice(3, 5), slice(6, 7), slice(7, 8)
    ]  # fmt: skip
    assert [part.shape for part in slots.parts] == [(3, 100), (2, 1), (1, 2), (1, 40)]


def test_neighbours_are_not_copied():
    values = torch.arange(10)
    assert select(values, torch.tensor([3, 4, 5])).data_ptr() == values[3:].data_ptr()
    assert select(values, torch.tensor([3, 5, 4])).tolist() == [3, 5, 4]
