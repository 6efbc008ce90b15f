"""`crosslatent sweep`: run, resume, limit, dry run, and what is said meanwhile."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import pytest

from crosslatent.cli.progress import Pace, duration, progress
from crosslatent.store.reader import RunReader
from support.models import CONTEXT

ROWS = [
    {"id": f"{lang}{k}", "lang": lang, "aux_lang": "en", "main": f"Mji {k}?", "aux": f"City {k}?",
     "options": ["(1)", "(2)"], "answer": f"({k % 2 + 1})"}
    for lang in ("sw", "hi") for k in range(2)
]  # fmt: skip


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def sweep(cli, tiny_folder, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", ROWS)

    def call(*options, out=tmp_path / "run", prompts=prompts):
        fixed = [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={out}"]
        return cli("sweep", *fixed, "--max-new-tokens=3", *options)

    return call


def count(path, where="TRUE"):
    with RunReader(path).connect() as connection:
        return connection.execute(f"SELECT count(*) FROM rows WHERE {where}").fetchone()[0]


def test_run_and_resume(sweep, tmp_path):
    run = tmp_path / "run"
    first = sweep("--component=attn,ffn", "--pairs=0:1,-1:0")
    assert first.code == 0
    assert first.out.strip() == str(run)
    assert "24 rows" in first.err
    assert count(run) == 4 * (2 + 2 * 2)  # vanilla, translate-test, two pairs of two components
    assert count(run, "control = 'none' AND source = 3 AND target = 0") == 8
    again = sweep("--component=attn,ffn", "--pairs=0:1,-1:0")
    assert again.code == 0
    assert "Nothing was missing." in again.err
    assert count(run) == 24


def test_run_json_keeps_what_was_asked(sweep, tmp_path):
    sweep("--pairs=preset:understanding", "--limit=1", "--seed=7")
    manifest = RunReader(tmp_path / "run").manifest
    assert manifest["requested"]["pairs"] == "preset:understanding"
    assert manifest["requested"]["limit"] == 1
    assert manifest["spec"]["pairs"] == {"all": "3:0"}
    assert manifest["spec"]["seed"] == 7


def test_languages_limit_and_controls(sweep, tmp_path):
    done = sweep(
        "--lang=hi", "--aux-lang=en", "--limit=1", "--pairs=0:0,1:1", "--controls=noise,self"
    )
    assert done.code == 0
    run = tmp_path / "run"
    assert count(run, "lang <> 'hi'") == 0
    assert count(run, "control = 'noise'") == count(run, "control = 'self'") == 2


def test_other_arguments_need_another_folder_or_new(sweep, tmp_path):
    sweep("--pairs=0:0")
    sweep("--pairs=1:1").assert_refused("--new")
    assert count(tmp_path / "run", "source = 0") == 4
    assert sweep("--pairs=1:1", "--new").code == 0
    assert count(tmp_path / "run", "source = 0") == 0


def test_dry_run_writes_nothing(sweep, tmp_path):
    result = sweep("--pairs=all", "--component=attn", "--dry-run")
    assert result.code == 0
    assert not (tmp_path / "run").exists()
    assert f"rows    up to {4 * (2 + 16)}" in result.out
    assert "tokens" in result.out


@pytest.fixture
def too_long(tmp_path):
    long = ROWS[0] | {"id": "long", "main": "x" * CONTEXT}
    return write(tmp_path / "long.jsonl", [*ROWS, long])


def test_item_that_cannot_be_run_is_left_out_and_named(sweep, tmp_path, too_long):
    result = sweep("--pairs=0:0", prompts=too_long)
    assert result.code == 0
    assert "item 'long' was left out" in result.err
    assert count(tmp_path / "run", "control = 'none'") == 4


def test_strict_refuses_it_before_anything_is_written(sweep, tmp_path, too_long):
    sweep("--pairs=0:0", "--strict", prompts=too_long).assert_refused("'long'", "context")
    assert not (tmp_path / "run").exists()


@dataclass
class State:
    done: int
    total: int
    rows: int
    seconds: float


def test_pace_counts_only_what_this_run_did():
    pace = Pace()
    assert pace.text(State(81, 100, 50, 2.0)) == "25 rows/s, 38 s left"
    assert pace.text(State(90, 100, 500, 20.0)) == "25 rows/s, 20 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (11400, "3 h 10 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys):
    with progress("facts") as show:
        show(State(1, 4, 10, 1.0))
        show(State(2, 4, 20, 16.0))
        show(State(3, 4, 30, 17.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "facts: 2 of 4 items, 20 rows, 1 rows/s, 16 s left\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("facts") as show:
        show(State(2, 4, 20, 16.0))
    assert "facts" in terminal.getvalue()
    assert "2/4" in terminal.getvalue()
    assert capsys.readouterr().out == ""
