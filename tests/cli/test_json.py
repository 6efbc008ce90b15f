"""JSON of commands: the keys that docs/json.md says, one document on stdout, none with an error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.runs import item, row, write_run

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"
MODEL = Path(__file__).parents[2] / "src" / "crosslatent" / "data" / "demo" / "model"
QUESTION = ["--main", "Mnyama: mkunga. Ni wa kundi gani? Jibu:", "--aux", "Animal: eel. Answer:"]


def documented(command):
    """The keys in the row of a command."""
    rows = DOCUMENT.read_text(encoding="utf-8").splitlines()
    (line,) = [one for one in rows if one.startswith("|") and f"`{command}`" in one.split("|")[1]]
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", line.split("|")[2])))


@pytest.fixture
def run(tmp_path):
    rows = [row("a", "vanilla", correct=True), row("a", correct=False)]
    return write_run(tmp_path / "run", [item("a")], rows, planned=2)


@pytest.fixture
def swept(cli, tmp_path):
    fixed = ["--task=demo-facts", "--lang=sw", "--limit=2", "--pairs=0:0", f"--model={MODEL}"]
    return lambda *more: cli("sweep", *fixed, f"--out={tmp_path / 'swept'}", "--json", *more)


def test_commands_that_read(cli, run, tmp_path):
    assert cli("status", run, "--json").json.keys() == documented("status")
    out = tmp_path / "rows.csv"
    assert cli("export", run, "--format=csv", f"--out={out}", "--json").json.keys() == documented(
        "export"
    )
    assert isinstance(cli("tasks", "ls", "--json").json, list)
    found = cli("tasks", "validate", "demo-facts", "--json").json
    assert found.keys() == documented("tasks validate")


def test_a_sweep_and_its_dry_run(swept, tmp_path):
    dry = swept("--dry-run")
    assert (dry.code, dry.json.keys()) == (0, documented("sweep --dry-run"))
    assert not (tmp_path / "swept").exists()
    done = swept()
    assert (done.code, done.json.keys()) == (0, documented("sweep"))
    assert done.json["out"] == str(tmp_path / "swept")


def test_a_transplant(cli):
    pair = ["--component=ffn", "--source=7", "--target=7"]
    found = cli("transplant", f"--model={MODEL}", *QUESTION, *pair, "--json").json
    assert documented("transplant") <= found.keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", f"--model={MODEL}", "--task=nope", "--out=out"],
        ["report", "nope", "--out=out"],
        ["export", "nope", "--format=csv", "--out=rows.csv"],
        ["demo", "--noise=0.1"],
        ["improve", str(MODEL), "--task=nope", "--out=out"],
        ["status", "nope"],
        ["select", "nope"],
        ["overhead", "--plan=nope"],
        ["check", "./nope"],
        ["tasks", "show", "nope"],
    ],
)
def test_an_error_leaves_stdout_empty(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    cli(*arguments, "--json").assert_refused()


def test_every_command_with_json_is_in_the_document(cli):
    from crosslatent.cli.app import command

    def names(found, before=()):
        for name, each in found.commands.items():
            if hasattr(each, "commands"):
                yield from names(each, (*before, name))
            elif any("--json" in one.opts for one in each.params):
                yield " ".join((*before, name))

    found = set(names(command()))
    assert {name for name in found if not documented(name)} <= {"tasks ls"}
    assert json.loads(json.dumps(sorted(found)))
    assert "answer" in found
