"""Which rows a folder has: counts, keys, and rows that are there twice."""

from __future__ import annotations

import shutil

import pytest

from crosslatent.runs import RunFolder
from crosslatent.runs.schema import RowKey
from support.store import MANIFEST, items_of, made, record

STRANGE = ["", " ", "a/b", "'; DROP TABLE rows", "Ünï", "\n", "a\0b", "None", "🙂" * 300]


def transplant(item, control="none", source=0, target=0, **changes):
    return record(item, control=control, component="ffn", source=source, target=target, **changes)


def opened(path, *parts):
    with RunFolder.open(path, MANIFEST) as folder:
        for number, rows in enumerate(parts):
            folder.rows.write(folder.part_name(number), rows)
    with RunFolder.open(path, MANIFEST) as folder:
        return folder.inventory


def test_rows_are_counted_over_parts(tmp_path):
    inventory = opened(
        tmp_path,
        [record("a"), transplant("a"), record("b")],
        [transplant("a", source=1), transplant("c")],
        [],
    )
    assert dict(inventory.counts) == {"a": 3, "b": 1, "c": 1}


def test_keys_tell_every_row_apart(tmp_path):
    rows = [
        record("a"),
        record("a", control="translate_test"),
        transplant("a"),
        transplant("a", source=32767, target=1),
        transplant("a", source=1, target=32767),
        transplant("a", "shuffled", stratum="same_answer", donor="b"),
        transplant("a", "shuffled", stratum="different_answer", donor="b"),
        record("a", control="condition", condition="f00"),
        record("a", control="condition", condition="ba2"),
        transplant("b"),
    ]
    inventory = opened(tmp_path, rows[:3], rows[3:])
    assert inventory.keys(["a", "none"]) == {
        "a": {
            RowKey("vanilla"),
            RowKey("translate_test"),
            RowKey("none", None, "ffn", 0, 0),
            RowKey("none", None, "ffn", 32767, 1),
            RowKey("none", None, "ffn", 1, 32767),
            RowKey("shuffled", "same_answer", "ffn", 0, 0),
            RowKey("shuffled", "different_answer", "ffn", 0, 0),
            RowKey("condition", condition="f00"),
            RowKey("condition", condition="ba2"),
        },
        "none": set(),
    }
    assert inventory.keys([]) == {}


@pytest.mark.parametrize("item", STRANGE)
def test_ids_may_be_any_text(tmp_path, item):
    inventory = opened(tmp_path, [record(item)])
    assert dict(inventory.counts) == {item: 1}
    assert inventory.keys([item]) == {item: {RowKey("vanilla")}}


def test_nothing_is_there_at_first(tmp_path):
    assert dict(opened(tmp_path).counts) == {}
    assert dict(opened(tmp_path, []).counts) == {}


def test_parts_that_hold_rows_again_are_set_aside(tmp_path):
    made(tmp_path, ["a"], ["b"], ["c"])
    rows = tmp_path / "rows"
    shutil.copy(rows / "part-00001-000001.parquet", rows / "part-00001-000007.parquet")
    found, (set_aside,) = items_of(tmp_path)
    assert found == ["a", "b", "c"]
    assert set_aside.name == "rows/part-00001-000007.parquet"
    assert "another part" in set_aside.reason
    assert (rows / "part-00001-000007.doubled").exists()
    assert items_of(tmp_path) == (["a", "b", "c"], [])


def test_only_what_is_there_twice_is_set_aside(tmp_path):
    # b again in the second part, which goes; so the c of the third is the only one.
    made(tmp_path, ["a", "b"], ["b", "c"], ["c", "d"], ["e", "e"])
    found, set_aside = items_of(tmp_path)
    assert found == ["a", "b", "c", "d"]
    assert [one.name for one in set_aside] == [
        "rows/part-00001-000001.parquet", "rows/part-00001-000003.parquet"
    ]  # fmt: skip


def test_the_same_slice_written_again_replaces_its_part(tmp_path):
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        for _ in range(2):
            folder.rows.write(folder.part_name(3), [record("a")])
        assert [part.name for part in folder.rows.files()] == ["part-00001-000003.parquet"]
        assert folder.totals(0.5)["rows"] == 1
