"""Exported rows: the promised columns, in every format, and nothing half-written."""

from __future__ import annotations

import io
import json
import math

import pandas as pd
import pyarrow.parquet as pq
import pytest

from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.runs.reader import check_format, export_rows
from support.runs import item, row, write_run

PROMISED = ["item", "lang", "component", "source", "target", "control", "output", "correct"]
TRICKY = 'a,"b"\nc; ünï\t(1)'


@pytest.fixture
def run(tmp_path):
    rows = [
        row("b", source=1, output=TRICKY, gold_logprob=-math.inf, option_logprobs=[-0.5, None]),
        row("b", "vanilla", correct=None, output=""),
        row("a", "shuffled", stratum="same_answer", donor="b"),
        row("a", correct=False),
    ]
    items = [item("b", strata={"relation": "capital"}), item("a", answer=None)]
    return write_run(tmp_path / "run", items, rows)


def test_parquet_keeps_types_and_order(run, tmp_path):
    assert export_rows(run, tmp_path / "x.parquet", "parquet") == 4
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column_names[: len(PROMISED)] == [
        "item", "lang", "component", "source", "target", "control", "stratum", "donor"
    ]  # fmt: skip
    assert set(PROMISED) <= set(table.column_names)
    records = table.to_pylist()
    assert [(r["item"], r["control"]) for r in records] == [
        ("a", "none"), ("a", "shuffled"), ("b", "none"), ("b", "vanilla")
    ]  # fmt: skip
    assert records[2]["output"] == TRICKY
    assert records[2]["output_ids"] == [7, 8]
    assert records[2]["source"] == 1
    assert records[3]["component"] is records[3]["source"] is records[3]["correct"] is None
    assert records[2]["split"] == "pilot"
    assert dict(records[2]["strata"]) == {"relation": "capital"}
    assert records[0]["answer"] is None


def test_csv_is_read_back(run, tmp_path):
    export_rows(run, tmp_path / "x.csv", "csv")
    text = (tmp_path / "x.csv").read_text(encoding="utf-8")
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame["item"]) == ["a", "a", "b", "b"]
    assert frame["output"][2] == TRICKY
    assert json.loads(frame["output_ids"][2]) == [7, 8]
    assert json.loads(frame["strata"][2]) == {"relation": "capital"}
    assert pd.isna(frame["source"][3])


def test_jsonl_is_json_on_every_line(run, tmp_path):
    export_rows(run, tmp_path / "x.jsonl", "jsonl")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    records = [json.loads(line, parse_constant=refuse) for line in lines]
    assert len(records) == 4
    assert records[2]["output"] == TRICKY
    assert records[2]["gold_logprob"] is None  # minus infinity has no JSON
    assert records[2]["option_logprobs"] == [-0.5, None]
    assert records[2]["correct_by_rule"] == {"option": True}
    assert records[2]["options"] == ["(1)", "(2)"]
    assert records[3]["control"] == "vanilla"
    assert records[3]["source"] is None


def test_same_rows_in_any_order_of_parts_give_the_same_file(tmp_path):
    rows = [row("a"), row("a", target=1), row("b")]
    items = [item("a"), item("b")]
    write_run(tmp_path / "one", items, rows)
    write_run(tmp_path / "two", items[::-1], rows[::-1])
    for name in ("one", "two"):
        export_rows(tmp_path / name, tmp_path / f"{name}.csv", "csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_refusals_leave_nothing(run, tmp_path):
    with pytest.raises(UsageError, match="'xml'"):
        check_format("xml")
    with pytest.raises(RunFolderError, match="folder that exists"):
        export_rows(run, tmp_path / "none" / "x.csv", "csv")
    with pytest.raises(RunFolderError, match="folder that exists"):
        export_rows(run, tmp_path, "csv")
    with pytest.raises(RunFolderError, match="not a run folder"):
        export_rows(tmp_path, tmp_path / "x.csv", "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_quotes_in_paths(run, tmp_path):
    place = tmp_path / "it's"
    place.mkdir()
    moved = run.rename(place / "run")
    assert export_rows(moved, place / "o'clock.csv", "csv") == 4
    assert (place / "o'clock.csv").is_file()
