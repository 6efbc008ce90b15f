"""`crosslatent export`: to a file or to standard output."""

from __future__ import annotations

import csv
import io
import json

import pytest

from support.runs import item, row, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", [item("a")], [row("a"), row("a", "vanilla", output="ü")])


def test_to_a_file(cli, run, tmp_path):
    result = cli("export", run, "--format=parquet", f"--out={tmp_path / 'x.parquet'}")
    assert result.code == 0
    assert result.out == ""
    assert "2 rows" in result.err
    assert (tmp_path / "x.parquet").stat().st_size > 0


def test_csv_to_standard_output(capfd, run):
    from crosslatent.cli.app import main

    assert main(["export", str(run), "--format=csv"]) == 0
    records = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [record["control"] for record in records] == ["none", "vanilla"]
    assert records[1]["source"] == ""


def test_jsonl_to_standard_output(capfd, run):
    from crosslatent.cli.app import main

    assert main(["export", str(run), "--format=jsonl"]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record["output"] for record in records] == ["(1)", "ü"]


def test_json_says_what_was_written(cli, run, tmp_path):
    out = tmp_path / "x.csv"
    found = cli("export", run, "--format=csv", f"--out={out}", "--json")
    assert found.json == {"rows": 2, "format": "csv", "out": str(out)}
    cli("export", run, "--format=csv", "--json").assert_refused("--out FILE")
