"""Ctrl-C and SIGTERM: a sentence, an exit code that says which, and a run that can go on."""

from __future__ import annotations

import signal
import time

import pytest

from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import task_of
from support.disasters import STOP
from support.faults import (
    MIDDLE,
    assert_equal_runs,
    exported,
    layout,
    manifest,
    questions,
    rows_there,
)
from support.rows import wrapped

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_sweep_that_is_told_to_stop(forks, command, whole, tmp_path, number, at):
    run = tmp_path / "run"
    child = forks.start(*command(run), folder=run, at=at, of="rename rows/", how=STOP)
    child.stopped()
    child.send(number)
    child.send(signal.SIGCONT)
    ended = child.ended()
    assert ended.code == CODES[number], ended
    (line,) = [line for line in ended.err.splitlines() if "again" in line]
    assert "same command" in line
    assert "Traceback" not in ended.err
    assert rows_there(run) > 0 or at == 1
    assert "status" not in manifest(run)
    done = forks.run(*command(run))
    assert done.code == 0, done.err
    assert_equal_runs(run, whole[0])


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_at_any_moment(forks, command, whole, tmp_path, number, delay):
    run = tmp_path / "run"
    child = forks.start(*command(run, "--batch-rows=20"), part_seconds=1000.0)
    child.seen(run / "items.parquet")
    time.sleep(delay)
    child.send(number)
    ended = child.ended()
    assert ended.code in (CODES[number], 0), ended
    assert not any("tmp" in name for name in layout(run))
    assert forks.run(*command(run)).code == 0
    assert_equal_runs(run, whole[0])


@pytest.mark.parametrize("stop_after", [1, 3])
def test_what_has_been_answered_is_kept(tmp_path, stop_after):
    """Rows that wait for their part are written before the process ends."""

    def interrupt(state):
        if (state.stage, state.done) == ("answer", stop_after):
            raise KeyboardInterrupt

    model, task = wrapped(num_hidden_layers=2), task_of(questions(5))
    spec, run = SweepSpec(pairs="all", max_new_tokens=2), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(model, task, spec, run, progress=interrupt, part_seconds=1000.0)
    assert len({row["item"] for row in exported(run)}) == stop_after


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_told_twice(forks, command, whole, tmp_path, number):
    run = tmp_path / "run"
    child = forks.start(*command(run), folder=run, **MIDDLE, how=STOP)
    child.stopped()
    child.send(number)
    child.send(signal.SIGCONT)
    child.send(number)
    ended = child.ended()
    assert ended.code == CODES[number], ended
    assert "Traceback" not in ended.err
    assert forks.run(*command(run)).code == 0
    assert_equal_runs(run, whole[0])
