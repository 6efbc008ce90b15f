"""Run folders of earlier releases, whose rows lack columns that were added since."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from crosslatent.runs import RunFolder, RunReader
from crosslatent.runs.files import parquet_bytes
from crosslatent.runs.schema import LATER, ROWS
from support.store import MANIFEST, items_of, made, record

KNOWN = {"condition": None, "answer_share": 0.5, "answer_logprob": -1.0}


@pytest.fixture
def old(tmp_path):
    """A folder with one part, as an earlier release wrote it."""
    folder = made(tmp_path / "run", ["a", "b"])
    (part,) = (folder / "rows").glob("part-*")
    part.write_bytes(parquet_bytes(pq.read_table(part).drop_columns(list(LATER))))
    return folder


def columns(folder):
    with RunReader(folder).connect() as connection:
        return [name for name, *_ in connection.execute("DESCRIBE rows").fetchall()]


def test_they_are_read_as_rows_that_do_not_know(old):
    assert not set(LATER) & set(columns(old))
    frame = RunReader(old).to_polars()
    assert frame.columns == ROWS.names
    assert frame.select(LATER).null_count().row(0) == (2, 2, 2)


def test_they_are_taken_up_again_with_all_their_rows(old):
    assert items_of(old) == (["a", "b"], [])


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_newer_parts_beside_them_keep_what_they_know(old, first):
    with RunFolder.open(old, MANIFEST) as folder:
        folder.rows.write(folder.part_name(0), [record("c", **KNOWN)])
    if not first:  # whatever their order, since a lost part is made again by a later session
        older, newer = sorted((old / "rows").glob("part-*"))
        older.rename(newer.with_name(newer.name.replace("000000", "000001")))
    with RunReader(old).connect() as connection:
        found = connection.execute(
            f"SELECT item, {', '.join(LATER)} FROM rows ORDER BY item"
        ).fetchall()
    none = (None, None, None)
    assert found == [("a", *none), ("b", *none), ("c", None, 0.5, -1.0)]
    assert RunReader(old).to_polars().select(LATER).null_count().row(0) == (3, 2, 2)
    assert items_of(old) == (["a", "b", "c"], [])


def test_a_part_that_lacks_another_column_is_still_set_aside(old):
    (part,) = (old / "rows").glob("part-*")
    part.write_bytes(parquet_bytes(pq.read_table(part).drop_columns(["gold_score"])))
    items, aside = items_of(old)
    assert items == []
    assert "'gold_score' is missing" in aside[0].reason
