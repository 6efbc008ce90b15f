"""``crosslatent compare`` as a user calls it: a table, JSON, a YAML file, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.shared_settings import COMPARE_MARKER

MODEL = Path(__file__).parents[2] / "src" / "crosslatent" / "data" / "demo" / "model"
FIXED = (f"--model={MODEL}", "--task=demo-facts", "--lang=sw", "--limit=12")


@pytest.fixture
def command(cli, tmp_path):
    return lambda *more: cli("compare", *FIXED, f"--out={tmp_path / 'out'}", *more)


def test_a_table_a_page_and_json(command, tmp_path):
    found = command("--methods=pim,oracle-en")
    assert found.code == 0
    assert "12 to choose on (pilot)" in found.err
    for title in ("Unmodified model", "Both prompts in one", "English prompt itself"):
        assert title in found.out
    assert (tmp_path / "out" / "comparison.html").is_file()
    again = command("--methods=pim,oracle-en", "--json")
    assert again.code == 0
    assert {one["name"] for one in again.json["scores"]} == {"vanilla", "pim", "oracle-en"}
    assert again.json["questions"] == 12


def test_a_yaml_file_holds_a_comparison(cli, tmp_path):
    file = tmp_path / "compared.yaml"
    out = tmp_path / "out"
    file.write_text(
        f"model: {MODEL}\ntask: demo-facts\nlang: [sw]\nlimit: 12\nmethods: [pim]\n"
        f"quick: true\nout: {out}\n",
        encoding="utf-8",
    )
    found = cli("compare", f"--config={file}", "--methods=oracle-en", "--json")
    assert found.code == 0
    assert {one["name"] for one in found.json["scores"]} == {"vanilla", "oracle-en"}
    marker = json.loads((out / COMPARE_MARKER).read_text(encoding="utf-8"))
    assert marker["settings"]["quick"] is True


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--methods=pin"], "Unknown method 'pin'"),
        (["--ranking=all"], "there is no ranking of both"),
        (["--methods=translate-test"], "No translation model was given"),
        (["--texts=sw"], "LANG=FILE belongs there"),
        (["--texts=sw=nope.txt"], "with a file that is there"),
        (["--config=nope.yaml"], "there is no such file"),
        (["--seeds=0"], "1 or more"),
        (["--methods=few-shot-x", "--limit=4"], "and there are 4: add more"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(cli, tmp_path, more, said):
    given = {one.partition("=")[0] for one in more}
    fixed = [one for one in FIXED if one.partition("=")[0] not in given]
    found = cli("compare", *fixed, f"--out={tmp_path / 'out'}", *more)
    found.assert_refused()
    assert said in found.err
    assert not (tmp_path / "out").exists()


def test_too_few_pilot_questions_for_a_method_is_one_sentence(cli, tmp_path):
    lines = [
        {"lang": "sw", "aux_lang": "en", "main": f"Swali {k}?", "aux": f"Question {k}?"}
        | {"answer": f"({k % 3})", "options": ["(0)", "(1)", "(2)"], "split": split}
        for k, split in enumerate(["pilot"] * 4 + ["unseen"] * 12)
    ]
    file = tmp_path / "few.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    found = cli(
        "compare",
        f"--model={MODEL}",
        f"--prompts={file}",
        "--methods=few-shot-x",
        f"--out={tmp_path / 'out'}",
    )
    found.assert_refused()
    assert "It learns from 5 pilot questions or more in sw, and there are 4" in found.err
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_in_the_file_is_named_with_its_line(cli, tmp_path):
    file = tmp_path / "compared.yaml"
    file.write_text("quick: true\nmetods: pim\n", encoding="utf-8")
    found = cli("compare", f"--config={file}")
    found.assert_refused()
    assert f"{file}:2: there is no option --metods (did you mean 'methods'?)" in found.err


def test_methods_are_completed():
    assert "transplant-pilot" in METHOD_KINDS.names()
    assert "few-shot-en" in METHOD_KINDS.names()
