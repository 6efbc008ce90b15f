"""`crosslatent sweep --attribution --samples K`."""

from __future__ import annotations

import json

import pytest

from crosslatent.runs.reader import read_extra
from crosslatent.runs.schema import ATTRIBUTION_TABLE, SAMPLES_TABLE


@pytest.fixture
def sweep(cli, tiny_folder, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    question = {"main": "Mji?", "aux": "City?", "options": ["A", "B"], "answer": "A"}
    prompts.write_text(json.dumps(question), encoding="utf-8")
    fixed = [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={tmp_path / 'run'}"]
    return lambda *options: cli("sweep", *fixed, "--pairs=0:0", *options)


def test_both_tables_are_written_and_asked_for_in_run_json(sweep, tmp_path):
    run = tmp_path / "run"
    assert sweep("--attribution", "--samples=3", "--max-new-tokens=2").code == 0
    assert len(read_extra(run, ATTRIBUTION_TABLE)) == 16
    assert len(read_extra(run, SAMPLES_TABLE)) == 3
    spec = json.loads((run / "run.json").read_text(encoding="utf-8"))["spec"]
    assert (spec["attribution"], spec["samples"]) == (True, 3)
    sweep("--attribution", "--max-new-tokens=2").assert_refused("spec.samples: 3 there, 0 now")


def test_without_the_options_there_are_none(sweep, tmp_path):
    assert sweep("--max-new-tokens=2").code == 0
    assert not (tmp_path / "run" / ATTRIBUTION_TABLE).exists()
    assert not (tmp_path / "run" / SAMPLES_TABLE).exists()


def test_numbers_of_samples_that_cannot_be(sweep):
    sweep("--samples=0").assert_refused("0", "1 or more")
    sweep("--samples=2", "--score-only").assert_refused("score_only")
