"""Bad input of every kind: exit code 2, one sentence that says what would be right, no output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.models import CONTEXT, save_tiny

PROMPTS = [{"id": f"q{k}", "main": f"Mji {k}?", "aux": f"City {k}?"} for k in range(2)]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(prompt) for prompt in PROMPTS), encoding="utf-8")
    return path


def transplant(model, **changes):
    options = {"main": "Mji?", "aux": "City?", "component": "ffn", "source": 0, "target": 0}
    options |= changes
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return ["transplant", f"--model={model}", *given]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": 4}, ["source layer 4", "0 to 3"]),
        ({"target": -5}, ["target layer -5", "-1 to -4"]),
        ({"component": "mlp"}, ["'mlp'", "attn, ffn"]),
        ({"preset": "nope"}, ["--preset cannot be combined with component"]),
        (
            {"preset": "nope", "component": None, "source": None, "target": None},
            ["'nope'", "understanding"],
        ),
        ({"component": None}, ["--component", "--preset NAME"]),
        ({"source": None, "target": None}, ["--source, --target"]),
        ({"main": ""}, ["main prompt is empty"]),
        ({"aux": "  \n"}, ["aux prompt is empty"]),
        ({"main": None}, ["--main TEXT"]),
        ({"aux": None}, ["--aux TEXT"]),
        ({"main": "@nowhere.txt"}, ["nowhere.txt", "No such file"]),
        ({"main": "x" * (CONTEXT + 1)}, ["main", f"context of {CONTEXT}"]),
        ({"aux": "x" * (CONTEXT + 1)}, ["aux", f"context of {CONTEXT}"]),
        ({"dtype": "int3"}, ["'int3'", "float32"]),
        ({"device": "abacus"}, ["'abacus'", "cpu"]),
    ],
)
def test_transplant(cli, tiny_folder, changes, words):
    cli(*transplant(tiny_folder, **changes)).assert_refused(*words)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_config(folder):
    (folder / "config.json").unlink()


def encoder_only(folder):
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 32}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_weights, ["no weights", "model.safetensors"]),
        (pickled, ["pickle", "safetensors"]),
        (without_config, ["config.json"]),
        (encoder_only, ["'bert'", "causal language model"]),
    ],
)
@pytest.mark.parametrize("command", ["transplant", "sweep"])
def test_folder_that_is_no_usable_model(cli, tmp_path, prompts, spoil, words, command):
    folder = save_tiny(tmp_path / "model")
    spoil(folder)
    out = tmp_path / "run"
    sweep = ["sweep", f"--model={folder}", f"--prompts={prompts}", f"--out={out}"]
    cli(*(sweep if command == "sweep" else transplant(folder))).assert_refused(*words)
    assert not out.exists()


def test_model_that_is_nowhere(cli, tmp_path):
    cli(*transplant(tmp_path / "none")).assert_refused("none", "config.json")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pairs=0:9"], ["target layer 9", "0 to 3"]),
        (["--pairs=diagonal"], ["'diagonal'", "target-first"]),
        (["--pairs=preset:nope"], ["'nope'", "culture"]),
        (["--component=attn,mlp"], ["'mlp'", "attn, ffn"]),
        (["--component=attn,"], ["separated by commas"]),
        (["--controls=luck"], ["'luck'", "shuffled, noise, mean, self"]),
        (["--lang=xx"], ["'xx'", "und"]),
        (["--max-new-tokens=999"], ["context"]),
        (["--task=nope"], ["both are given"]),
    ],
)
def test_sweep(cli, tiny_folder, tmp_path, prompts, options, words):
    out = tmp_path / "run"
    arguments = ["sweep", f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={out}"]
    cli(*arguments, *options).assert_refused(*words)
    assert not out.exists()


def test_sweep_without_questions(cli, tiny_folder, tmp_path):
    arguments = ["sweep", f"--model={tiny_folder}", f"--out={tmp_path / 'run'}"]
    cli(*arguments).assert_refused("neither is given", "--prompts")
    cli(*arguments, "--task=nope").assert_refused("'nope'")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "main": "x", "aux": "y"}\n{"id": "b", "main": "x"}\n')
    cli(*arguments, f"--prompts={bad}").assert_refused("bad.jsonl:2", "'aux'")


@pytest.fixture
def arguments(tiny_folder, prompts):
    """Everything that writes to a folder, but for the folder."""
    from support.runs import item, row, write_run

    run = write_run(prompts.parent / "some-run", [item("a")], [row("a"), row("a", "vanilla")])
    return {
        "sweep": ["sweep", f"--model={tiny_folder}", f"--prompts={prompts}"],
        "report": ["report", run],
        "demo": ["demo"],
    }


@pytest.mark.parametrize("command", ["sweep", "report", "demo"])
class TestOutputFolder:
    def test_below_a_file(self, cli, tmp_path, arguments, command):
        file = tmp_path / "file"
        file.write_text("mine")
        cli(*arguments[command], f"--out={file / 'sub' / 'run'}").assert_refused("is a file")
        assert file.read_text() == "mine"

    def test_is_a_file(self, cli, tmp_path, arguments, command):
        file = tmp_path / "file"
        file.write_text("mine")
        cli(*arguments[command], f"--out={file}").assert_refused("is a file")

    def test_holds_something_else(self, cli, tmp_path, arguments, command):
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "cat.jpg").write_text("mine")
        cli(*arguments[command], f"--out={folder}").assert_refused("cat.jpg", "empty or new")
        assert [path.name for path in folder.iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format=xml"], ["'xml'", "parquet, csv, jsonl"]),
        (["--format=parquet"], ["--out FILE"]),
        (["--format=csv", "--out=nowhere/x.csv"], ["nowhere/x.csv", "folder that exists"]),
    ],
)
def test_export(cli, arguments, options, words):
    cli("export", arguments["report"][1], *options).assert_refused(*words)


@pytest.mark.parametrize("command", [["export", "--format=csv"], ["report", "--out=r"]])
def test_folder_that_is_no_run(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    cli(*command, tmp_path / "none").assert_refused("not a run folder")
    assert not Path("r").exists()


def test_a_real_process_says_one_sentence_too(tmp_path):
    folder = save_tiny(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-m", "crosslatent", *transplant(folder, source=9)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: The source layer 9 is out of range")
