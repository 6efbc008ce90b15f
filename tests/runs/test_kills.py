"""A process that is killed, at whatever moment, leaves a folder that the next one takes up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.runs import RunFolder, RunReader
from support.store import MANIFEST, items_of, killed_at, made, record

OTHER = {**MANIFEST, "spec": {"seed": 1}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waiting for the disk: these processes are killed, the machine is not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def files_of(path):
    """What is there, but for locks and what says who held them."""
    found = [entry.name for entry in path.rglob("*") if entry.is_file()]
    return sorted(name for name in found if name not in (".lock", ".owner.json"))


def each_killing(tmp_path, prepare, work, check):
    """Let some work die at each of its steps, and look at what it left; returns how many it has."""
    step, killed = -1, True
    while killed:
        step += 1
        path = tmp_path / str(step)
        prepare(path)
        killed = killed_at(step, lambda path=path: work(path))
        check(path)
    return step


def nothing(path):
    pass


def test_starting_a_folder(tmp_path):
    seen = set()

    def check(path):
        found, set_aside = items_of(path)
        assert not set_aside
        assert not [name for name in files_of(path) if name.endswith(".tmp")]
        seen.add(tuple(found))

    steps = each_killing(tmp_path, nothing, lambda path: made(path, ["a"]), check)
    assert steps > 15
    assert seen == {(), ("a",)}


def test_writing_one_more_part(tmp_path):
    def write(path):
        with RunFolder.open(path, MANIFEST) as folder:
            folder.rows.write(folder.part_name(0), [record("b")])
            folder.write_items([])
            folder.write_status({"rows": 2})

    seen = set()

    def check(path):
        found, set_aside = items_of(path)
        assert not set_aside
        seen.add(tuple(found))
        if "b" not in found:
            made(path, ["b"])
        assert items_of(path) == (["a", "b"], [])
        with RunReader(path).connect() as connection:
            assert connection.execute("SELECT count(*) FROM rows").fetchone() == (2,)

    assert each_killing(tmp_path, lambda path: made(path, ["a"]), write, check) > 20
    assert seen == {("a",), ("a", "b")}


@pytest.mark.slow
def test_starting_over(tmp_path):
    def prepare(path):
        made(path, ["a"], ["b"])
        (path / "attribution.parquet").write_bytes(b"of an older version")
        (path / "notes.md").write_text("mine")

    def start_over(path):
        with RunFolder.open(path, OTHER, new=True) as folder:
            folder.rows.write(folder.part_name(0), [record("c")])

    seen = set()

    def check(path):
        if json.loads((path / "run.json").read_text())["spec"] == {"seed": 0}:
            with pytest.raises(RunFolderError, match=r"spec\.seed"):
                items_of(path, OTHER)
            seen.add(tuple(items_of(path)[0]))
        else:
            seen.add(tuple(items_of(path, OTHER)[0]))  # the same command, but for --new
        with RunFolder.open(path, OTHER, new=True) as folder:
            assert not folder.inventory.counts
        assert (path / "notes.md").read_text() == "mine"
        assert not (path / "attribution.parquet").exists()
        assert not list((path / "rows").iterdir())

    assert each_killing(tmp_path, prepare, start_over, check) > 25
    assert seen == {("a", "b"), (), ("c",)}


@pytest.mark.slow
def test_readers_of_a_folder_that_is_being_cleared(tmp_path):
    def check(path):
        if json.loads((path / "run.json").read_text())["spec"] == {"seed": 0}:
            with RunReader(path).connect() as connection:
                assert connection.execute("SELECT item FROM rows").fetchall() == [("a",)]
        else:
            with pytest.raises(RunFolderError, match="no rows yet"):
                RunReader(path)

    def start_over(path):
        RunFolder.open(path, OTHER, new=True)

    each_killing(tmp_path, lambda path: made(path, ["a"]), start_over, check)


def test_a_real_sigkill_gives_the_lock_back(tmp_path):
    script = f"""
import os, signal
from crosslatent.runs import RunFolder
from support.store import MANIFEST, record
folder = RunFolder.open({str(tmp_path / "run")!r}, MANIFEST)
folder.rows.write(folder.part_name(0), [record("a")])
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    assert items_of(tmp_path / "run") == (["a"], [])


@pytest.mark.parametrize("left", ["rows", ".run.json.123-0a1b2c3d.tmp", ".write-probe-7", ".lock"])
def test_what_a_killed_process_left_is_no_hindrance(tmp_path, left):
    path = tmp_path / "run"
    (path / left).parent.mkdir(parents=True)
    (path / left).mkdir() if left == "rows" else (path / left).touch()
    assert items_of(path) == ([], [])
    assert not [name for name in files_of(path) if name.endswith(".tmp")]


def test_what_only_looks_like_it_is_somebody_elses(tmp_path):
    (tmp_path / ".notes.12.tmp").touch()
    with pytest.raises(RunFolderError, match="something else"):
        RunFolder.open(tmp_path, MANIFEST)
    (tmp_path / ".notes.12.tmp").unlink()
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "part-1.parquet").touch()
    with pytest.raises(RunFolderError, match="something else"):
        RunFolder.open(tmp_path, MANIFEST)
