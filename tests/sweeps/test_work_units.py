"""What is missing of a sweep: found by the keys of its rows, and cut without losing or doubling."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslatent.core.pairs import resolve_pairs
from crosslatent.sweeps import work_units
from crosslatent.sweeps.work_units import RowRange, SweepGrid, cut, missing_items, missing_rows
from crosslatent.tasks import Item

CONTROLS = ("shuffled", "noise", "mean", "self", "paraphrase", "mean-main", "skip")


@dataclass
class Held:
    """Stands for `runs.inventory.Inventory`."""

    rows: dict[str, set] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def counts(self):
        return {item: len(keys) for item, keys in self.rows.items() if keys}

    def keys(self, items):
        self.asked += items
        return {item: self.rows[item] for item in items}


def item(number, **changes):
    fields = {
        "id": f"q{number}", "lang": "sw", "aux_lang": "en", "main": f"m{number}",
        "aux": f"a{number}", "answer": f"({number % 2 + 1})", "options": ("(1)", "(2)"),
        "cluster": f"fact-{number}", "split": "final" if number % 2 else "pilot",
    }  # fmt: skip
    return Item(**(fields | changes))


ITEMS = tuple(item(n, paraphrase="again" if n == 4 else None) for n in range(9))
GRID = SweepGrid(
    items=ITEMS,
    components=("attn", "ffn"),
    pairs=resolve_pairs("all", 3),
    controls=CONTROLS,
    control_splits=("pilot",),
)


def everything():
    return Held({one.id: {row.key for row in GRID.planned(one)} for one in ITEMS})


def keys_of(blocks):
    """(item, key) of all rows of some blocks, with repeats."""
    by_id = {one.id: GRID.planned(one) for one in ITEMS}
    return [
        (block.item, by_id[block.item][place].key) for block in blocks for place in block.places
    ]


def test_rows_have_keys_of_their_own_in_a_fixed_order():
    for one in ITEMS:
        keys = [row.key for row in GRID.planned(one)]
        assert len(set(keys)) == len(keys) == GRID.rows_of(one)
        assert keys == [row.key for row in GRID.planned(one)]
        assert [key.control for key in keys[:2]] == ["vanilla", "translate_test"]
        assert all(set(key[2:]) == {None} for key in keys[:2])
    assert GRID.rows == sum(len(GRID.planned(one)) for one in ITEMS)


def test_skip_has_a_row_for_each_target_layer():
    one = ITEMS[0]
    places = [row for row in GRID.planned(one) if row.variant.control == "skip"]
    assert [(row.component, row.source, row.target) for row in places] == [
        (name, layer, layer) for name in ("attn", "ffn") for layer in range(3)
    ]
    pairs = SweepGrid((one,), ("ffn",), resolve_pairs("0:2,1:2", 3), ("skip", "noise"))
    assert pairs.rows == len(pairs.planned(one)) == 2 + 2 + 2 + 1


def test_controls_are_for_their_splits_and_a_paraphrase_for_who_has_one():
    assert {v.control for v in GRID.variants(ITEMS[1])} == {"none"}
    assert "paraphrase" in {v.control for v in GRID.variants(ITEMS[4])}
    assert "paraphrase" not in {v.control for v in GRID.variants(ITEMS[0])}
    shuffled = [v for v in GRID.variants(ITEMS[0]) if v.control == "shuffled"]
    # Within the pilot split, all have the same answer.
    assert [v.stratum for v in shuffled] == ["same_answer"]


def test_nothing_is_missing_of_a_whole_run_and_everything_of_none():
    whole = everything()
    assert missing_rows(GRID, whole) == []
    assert whole.asked == []  # counts suffice
    found = keys_of(missing_rows(GRID, Held()))
    assert len(found) == len(set(found)) == GRID.rows


@settings(max_examples=60)
@given(st.data())
def test_exactly_what_is_not_there_is_missing(data):
    held = everything()
    for one in ITEMS:
        keys = sorted(held.rows[one.id], key=repr)
        kept = data.draw(st.sets(st.sampled_from(keys), max_size=len(keys)))
        held.rows[one.id] = data.draw(st.sampled_from([set(kept), set(keys), set()]))
    there = {(name, key) for name, keys in held.rows.items() for key in keys}
    blocks = missing_rows(GRID, held)
    found = keys_of(blocks)
    assert len(found) == len(set(found))
    assert set(found) == set(keys_of(missing_rows(GRID, Held()))) - there
    size = data.draw(st.integers(1, 70))
    pieces = list(cut(blocks, "rows", size, first=5))
    assert [piece.number for piece in pieces] == list(range(5, 5 + len(pieces)))
    assert keys_of([block for piece in pieces for block in piece.ranges]) == found
    assert all(0 < piece.rows <= size for piece in pieces)


def test_large_items_are_split(monkeypatch):
    monkeypatch.setattr(work_units, "ROWS_TOGETHER", 7)
    blocks = missing_rows(GRID, Held())
    assert max(len(block.places) for block in blocks) == 7
    assert len(set(keys_of(blocks))) == GRID.rows


def test_blocks_are_joined_as_long_as_they_fit():
    blocks = [
        RowRange("a", range(3)),
        RowRange("b", range(3)),
        RowRange("c", range(10)),
        RowRange("d", (1,)),
    ]
    pieces = [piece.ranges for piece in cut(blocks, "rows", 6)]
    assert pieces == [
        (RowRange("a", range(3)), RowRange("b", range(3))),
        (RowRange("c", range(6)),),
        (RowRange("c", range(6, 10)), RowRange("d", (1,))),
    ]


def test_other_tables_are_made_by_item():
    blocks = missing_items(GRID, ["q1", "q7", "elsewhere"])
    assert [block.item for block in blocks] == [f"q{n}" for n in (0, 2, 3, 4, 5, 6, 8)]
    assert [len(piece.ranges) for piece in cut(blocks, "samples", 3)] == [3, 3, 1]


@pytest.mark.parametrize("split", ["pilot", "final"])
def test_a_grid_travels(split):
    import cloudpickle

    moved = cloudpickle.loads(cloudpickle.dumps(GRID))
    one = next(each for each in ITEMS if each.split == split)
    assert moved.planned(one) == GRID.planned(one)
