"""How far a run is: before, during, after, and where it was cut off."""

from __future__ import annotations

import datetime as dt
import json
import os

import psutil
import pytest

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.core.errors import RunFolderError
from crosslatent.runs.locks import hold
from crosslatent.runs.run_status import read_status
from support.runs import item, row, write_run


def session(seconds):
    started = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    return [{"number": 1, "started": started.isoformat(timespec="seconds")}]


@pytest.fixture
def folder(tmp_path):
    rows = [row("a", "vanilla", correct=True), row("b", "vanilla", correct=False)]
    rows += [row("a", correct=True), row("b", correct=True), row("b", target=1, correct=False)]
    items = [item("a"), item("b")]
    return write_run(tmp_path / "run", items, rows, planned=20, sessions=session(10))


def test_a_run_that_was_cut_off(folder):
    found = read_status(folder)
    assert (found.rows, found.planned, found.items, found.complete) == (5, 20, 2, False)
    assert (found.unmodified, found.transplanted) == ((1, 2), (2, 3))
    assert (found.writer, found.seconds_left, found.failures) == (None, None, None)
    assert found.rows_per_second == pytest.approx(5 / 10, rel=0.3)


def test_while_a_process_writes(folder):
    lock = hold(folder)
    found = xl.Run(folder).status()
    assert found.writer is not None
    assert found.writer["pid"] == os.getpid()
    assert found.seconds_left == pytest.approx(15 / found.rows_per_second)
    lock.release()
    assert read_status(folder).writer is None


def test_a_process_that_is_gone_is_not_at_work(folder):
    lock = hold(folder)
    owner = folder / ".owner.json"
    content = json.loads(owner.read_text())
    lock.release()
    owner.write_text(json.dumps(content | {"pid": 2**22 + 1}))
    assert read_status(folder).writer is None


def test_another_process_with_the_number_of_the_writer_is_not_it(folder):
    lock = hold(folder)
    owner = folder / ".owner.json"
    content = json.loads(owner.read_text())
    began = psutil.Process().create_time()
    owner.write_text(json.dumps(content | {"started": began - 60}))
    assert read_status(folder).writer is None
    owner.write_text(json.dumps(content))
    assert read_status(folder).state == "running"
    lock.release()
    assert read_status(folder).state == "stopped"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("crosslatent sweep --out 'my run'", "crosslatent sweep --out 'my run'"),
        ("crosslatent sweep; rm -r x", "crosslatent 'sweep;' rm -r x"),
        ("crosslatent sweep 'cut", "with the same arguments again"),
        ("notebook.py", "with the same arguments again"),
        (None, "with the same arguments again"),
    ],
)
def test_a_stopped_run_names_the_command_that_goes_on(tmp_path, command, said):
    sessions = [{**session(10)[0], "command": command}]
    folder = write_run(tmp_path / "run", [item("a")], [row("a")], planned=2, sessions=sessions)
    assert read_status(folder).next.endswith(said)


def test_before_the_first_row(folder):
    for part in (folder / "rows").iterdir():
        part.unlink()
    found = read_status(folder)
    assert (found.rows, found.rows_per_second, found.unmodified) == (0, None, (0, 0))


def test_a_finished_run_of_an_earlier_version(tmp_path):
    status = {"rows": 1, "items": 1, "failures": 2}
    folder = write_run(tmp_path / "old", [item("a")], [row("a", correct=None)], status=status)
    found = read_status(folder)
    assert (found.complete, found.planned, found.failures) == (True, None, 2)
    assert found.rows_per_second is None


def test_the_command(folder, capsys):
    assert main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "rows      5 of 20, of 2 of 2 items" in said
    assert "50% right, 67% transplanted" in said
    assert "stopped   No process of this machine writes to it" in said
    assert "next      xl.sweep(..., out=" in said
    assert main(["status", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["planned"] == 20


def test_a_time_that_is_none_is_refused(tmp_path):
    sessions = [{"number": 1, "started": "yesterday"}]
    folder = write_run(tmp_path / "run", [item("a")], [row("a")], sessions=sessions)
    with pytest.raises(RunFolderError, match="started at 'yesterday', which is no time"):
        read_status(folder)
