"""A sweep on workers: the rows of one without, resumed, and through lost workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import psutil
import pytest
import torch
from transformers import AutoTokenizer

import crosslatent as xl
from crosslatent.core.errors import ModelError, RunFolderError, SweepError, TaskError, UsageError
from crosslatent.core.settings import complete
from crosslatent.distributed import (
    Cluster,
    ModelSource,
    SweepJob,
    run_on_workers,
    workers_at,
)
from crosslatent.distributed.process_workers import ProcessWorkers
from crosslatent.distributed.worker import Worker
from crosslatent.distributed.worker_pool import LostWorkerError
from crosslatent.model import load
from crosslatent.runs import RunReader
from crosslatent.runs.reader import read_extra
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.run_status import read_status
from crosslatent.runs.schema import KEY, ROWS
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.sweeps.prepared import command_line
from crosslatent.sweeps.spec import RunSettings
from crosslatent.tasks import Item, task_of
from support.models import save_tiny

SPEC = SweepSpec(
    component=("attn", "ffn"),
    controls=("shuffled", "noise", "mean", "self", "mean-main", "skip"),
    max_new_tokens=3,
    attribution=True,
    samples=2,
)
SERVE = "crosslatent.distributed.process_workers import serve"
STABLE = [column for column in ROWS.names if column not in ("seconds", "path")]


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


def job(out, spec=SPEC, task=TASK, **changes):
    return SweepJob(task, spec, str(out), **changes)


def run(place, folder, a_job, **how):
    with workers_at(place, ModelSource.of(folder)) as pool:
        return run_on_workers(a_job, pool, **how)


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


def test_two_workers_give_the_rows_of_none(two, folder, alone, tmp_path):
    states = []
    out = tmp_path / "run"
    outcome = run(two, folder, job(out), progress=states.append, slice_rows=100)
    assert outcome.rows == len(table(alone))
    assert not outcome.faults
    assert_same_run(out, alone)
    answers = [state for state in states if state.stage == "answer"]
    assert answers[-1].done == answers[-1].total == 6
    assert answers[-1].rows == answers[-1].all_rows == outcome.rows
    assert max(state.workers for state in answers) == 2
    found = read_status(out)
    assert answers[-1].unmodified == found.unmodified
    assert answers[-1].transplanted == found.transplanted
    assert found.transplanted[1] > found.unmodified[1] == 6
    manifests = [json.loads((path / "run.json").read_text()) for path in (out, alone)]
    for manifest in manifests:
        assert manifest["command"] == manifest["sessions"][0]["command"] == command_line()
        for volatile in ("created", "command", "sessions", "requested"):
            manifest.pop(volatile, None)
        manifest["model"].pop("name")
        manifest["status"].pop("seconds")
        manifest["status"].pop("paths")
    assert manifests[0] == manifests[1]
    again = run(two, folder, job(out))
    assert again.rows == 0


@pytest.mark.slow
def test_a_run_goes_on_without_workers_and_with_them(two, folder, alone, tmp_path):
    """Who began a run does not matter to who ends it."""

    class EnoughError(Exception):
        pass

    def stop(state):
        if state.rows > 300:
            raise EnoughError

    for name, begin, end in (
        ("workers-first", "workers", "here"),
        ("here-first", "here", "workers"),
    ):
        out = tmp_path / name
        ways = {
            "workers": lambda show, out=out: run(
                two, folder, job(out), slice_rows=64, progress=show
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
    """Processes that do work units for this one, and for no other."""
    below = psutil.Process().children(recursive=True)
    lines = {one.pid: " ".join(one.cmdline()) for one in below}
    return [pid for pid, line in lines.items() if line.startswith("ray::Worker") or SERVE in line]


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_killed_workers_lose_nothing(two, folder, alone, tmp_path, kills):
    killed = []

    def kill(state):
        if state.stage == "answer" and len(killed) < kills and state.rows > 150 * len(killed):
            pid = workers()[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    out = tmp_path / "run"
    outcome = run(two, folder, job(out), slice_rows=64, progress=kill)
    assert two != 2 or not workers()
    assert len(killed) == len(set(killed)) == kills
    assert not outcome.faults
    assert_same_run(out, alone)


@pytest.mark.slow
def test_bad_items_are_left_out_as_without_workers(two, folder, tmp_path):
    items = [make_item(0), make_item(1, main="x" * 400), make_item(2)]
    spec = SweepSpec(pairs="0:0", max_new_tokens=2)
    out = tmp_path / "run"
    outcome = run(two, folder, job(out, spec, task_of(items)))
    assert list(outcome.failures) == ["q1"]
    assert "400 tokens" in outcome.failures["q1"]
    assert outcome.status["items"] == 2
    strict = complete(RunSettings, {"strict": True})
    with pytest.raises(TaskError, match="'q1' cannot be run"):
        run(two, folder, job(tmp_path / "strict", spec, task_of(items), running=strict))
    assert not (tmp_path / "strict").exists()


@pytest.mark.slow
def test_other_arguments_are_refused(two, folder, alone):
    other = SweepSpec(component=("ffn",), max_new_tokens=3)
    with pytest.raises(RunFolderError, match="components"):
        run(two, folder, job(alone, other))


def test_what_is_wrong_with_the_model_is_told_as_without_workers(two, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        run(two, tmp_path / "nowhere", job(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_that_workers_cannot_write_stops_the_run(two, folder, tmp_path):
    out = tmp_path / "run"

    def lose(state):
        if state.stage == "answer":
            (out / "run.json").unlink(missing_ok=True)

    with pytest.raises(RunFolderError):
        run(two, folder, job(out), slice_rows=64, progress=lose)


def test_workers_that_do_not_suffice_are_told(folder, tmp_path, ray_here):
    with pytest.raises(UsageError, match="get 1 GPUs, but no machine .* than 0"):
        run(Cluster(gpus=1), folder, job(tmp_path / "run"))
    with pytest.raises(UsageError, match="1 or more"):
        Cluster(workers=0)


@pytest.mark.parametrize("how", [{"processes": 2}, {"ray": "local", "ray_workers": 1}])
def test_the_python_interface(folder, tmp_path, how, request):
    if "ray" in how:
        request.getfixturevalue("ray_here")
    items = [{"main": f"Swali {n}:", "aux": f"Question {n}:", "answer": "a"} for n in range(3)]
    settings = {"component": "ffn", "pairs": [(0, 0)], "max_new_tokens": 2}
    found = xl.sweep(folder, items, **settings, out=tmp_path / "run", **how)
    here = xl.sweep(folder, items, **settings, out=tmp_path / "here")
    pd.testing.assert_frame_equal(table(found.path), table(here.path), atol=1e-5)
    with pytest.raises(UsageError, match="loaded already"):
        xl.sweep(load(folder), items, **settings, **how)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"processes": 0}, "number of processes is 0: it must be 1 or more"),
        ({"processes": 2, "ray": "local"}, "--processes is 2, but with --ray"),
        ({"ray_workers": 2}, "--ray-workers is about workers of Ray"),
        ({"processes": 2, "ray_gpus": 1.0}, "--ray-gpus is about workers of Ray"),
        ({"slice_rows": 64}, "--slice-rows is about workers"),
    ],
)
def test_settings_of_workers_that_do_not_fit_are_refused(folder, tmp_path, how, says):
    with pytest.raises(UsageError, match=says):
        xl.sweep(folder, TASK, out=tmp_path / "run", **how)
    assert not (tmp_path / "run").exists()


def test_several_processes_on_one_gpu_are_refused(folder, monkeypatch):
    monkeypatch.setattr(
        "crosslatent.distributed.process_workers.resolve_device", lambda _name: torch.device("cuda")
    )
    with pytest.raises(UsageError, match="2 processes would share the device 'cuda'"):
        ProcessWorkers(ModelSource.of(folder), 2)
    assert ProcessWorkers(ModelSource.of(folder), 1).workers == 1


def test_a_pool_does_one_sweep_after_another(two, folder, alone, tmp_path):
    """Workers that are new in the second sweep do it, too, and none still does the first."""
    codes = SweepSpec(component=("ffn",), max_new_tokens=3)
    with workers_at(two, ModelSource.of(folder)) as pool:
        run_on_workers(job(tmp_path / "first"), pool, slice_rows=200)
        killed = workers()[0]
        os.kill(killed, signal.SIGKILL)
        run_on_workers(job(tmp_path / "second", codes), pool, slice_rows=20)
        assert pool.lost == 1
        assert killed not in workers()
    assert_same_run(tmp_path / "first", alone)
    run_sweep(load(folder), TASK, codes, tmp_path / "here")
    pd.testing.assert_frame_equal(table(tmp_path / "second"), table(tmp_path / "here"), atol=1e-5)


def test_what_ends_a_process_is_named(folder):
    processes = ProcessWorkers(ModelSource.of(folder), 1)
    worker = processes.start()
    processes.call(worker, "about")
    assert processes.get(worker).pid != os.getpid()
    processes.call(worker, "no_such_method")
    with pytest.raises(SweepError, match=r"failed \(AttributeError: 'Worker' object has no"):
        processes.get(worker)
    os.kill(processes.get(processes.call(worker, "about")).pid, signal.SIGKILL)
    with pytest.raises(LostWorkerError, match="killed by signal 9"):
        processes.get(processes.call(worker, "about"))
    processes.end(worker)
    processes.end(worker)


def test_a_script_needs_no_guard_around_its_main_part(folder, tmp_path):
    script = tmp_path / "script.py"
    out = tmp_path / "run"
    script.write_text(
        "import crosslatent as xl\n"
        "items = [{'main': f'Swali {n}:', 'aux': f'Question {n}:'} for n in range(2)]\n"
        f"run = xl.sweep({str(folder)!r}, items, max_new_tokens=1, processes=2, out={str(out)!r})\n"
        "print(len(run.to_pandas()))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{2 * (2 + 16)}\n"), done.stderr


def test_a_worker_whose_prompts_give_other_token_ids_is_refused(folder, tmp_path):
    worker = Worker(ModelSource.of(folder))
    prepared = worker.prepare(job(tmp_path / "run"))
    with RunFolder.open(tmp_path / "run", prepared.manifest) as there:
        Worker(ModelSource.of(folder)).check(
            job(tmp_path / "run"), there.session, prepared.manifest
        )
        other = job(tmp_path / "run", task=task_of([make_item(n, main=f"{n}?") for n in range(6)]))
        with pytest.raises(ModelError, match="the prompts give other token ids than elsewhere"):
            worker.check(other, there.session, prepared.manifest)


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
    assert run(2, dated, job(tmp_path / "run", spec)).rows == len(before)
    pd.testing.assert_frame_equal(table(tmp_path / "run"), before, atol=1e-5)
