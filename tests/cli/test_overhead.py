"""``crosslatent overhead``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"
SMALL = ["--prompt-tokens=8", "--batch-sizes=1", "--max-new-tokens=2", "--pairs=2"]


def documented():
    rows = DOCUMENT.read_text(encoding="utf-8").splitlines()
    (line,) = [one for one in rows if one.startswith("| `overhead`")]
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", line.split("|")[2])))


def test_a_plan_is_a_table_with_its_assumptions(cli):
    found = cli("overhead", "--plan", "7B@h200", "--batch-sizes=1", "--prompt-tokens=150,300")
    assert (found.code, found.err) == (0, "")
    assert "Prompts of 150 tokens, 1 together (7B@h200, planned)" in found.out
    assert found.out.count("steered, every token") == 2
    assert "989 TFLOP/s" in found.out
    assert "No machine has confirmed these times." in found.out


def test_a_measurement_is_printed_written_and_json(cli, tiny_folder, tmp_path):
    out = tmp_path / "out"
    found = cli(
        "overhead", "--model", tiny_folder, *SMALL, "--repetitions=1", "--out", out, "--json"
    )
    assert found.code == 0, found.err
    assert found.json.keys() == documented()
    assert "round 1 of 1" in found.err
    assert (out / "overhead.html").exists()
    stored = json.loads((out / "overhead.json").read_text(encoding="utf-8"))
    assert stored["ways"] == found.json["ways"]
    again = cli("overhead", "--model", tiny_folder, *SMALL, "--repetitions=1", "--out", out)
    assert again.code == 0
    assert "answered with 2 pairs" in again.out


def test_a_dry_run_counts_and_runs_nothing(cli, tiny_folder):
    found = cli("overhead", "--model", tiny_folder, *SMALL, "--dry-run")
    assert found.code == 0
    assert "counted" in found.out
    assert "multiply-adds" in found.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plan=7B@abacus"], "'7B@abacus'"),
        ([], "There is no model"),
        (["--plan=7B@h200", "--prompt-tokens=0"], "0 is too small"),
        (["--plan=7B@h200", "--prompt-tokens=a"], "'a' is not a whole number"),
        (["--plan=7B@h200", "--batch-sizes=1,0"], "0 is too small"),
        (["--plan=7B@h200", "--utilisation=2"], "'utilisation' is 2.0"),
        (["--plan=7B@h200", "--component=mlp"], "'mlp'"),
        (["--model=none/at/all"], "There is no folder"),
    ],
)
def test_wrong_arguments_are_one_sentence(cli, arguments, words):
    found = cli("overhead", *arguments)
    assert found.code == 2
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert words in found.err


def test_what_does_not_fit_a_model_is_refused(cli, tiny_folder, tmp_path):
    cli("overhead", "--model", tiny_folder, "--prompt-tokens=90000").assert_refused("180,000")
    cli("overhead", "--model", tiny_folder, "--plan=7B@h200").assert_refused("a model too")
    cli("overhead", "--model", tiny_folder, *SMALL, "--pairs=17").assert_refused("--pairs")
    (tmp_path / "mine.txt").write_text("mine")
    refused = cli("overhead", "--plan=7B@h200", "--out", tmp_path)
    refused.assert_refused("mine.txt")
