"""A sweep on workers of Ray: the rows of one without, resumed, and through lost workers."""

from __future__ import annotations

import json
import os
import signal

import pandas as pd
import psutil
import pytest
from transformers import AutoTokenizer

import crosslatent as xl
from crosslatent.core.errors import ModelError, RunFolderError, TaskError, UsageError
from crosslatent.core.settings import complete
from crosslatent.distributed import Cluster, ModelSource, SweepJob, run_on_ray
from crosslatent.distributed.worker import Worker
from crosslatent.model import load
from crosslatent.runs import RunReader
from crosslatent.runs.reader import read_extra
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.schema import KEY, ROWS
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.sweeps.prepared import command_line
from crosslatent.sweeps.spec import RunSettings
from crosslatent.tasks import Item, task_of
from support.models import save_tiny

SPEC = SweepSpec(
    component=("attn", "ffn"),
    controls=("shuffled", "noise", "mean", "self"),
    max_new_tokens=3,
    attribution=True,
    samples=2,
)
TWO = Cluster(workers=2)
STABLE = [column for column in ROWS.names if column not in ("seconds", "path")]

pytestmark = pytest.mark.usefixtures("ray_here")


def make_item(number, **changes):
    fields = {
        "id": f"q{number}",
        "lang": "sw",
        "aux_lang": "en",
        "main": f"Swali la {number} ni lipi? Jibu:",
        "aux": f"What is question {number}? Answer:",
        "answer": f"({number % 2 + 1})",
        "options": ("(1)", "(2)"),
    }
    return Item(**(fields | changes))


TASK = task_of([make_item(n) for n in range(6)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """The same sweep in one process."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    run_sweep(load(folder), TASK, SPEC, out)
    return out


def job(folder, out, spec=SPEC, task=TASK, **changes):
    return SweepJob(ModelSource.of(folder), task, spec, str(out), **changes)


def table(path):
    with RunReader(path).connect() as connection:
        frame = connection.execute(f"SELECT * FROM rows ORDER BY {', '.join(KEY)}").df()
    return frame[STABLE]


def assert_same_run(one, other):
    pd.testing.assert_frame_equal(table(one), table(other), atol=1e-5)
    for name, key in (
        ("attribution", ["item", "component", "source", "target"]),
        ("samples", ["item", "number"]),
    ):
        frames = [
            read_extra(path, name).to_pandas().sort_values(key, ignore_index=True)
            for path in (one, other)
        ]
        pd.testing.assert_frame_equal(*frames, atol=1e-4, check_categorical=False)


def test_two_workers_give_the_rows_of_none(folder, alone, tmp_path):
    states = []
    out = tmp_path / "run"
    outcome = run_on_ray(job(folder, out), TWO, progress=states.append, slice_rows=100)
    assert outcome.rows == len(table(alone))
    assert not outcome.faults
    assert_same_run(out, alone)
    answers = [state for state in states if state.stage == "answer"]
    assert answers[-1].done == answers[-1].total == 6
    assert answers[-1].rows == answers[-1].all_rows == outcome.rows
    assert max(state.workers for state in answers) == 2
    manifests = [json.loads((path / "run.json").read_text()) for path in (out, alone)]
    for manifest in manifests:
        assert manifest["command"] == manifest["sessions"][0]["command"] == command_line()
        for volatile in ("created", "command", "sessions", "requested"):
            manifest.pop(volatile, None)
        manifest["model"].pop("name")
        manifest["status"].pop("seconds")
        manifest["status"].pop("paths")
    assert manifests[0] == manifests[1]
    again = run_on_ray(job(folder, out), TWO)
    assert again.rows == 0


@pytest.mark.slow
def test_a_run_goes_on_without_ray_and_with_it(folder, alone, tmp_path):
    """Who began a run does not matter to who ends it."""

    class EnoughError(Exception):
        pass

    def stop(state):
        if state.rows > 300:
            raise EnoughError

    for name, begin, end in (
        ("ray-first", "ray", "here"),
        ("here-first", "here", "ray"),
    ):
        out = tmp_path / name
        ways = {
            "ray": lambda show, out=out: run_on_ray(
                job(folder, out), TWO, slice_rows=64, progress=show
            ),
            "here": lambda show, out=out: run_sweep(
                load(folder), TASK, SPEC, out, progress=show, batch_rows=40, part_seconds=0.0
            ),
        }
        with pytest.raises(EnoughError):
            ways[begin](stop)
        some = len(table(out))
        assert 0 < some < len(table(alone))
        outcome = ways[end](None)
        assert outcome.rows == len(table(alone)) - some
        assert_same_run(out, alone)


def workers():
    """Processes that do slices for this one, and for no other that uses Ray."""
    below = psutil.Process().children(recursive=True)
    return [one.pid for one in below if " ".join(one.cmdline()).startswith("ray::Worker")]


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_killed_workers_lose_nothing(folder, alone, tmp_path, kills):
    killed = []

    def kill(state):
        if state.stage == "answer" and len(killed) < kills and state.rows > 150 * len(killed):
            pid = workers()[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    out = tmp_path / "run"
    outcome = run_on_ray(job(folder, out), TWO, slice_rows=64, progress=kill)
    assert len(killed) == len(set(killed)) == kills
    assert not outcome.faults
    assert_same_run(out, alone)


@pytest.mark.slow
def test_bad_items_are_left_out_as_without_ray(folder, tmp_path):
    items = [make_item(0), make_item(1, main="x" * 400), make_item(2)]
    spec = SweepSpec(pairs="0:0", max_new_tokens=2)
    out = tmp_path / "run"
    outcome = run_on_ray(job(folder, out, spec, task_of(items)), TWO)
    assert list(outcome.failures) == ["q1"]
    assert "400 tokens" in outcome.failures["q1"]
    assert outcome.status["items"] == 2
    strict = complete(RunSettings, {"strict": True})
    with pytest.raises(TaskError, match="'q1' cannot be run"):
        run_on_ray(job(folder, tmp_path / "strict", spec, task_of(items), running=strict), TWO)
    assert not (tmp_path / "strict").exists()


@pytest.mark.slow
def test_other_arguments_are_refused(folder, alone):
    other = SweepSpec(component=("ffn",), max_new_tokens=3)
    with pytest.raises(RunFolderError, match="components"):
        run_on_ray(job(folder, alone, other), TWO)


def test_what_is_wrong_with_the_model_is_told_as_without_ray(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        run_on_ray(job(tmp_path / "nowhere", tmp_path / "run"), TWO)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_that_workers_cannot_write_stops_the_run(folder, tmp_path):
    out = tmp_path / "run"

    def lose(state):
        if state.stage == "answer":
            (out / "run.json").unlink(missing_ok=True)

    with pytest.raises(RunFolderError):
        run_on_ray(job(folder, out), TWO, slice_rows=64, progress=lose)


def test_workers_that_do_not_suffice_are_told(folder, tmp_path):
    with pytest.raises(UsageError, match="get 1 GPUs, but no machine .* than 0"):
        run_on_ray(job(folder, tmp_path / "run"), Cluster(gpus=1))
    with pytest.raises(UsageError, match="1 or more"):
        Cluster(workers=0)


def test_the_python_interface(folder, tmp_path):
    items = [{"main": f"Swali {n}:", "aux": f"Question {n}:", "answer": "a"} for n in range(3)]
    settings = {"component": "ffn", "pairs": [(0, 0)], "max_new_tokens": 2}
    run = xl.sweep(folder, items, **settings, out=tmp_path / "run", ray="local", ray_workers=1)
    here = xl.sweep(folder, items, **settings, out=tmp_path / "here")
    pd.testing.assert_frame_equal(table(run.path), table(here.path), atol=1e-5)
    with pytest.raises(UsageError, match="loaded already"):
        xl.sweep(load(folder), items, **settings, ray="local")


def test_a_worker_whose_prompts_give_other_token_ids_is_refused(folder, tmp_path):
    worker = Worker(job(folder, tmp_path / "run"))
    prepared = worker.prepare()
    with RunFolder.open(tmp_path / "run", prepared.manifest) as there:
        Worker(job(folder, tmp_path / "run")).check(there.session, prepared.manifest)
        other = task_of([make_item(n, main=f"Nyingine {n}?") for n in range(6)])
        with pytest.raises(ModelError, match="the prompts give other token ids than elsewhere"):
            Worker(job(folder, tmp_path / "run", task=other)).check(
                there.session, prepared.manifest
            )


def test_workers_are_told_the_time_at_which_the_run_was_made(folder, tmp_path, monkeypatch):
    dated = save_tiny(tmp_path / "dated")
    tokenizer = AutoTokenizer.from_pretrained(dated)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y %H:%M') }}{{ messages[0].content }}"
    tokenizer.save_pretrained(dated)
    spec = SweepSpec(pairs="0:0,1:1", max_new_tokens=3, chat=True)
    monkeypatch.setattr(
        "crosslatent.sweeps.sweep_run.right_now", lambda: "2026-03-01T23:50:00+09:00"
    )
    run_sweep(load(dated), TASK, spec, tmp_path / "run")
    before = table(tmp_path / "run")
    for part in (tmp_path / "run" / "rows").glob("part-*"):
        part.unlink()
    monkeypatch.undo()
    assert run_on_ray(job(dated, tmp_path / "run", spec), TWO).rows == len(before)
    pd.testing.assert_frame_equal(table(tmp_path / "run"), before, atol=1e-5)
