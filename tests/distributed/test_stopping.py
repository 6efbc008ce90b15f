"""A sweep with workers that is told to stop, or is killed: it leaves nobody, and it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from crosslatent.runs import RunReader
from support.models import save_tiny

pytestmark = pytest.mark.slow

LONG = 240.0
"""Seconds for what takes some on a machine that does nothing else."""


@pytest.fixture(scope="module", params=["--processes=2", "--ray"])
def command(tmp_path_factory, request):
    if request.param == "--ray":
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'crosslatent[ray]'")
    place = tmp_path_factory.mktemp("stopping")
    rows = [
        {"id": f"q{n}", "main": f"Swali la {n}? Jibu:", "aux": f"Question {n}? Answer:"}
        for n in range(60)
    ]
    prompts = place / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    folder = save_tiny(place / "model")
    fixed = [f"--model={folder}", f"--prompts={prompts}", "--component=attn,ffn"]
    workers = [request.param, "--slice-rows=64"]
    workers += ["--ray-workers=2"] * (request.param == "--ray")
    return [sys.executable, "-m", "crosslatent", "sweep", *fixed, "--max-new-tokens=8", *workers]


def until(condition, seconds=LONG):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "Terminated: what is done is kept"),
        (signal.SIGINT, 130, "Interrupted: what is done is kept"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_a_stopped_sweep_leaves_nobody_and_goes_on(command, tmp_path, number, code, said):
    out = tmp_path / "run"
    call = [*command, f"--out={out}"]
    said_to = tmp_path / "stderr"
    with said_to.open("w") as stream:  # no pipe: what Ray has started would hold it open
        running = subprocess.Popen(call, stderr=stream)
    until(lambda: len(list(out.glob("rows/part-*"))) >= 3)
    below = psutil.Process(running.pid).children(recursive=True)
    os.kill(running.pid, number)
    running.wait(timeout=LONG)
    err = said_to.read_text(encoding="utf-8")
    assert running.returncode == code, err
    assert said in err
    assert "Traceback" not in err
    marks = ("ray::Worker", "crosslatent.distributed.process_workers")
    workers = [one for one in below if any(mark in " ".join(_line(one)) for mark in marks)]
    until(lambda: not any(map(_alive, workers)))
    before = {part.name for part in out.glob("rows/part-*.parquet")}
    done = subprocess.run(call, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    with RunReader(out).connect() as connection:
        keys = "item, control, stratum, component, source, target"
        query = (
            f"SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT {keys} FROM rows)) FROM rows"
        )
        assert connection.execute(query).fetchall() == [(60 * (2 + 2 * 16),) * 2]
    assert before <= {part.name for part in out.glob("rows/part-*.parquet")}


def _line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
