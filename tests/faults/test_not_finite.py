"""Logits that are no numbers: the row is flagged, the run goes on, and every export stays valid."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch

import crosslatent as xl
from crosslatent.cli.app import main
from support.faults import assert_equal_rows, exported, manifest, questions, write_questions
from support.models import byte_tokenizer, save_tiny, tiny_model

MARK = "~"
BAD = "q3"
OPTIONS = ("--component=attn,ffn", "--controls=self,noise", "--max-new-tokens=3", "--score-options")


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """A model whose embedding of one token is not a number, and the same model without that."""
    place = tmp_path_factory.mktemp("sick")
    save_tiny(place / "clean", num_hidden_layers=3)
    hf, tokenizer = tiny_model("llama", num_hidden_layers=3)
    (mark,) = tokenizer(MARK)["input_ids"]
    with torch.no_grad():
        hf.get_input_embeddings().weight[mark] = torch.nan
    hf.save_pretrained(place / "sick")
    tokenizer.save_pretrained(place / "sick")
    rows = questions(5)
    rows[3]["aux"] = rows[3]["aux"].replace("?", f"{MARK}?")
    write_questions(place / "questions.jsonl", rows)
    return place


def sweep(place, model, out, *options):
    argv = [f"--model={place / model}", f"--prompts={place / 'questions.jsonl'}", f"--out={out}"]
    return main(["sweep", *argv, *OPTIONS, *options])


@pytest.fixture(scope="module")
def runs(sick, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    assert sweep(sick, "clean", place / "clean") == 0
    return place, sweep(sick, "sick", place / "sick")


def test_rows_without_numbers_are_flagged_and_the_others_are_as_ever(runs):
    place, code = runs
    assert code == 1
    rows = exported(place / "sick")
    flagged = [row for row in rows if not row["finite"]]
    assert {row["item"] for row in flagged} == {BAD}
    assert {row["control"] for row in flagged} == {"none", "noise", "translate_test"}
    clean = {key(row): row for row in exported(place / "clean")}
    right = [row for row in rows if row["finite"]]
    assert_equal_rows(right, [clean[key(row)] for row in right])
    assert len(rows) == len(clean)


def key(row):
    return tuple(row[n] for n in ("item", "control", "stratum", "component", "source", "target"))


def test_what_was_flagged_is_counted_and_told(sick, tmp_path, capsys):
    run = tmp_path / "run"
    capsys.readouterr()
    assert sweep(sick, "sick", run) == 1
    said = capsys.readouterr().err
    flagged = sum(not row["finite"] for row in exported(run))
    assert flagged > 10
    (line,) = [line for line in said.splitlines() if "finite" in line or "not a number" in line]
    assert f"{flagged}" in line
    assert not (run / "failures.parquet").exists()
    rows = exported(run)
    capsys.readouterr()
    assert sweep(sick, "sick", run) == 1
    assert "Nothing was missing" in capsys.readouterr().err
    assert_equal_rows(exported(run), rows)


def test_exports_and_run_json_stay_valid(runs, tmp_path):
    place, _ = runs

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for kind in ("jsonl", "csv"):
        out = f"--out={tmp_path / 'rows'}.{kind}"
        assert main(["export", str(place / "sick"), f"--format={kind}", out]) == 0
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]
    table = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text(encoding="utf-8"))))
    assert len(records) == len(table) == len(exported(place / "sick"))
    assert not any("nan" in (value or "").lower() for row in table for value in row.values())
    json.loads((place / "sick" / "run.json").read_text(), parse_constant=refuse)
    assert sum(not record["finite"] for record in records) == sum(
        row["finite"] == "false" for row in table
    )


def test_a_report_of_such_a_run_can_be_made(runs, tmp_path):
    place, _ = runs
    assert main(["report", str(place / "sick"), f"--out={tmp_path / 'report'}"]) == 0
    summary = (tmp_path / "report" / "summary.json").read_text(encoding="utf-8")
    assert "NaN" not in summary
    json.loads(summary)


def test_only_the_pairs_with_a_bad_vector_are_flagged(tmp_path):
    """The last block overflows for one prompt: pairs that take a vector from there are flagged."""
    hf, tokenizer = tiny_model("llama", num_hidden_layers=3)
    (mark,) = byte_tokenizer()(MARK)["input_ids"]
    seen = {}

    def remember(_module, args):
        seen["marked"] = (args[0] == mark).any(dim=-1)

    def overflow(_module, _args, output):
        if len(seen["marked"]) == len(output) and seen["marked"].any():
            output = output.clone()
            output[seen["marked"], -1] = torch.inf
        return output

    rows = questions(4)
    rows[2]["aux"] = f"{MARK}{rows[2]['aux']}"
    arguments = {"component": "ffn", "controls": ["self"], "max_new_tokens": 2}
    clean = xl.sweep(xl.wrap(hf, tokenizer), rows, out=tmp_path / "clean", **arguments)
    model = xl.wrap(hf, tokenizer)
    hf.get_input_embeddings().register_forward_pre_hook(remember)
    hf.model.layers[2].mlp.register_forward_hook(overflow)
    xl.sweep(model, rows, out=tmp_path / "run", **arguments)
    found = {key(row): row for row in exported(tmp_path / "run")}
    flagged = {k for k, row in found.items() if not row["finite"]}
    expected = {("q2", "none", None, "ffn", 2, target) for target in range(3)}
    # The answer to aux itself may be read in two parts, of which the second has no mark.
    assert flagged - {("q2", "translate_test", None, None, None, None)} == expected
    others = [k for k in found if k not in flagged]
    right = {key(row): row for row in exported(clean.path)}
    assert_equal_rows([found[k] for k in others], [right[k] for k in others])
    assert manifest(tmp_path / "run")["status"]["rows"] == len(found)
