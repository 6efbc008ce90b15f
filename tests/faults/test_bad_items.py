"""One bad item: recorded with its reason, and the others are run as if it were not there."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.core.errors import CrosslatentError
from crosslatent.runs import RunReader
from support.faults import (
    EVERYTHING,
    assert_equal_rows,
    assert_equal_runs,
    contents,
    exported,
    extra,
    manifest,
    questions,
    write_questions,
)
from support.models import CONTEXT, byte_tokenizer

MARK = "~"
BAD = "q3"
ALONE = ("--controls=self,noise", "--attribution", "--samples=2", "--max-new-tokens=3")
"""No row of an item hangs on another item."""

FAULTS = {
    "error": RuntimeError("index out of range in self"),
    "value": ValueError("head_dim does not fit"),
    "memory": MemoryError("std::bad_alloc"),
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
}


@pytest.fixture
def sweep(given, tmp_path, capsys):
    """`crosslatent sweep` in this process: exit code, and what was said."""

    def call(prompts, *options, out=tmp_path / "run", fixed=ALONE):
        argv = [f"--model={given / 'model'}", f"--prompts={prompts}", f"--out={out}", *fixed]
        capsys.readouterr()
        code = main(["sweep", *argv, *options])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return code, said

    return call


@pytest.fixture
def prompts(tmp_path):
    """Makes a file of questions of which one has a mark in one of its prompts."""

    def make(where=None, bad=BAD):
        rows = questions(5)
        for row in rows:
            if where is not None and row["id"] == bad:
                row[where] = row[where].replace("?", f"{MARK}?")
        return write_questions(tmp_path / f"{where}.jsonl", rows)

    return make


@pytest.fixture
def poison(monkeypatch):
    """From now on, a forward over the mark raises; returns what takes that back."""
    (mark,) = byte_tokenizer()(MARK)["input_ids"]

    def spread(error):
        right = torch.nn.Embedding.forward

        def forward(self, ids):
            if (ids == mark).any():
                raise error
            return right(self, ids)

        monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
        return lambda: monkeypatch.setattr(torch.nn.Embedding, "forward", right)

    return spread


def failures(run):
    """Item -> (kind, reason)."""
    with RunReader(run).connect() as connection:
        found = connection.execute("SELECT item, kind, reason FROM failures").fetchall()
    return {item: (kind, reason) for item, kind, reason in found}


def of(rows, *, without):
    return [row for row in rows if row["item"] != without]


@pytest.mark.parametrize("where", ["main", "aux"])
@pytest.mark.parametrize("name", FAULTS)
def test_an_item_that_fails_is_recorded_and_the_others_are_run(
    sweep, prompts, poison, tmp_path, name, where
):
    file, run, clean = prompts(where), tmp_path / "run", tmp_path / "clean"
    assert sweep(file, out=clean)[0] == 0
    heal = poison(FAULTS[name])
    code, said = sweep(file)
    assert code == 1
    kind, reason = failures(run)[BAD]
    assert kind == ("memory" if name in ("memory", "cuda") else "error")
    assert str(FAULTS[name]).split(".")[0] in reason
    assert set(failures(run)) == {BAD}
    assert f"{BAD!r}" in said
    assert str(FAULTS[name]).split(".")[0] in said
    assert_equal_rows(of(exported(run), without=BAD), of(exported(clean), without=BAD))
    # What some rows of the bad item told before it failed may be there; nothing else is.
    assert {row["item"] for row in exported(run)} >= {f"q{n}" for n in range(5)} - {BAD}
    assert manifest(run)["status"]["failures"] == 1
    assert manifest(run)["status"]["items"] == 4

    # The same command tries it again, and nothing else.
    before = {name for name in contents(run) if "part-" in name}
    code, said = sweep(file)
    assert code == 1
    assert {name for name in contents(run) if "part-" in name} >= before
    assert_equal_rows(of(exported(run), without=BAD), of(exported(clean), without=BAD))

    heal()
    there = len(exported(run))
    code, said = sweep(file)
    assert code == 0, said
    assert f"{len(exported(clean)) - there:,} rows in" in said
    assert failures(run) == {}
    assert_equal_runs(run, clean)


def test_tables_beside_the_rows_have_all_but_the_bad_item(sweep, prompts, poison, tmp_path):
    file, run, clean = prompts("main"), tmp_path / "run", tmp_path / "clean"
    assert sweep(file, out=clean)[0] == 0
    poison(FAULTS["error"])
    assert sweep(file)[0] == 1
    for table in ("attribution", "samples"):
        there = of(extra(run, table), without=BAD)
        assert_equal_rows(there, of(extra(clean, table), without=BAD), places=1e-3)


@pytest.mark.parametrize("where", ["main", "aux", "paraphrase"])
def test_items_that_hang_on_the_bad_one_are_run_or_recorded(
    sweep, prompts, poison, tmp_path, where
):
    """Its vectors are donors and parts of means of others."""
    file, run, clean = prompts(where), tmp_path / "run", tmp_path / "clean"
    assert sweep(file, out=clean, fixed=EVERYTHING)[0] == 0
    heal = poison(FAULTS["error"])
    code, _ = sweep(file, fixed=EVERYTHING)
    assert code == 1
    failed = failures(run)
    assert BAD in failed
    right = {
        item: [row for row in exported(clean) if row["item"] == item]
        for item in {f"q{n}" for n in range(5)} - set(failed)
    }
    for item, rows in right.items():
        # Other rows share their batches here, which moves the last bits of their sums.
        found = [row for row in exported(run) if row["item"] == item]
        assert_equal_rows(found, rows, places=1e-4)
    assert len(right) >= 2, failed
    heal()
    assert sweep(file, fixed=EVERYTHING)[0] == 0
    assert_equal_runs(run, clean, places=1e-4)


def test_strict_stops_at_the_first(sweep, prompts, poison, tmp_path):
    file, run, clean = prompts("main"), tmp_path / "run", tmp_path / "clean"
    assert sweep(file, out=clean)[0] == 0
    heal = poison(FAULTS["error"])
    code, said = sweep(file, "--strict", "--batch-rows=20")
    assert code in (1, 2)
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert f"{BAD!r}" in line
    assert "index out of range" in line
    assert pq.read_table(run / "failures.parquet")["item"].to_pylist() == [BAD]
    heal()
    code, said = sweep(file)
    assert code == 0, said
    assert_equal_runs(run, clean)


def test_all_items_fail(sweep, prompts, poison, tmp_path):
    rows = [row | {"main": row["main"] + MARK} for row in questions(3)]
    file = write_questions(tmp_path / "all.jsonl", rows)
    heal = poison(FAULTS["error"])
    code, said = sweep(file)
    assert code == 1
    assert "index out of range" in said
    heal()
    assert sweep(file)[0] == 0
    assert sweep(file, out=tmp_path / "clean")[0] == 0
    assert_equal_runs(tmp_path / "run", tmp_path / "clean")


def test_items_that_fail_one_after_another_are_not_to_blame(sweep, prompts, poison, tmp_path):
    """What is wrong with the device or the installation is told before hours are lost."""
    rows = [row | {"main": row["main"] + MARK} for row in questions(8)]
    file = write_questions(tmp_path / "many.jsonl", rows)
    heal = poison(FAULTS["error"])
    code, said = sweep(file)
    assert code == 1
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "index out of range" in line
    assert "same command again" in line
    assert len(pq.read_table(tmp_path / "run" / "failures.parquet")) >= 4
    heal()
    assert sweep(file)[0] == 0
    assert sweep(file, out=tmp_path / "clean")[0] == 0
    assert_equal_runs(tmp_path / "run", tmp_path / "clean")


def test_a_prompt_that_cannot_be_asked(sweep, tmp_path):
    rows = questions(5)
    right = write_questions(tmp_path / "right.jsonl", [row for row in rows if row["id"] != BAD])
    rows[3]["main"] = "x" * CONTEXT
    file, run = write_questions(tmp_path / "long.jsonl", rows), tmp_path / "run"
    code, said = sweep(file)
    assert code == 1
    assert f"{BAD!r}" in said
    kind, reason = failures(run)[BAD]
    assert kind == "prompt"
    assert "context" in reason
    assert sweep(right, out=tmp_path / "clean")[0] == 0
    assert_equal_rows(exported(run), exported(tmp_path / "clean"))
    before = {n: d for n, d in contents(run).items() if "part-" in n}
    assert sweep(file)[0] == 1
    assert {n: d for n, d in contents(run).items() if "part-" in n} == before


def test_strict_refuses_a_prompt_before_anything_is_written(sweep, tmp_path):
    rows = questions(3)
    rows[1]["main"] = "x" * CONTEXT
    code, said = sweep(write_questions(tmp_path / "long.jsonl", rows), "--strict")
    assert code == 2
    assert "'q1'" in said
    assert not (tmp_path / "run").exists()


def test_the_summary_counts_by_kind(sweep, prompts, poison, tmp_path):
    rows = questions(6)
    rows[0]["main"] = "x" * CONTEXT
    rows[1]["main"] = "x" * (CONTEXT + 1)
    rows[2]["main"] += MARK
    poison(FAULTS["error"])
    code, said = sweep(write_questions(tmp_path / "three.jsonl", rows))
    assert code == 1
    assert {item: kind for item, (kind, _) in failures(tmp_path / "run").items()} == {
        "q0": "prompt",
        "q1": "prompt",
        "q2": "error",
    }
    assert "2 items could not be asked" in said
    assert "1 item failed" in said


def test_python_users_see_what_failed(given, prompts, poison, tmp_path):
    model = xl.load(given / "model")
    rows = [json.loads(line) for line in prompts("main").read_text().splitlines()]
    poison(FAULTS["error"])
    run = xl.sweep(model, rows, pairs="0:0", max_new_tokens=2, out=tmp_path / "run")
    assert set(run.to_pandas()["item"]) == {f"q{n}" for n in range(5)} - {BAD}
    assert set(failures(tmp_path / "run")) == {BAD}


def test_a_mistake_in_the_arguments_is_no_failure_of_an_item(given, prompts, tmp_path):
    model = xl.load(given / "model")
    rows = [json.loads(line) for line in prompts().read_text().splitlines()]
    with pytest.raises(CrosslatentError):
        xl.sweep(model, rows, pairs="9:9", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
