"""One folder holds one run, and one process writes to it: all else is refused and harms nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from support.disasters import KILL, STOP
from support.faults import (
    MIDDLE,
    assert_equal_runs,
    contents,
    environment,
    exported,
    manifest,
    questions,
    write_questions,
)
from support.models import save_tiny


@pytest.fixture
def half(forks, command, tmp_path):
    """A run that was killed in the middle."""
    run = tmp_path / "run"
    assert forks.run(*command(run), folder=run, **MIDDLE, how=KILL).killed
    assert len(exported(run)) > 0
    return run


def assert_refused(ended, folder, before, *words):
    assert ended.code == 2, ended
    for word in words:
        assert word in ended.sentence, ended.sentence
    assert len(ended.sentence) < 1000, ended.sentence
    assert contents(folder) == before


def other_model(given, place):
    save_tiny(place / "other-model", seed=1, num_hidden_layers=3)
    return (f"--model={place / 'other-model'}",)


def other_task(given, place):
    rows = questions()
    rows[3]["main"] += " "
    return (f"--prompts={write_questions(place / 'other.jsonl', rows)}",)


CHANGES = {
    "seed": (lambda *_: ("--seed=1",), ["seed", "0", "1", "--new"]),
    "pairs": (lambda *_: ("--pairs=0:1",), ["pairs", "--new"]),
    "controls": (lambda *_: ("--controls=noise",), ["controls", "noise", "--new"]),
    "component": (lambda *_: ("--component=ffn",), ["components", "attn", "--new"]),
    "tokens": (lambda *_: ("--max-new-tokens=2",), ["max_new_tokens", "3", "2", "--new"]),
    "samples": (lambda *_: ("--samples=3",), ["samples", "2", "3", "--new"]),
    "model": (other_model, ["weights", "--new"]),
    "task": (other_task, ["task", "--new"]),
    "fewer": (lambda *_: ("--limit=1",), ["task", "--new"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_said_and_nothing_is_changed(forks, command, given, half, tmp_path, name):
    change, words = CHANGES[name]
    before = contents(half)
    ended = forks.run(*command(half), *change(given, tmp_path))
    assert_refused(ended, half, before, *words)


def test_another_folder_or_starting_over(forks, command, given, half, tmp_path):
    changed = other_task(given, tmp_path)
    assert forks.run(*command(tmp_path / "other"), *changed).code == 0
    assert forks.run(*command(half), *changed, "--new").code == 0
    assert_equal_runs(half, tmp_path / "other")
    assert not any("damaged" in name or "doubled" in name for name in contents(half))


def test_what_decides_no_row_may_differ(forks, command, given, half, whole, tmp_path):
    moved = shutil.copytree(given / "model", tmp_path / "moved")
    ended = forks.run(*command(half), f"--model={moved}", "--batch-rows=7")
    assert ended.code == 0, ended.err
    assert_equal_runs(half, whole[0])


def test_a_finished_run_refuses_too(forks, command, whole, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    before = contents(run)
    assert_refused(forks.run(*command(run, "--seed=1")), run, before, "seed")


def test_a_second_process_is_told_so_and_harms_nothing(forks, command, whole, tmp_path):
    run = tmp_path / "run"
    first = forks.start(*command(run), folder=run, **MIDDLE, how=STOP)
    first.stopped()
    before = contents(run)
    for options in ([], ["--new"]):
        started = time.monotonic()
        argv = [sys.executable, "-m", "crosslatent", *command(run, *options)]
        second = subprocess.run(argv, env=environment(), capture_output=True, text=True)
        assert time.monotonic() - started < 60
        assert second.returncode == 2, second.stderr
        (line,) = [line for line in second.stderr.splitlines() if line.startswith("Error: ")]
        assert "Another process" in line
        assert str(run) in line
        assert str(first.pid) in line
        assert "Traceback" not in second.stderr
        assert contents(run) == before
    assert 0 < len(exported(run)) < len(exported(whole[0]))  # readers need not wait
    first.send(signal.SIGCONT)
    ended = first.ended()
    assert ended.code == 0, ended.err
    assert_equal_runs(run, whole[0])


def test_two_that_start_together(forks, command, whole, tmp_path):
    """Exactly one of them writes; the other is told, or comes when the first is done."""
    for number in range(3):
        run = tmp_path / f"run-{number}"
        both = [forks.start(*command(run)) for _ in range(2)]
        ended = [one.ended() for one in both]
        codes = sorted(one.code for one in ended)
        assert codes in ([0, 0], [0, 2]), ended
        for one in ended:
            if one.code == 2:
                assert "Another process" in one.sentence
            assert "Traceback" not in one.err
        assert_equal_runs(run, whole[0])


def test_going_on_in_another_process_on_another_machine(forks, command, whole, tmp_path):
    run = tmp_path / "run"
    assert forks.run(*command(run), folder=run, **MIDDLE, how=KILL, host="one").killed
    assert forks.run(*command(run), folder=run, at=30, how=KILL, host="two").killed
    assert (run / ".lock").exists()
    ended = forks.run(*command(run), host="three")
    assert ended.code == 0, ended.err
    assert_equal_runs(run, whole[0])
    sessions = manifest(run)["sessions"]
    assert [session["host"] for session in sessions] == ["one", "two", "three"]
    assert [session["number"] for session in sessions] == [1, 2, 3]


def test_a_lock_file_without_a_process_says_nothing(forks, command, whole, half):
    (half / ".lock").write_text('{"host": "gone", "pid": 1}')
    assert forks.run(*command(half), host="here").code == 0
    assert_equal_runs(half, whole[0])


def test_a_clock_that_was_set_back(forks, command, whole, half):
    """Nothing hangs on the times of files."""
    for path in half.rglob("*"):
        os.utime(path, (4e9, 4e9))
    assert forks.run(*command(half)).code == 0
    assert_equal_runs(half, whole[0])
