"""One writer at a time: told with its process, taken over when it is gone, and fenced off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid

import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.runs import RunFolder, locks
from crosslatent.runs.run_folder import check_fence
from crosslatent.runs.run_path import read_bytes, run_path
from support.store import MANIFEST, items_of, made, record


@pytest.fixture
def remote(monkeypatch):
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    return run_path(f"memory://{uuid.uuid4().hex}/run")


def put_lease(place, **changes):
    lease = {
        "host": "elsewhere", "pid": 4711, "started": time.time() - 60, "token": "x",
        "beat": time.time(),
    } | changes  # fmt: skip
    place.fs.pipe_file((place / ".lease.json").path, json.dumps(lease).encode())


def test_a_second_process_is_told_who_the_first_is(tmp_path):
    script = f"""
import sys
from crosslatent.runs import RunFolder
from support.store import MANIFEST
with RunFolder.open({str(tmp_path)!r}, MANIFEST):
    print("open", flush=True)
    sys.stdin.read()
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(RunFolderError, match=rf"\(process {first.pid} on .*: wait for it, or"):
            RunFolder.open(tmp_path, MANIFEST)
        first.stdin.close()
        assert first.wait() == 0
    RunFolder.open(tmp_path, MANIFEST).close()


@pytest.mark.parametrize("said", ["", "{", "[]", '{"pid": "x"}'])
def test_an_owner_that_says_nothing_is_still_one(tmp_path, said):
    with RunFolder.open(tmp_path, MANIFEST):
        (tmp_path / ".owner.json").write_text(said)
        with pytest.raises(
            RunFolderError, match="Another process is writing to the run in '[^(]*$"
        ):
            RunFolder.open(tmp_path, MANIFEST)


def test_a_lease_keeps_others_away_until_it_is_given_back(remote):
    with RunFolder.open(remote, MANIFEST) as folder:
        folder.rows.write(folder.part_name(0), [record("a")])
        with pytest.raises(RunFolderError, match=rf"\(process {os.getpid()} on "):
            RunFolder.open(remote, MANIFEST)
    assert not remote.fs.exists((remote / ".lease.json").path)
    folder.close()
    assert items_of(remote) == (["a"], [])


def test_a_lease_of_another_machine_holds_while_it_is_renewed(remote):
    made(remote, ["a"])
    put_lease(remote, beat=time.time() - locks.STALE_SECONDS / 2)
    with pytest.raises(RunFolderError, match=r"\(process 4711 on elsewhere, since "):
        RunFolder.open(remote, MANIFEST)


@pytest.mark.parametrize(
    "changes", [{"beat": 0.0}, {"beat": None}, {"host": "here", "pid": 2**22 + 1}]
)
def test_a_stale_lease_is_taken_over(remote, monkeypatch, changes):
    monkeypatch.setattr(locks.socket, "gethostname", lambda: "here")
    made(remote, ["a"])
    put_lease(remote, **locks._pids() | changes)
    assert items_of(remote) == (["a"], [])


@pytest.mark.parametrize("other", ["host", "boot", "pid_namespace"])
def test_a_process_number_of_another_machine_or_container_says_nothing(remote, other):
    made(remote, ["a"])
    put_lease(remote, **locks._pids() | {"pid": 2**22 + 1, other: "another"})
    with pytest.raises(RunFolderError, match="Another process is writing"):
        RunFolder.open(remote, MANIFEST)


def test_a_lease_that_cannot_be_read_just_now_is_not_free(remote, monkeypatch):
    made(remote, ["a"])
    put_lease(remote)
    read = type(remote.fs).cat_file

    def away(fs, path, *args, **kwargs):
        if path.endswith(".lease.json"):
            raise ConnectionError("connection reset by peer")
        return read(fs, path, *args, **kwargs)

    monkeypatch.setattr(type(remote.fs), "cat_file", away)
    with pytest.raises(RunFolderError, match="Cannot reach .*connection reset"):
        RunFolder.open(remote, MANIFEST)
    monkeypatch.undo()
    assert json.loads(read_bytes(remote / ".lease.json"))["token"] == "x"


def test_of_two_that_take_a_lease_at_once_one_has_it(remote, monkeypatch):
    made(remote, ["a"])
    monkeypatch.setattr(locks.time, "sleep", lambda _: put_lease(remote))
    with pytest.raises(RunFolderError, match="process 4711 on elsewhere"):
        RunFolder.open(remote, MANIFEST)
    assert json.loads(read_bytes(remote / ".lease.json"))["token"] == "x"


def test_a_lease_is_renewed_while_its_process_lives(remote, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    with RunFolder.open(remote, MANIFEST):
        beats = set()
        until = time.monotonic() + 20
        while len(beats) < 3 and time.monotonic() < until:
            # This file system lets files be read while they are written.
            if lease := read_bytes(remote / ".lease.json"):
                beats.add(json.loads(lease)["beat"])
            time.sleep(0.01)
        assert len(beats) >= 3


def test_who_has_lost_a_lease_gives_nothing_back_and_writes_nothing(remote, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    first = RunFolder.open(remote, MANIFEST)
    for _ in range(50):
        put_lease(remote, beat=0.0)
        time.sleep(0.2)
        # A heartbeat that was under way may have been written after it.
        if json.loads(read_bytes(remote / ".lease.json"))["beat"] == 0.0:
            break
    second = RunFolder.open(remote, MANIFEST)
    for write in (
        lambda: first.rows.write(first.part_name(0), [record("a")]),
        lambda: first.write_items([]),
        lambda: first.write_failures([]),
        lambda: first.write_status({}),
    ):
        with pytest.raises(RunFolderError, match="Session 2 has taken the run"):
            write()
    first.close()
    assert remote.fs.exists((remote / ".lease.json").path)
    second.rows.write(second.part_name(0), [record("b")])
    second.close()
    assert items_of(remote)[0] == ["b"]


def test_sessions_are_counted_on_and_recorded(tmp_path):
    manifest = {**MANIFEST, "command": "crosslatent sweep", "versions": {"crosslatent": "1"}}
    for number in (1, 2):
        with RunFolder.open(tmp_path, manifest) as folder:
            assert folder.session == number
            check_fence(tmp_path, number)
    with RunFolder.open(tmp_path, manifest, new=True) as folder:
        assert folder.session == 3
        assert folder.part_name(4) == "part-00003-000004"
    with pytest.raises(RunFolderError, match="Session 3 has taken .* this is session 2"):
        check_fence(tmp_path, 2)
    sessions = json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert [one["number"] for one in sessions] == [3]
    assert sessions[0]["command"] == "crosslatent sweep"
    assert sessions[0]["versions"] == {"crosslatent": "1"}
    assert {"started", "host"} < set(sessions[0])


@pytest.mark.parametrize("error", [OSError(95, "Operation not supported"), NotImplementedError()])
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, error):
    def refuse(self, timeout):
        raise error

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    with pytest.raises(RunFolderError, match="Cannot lock .*on a file system that has locks"):
        RunFolder.open(tmp_path, MANIFEST)


def test_who_cannot_say_who_they_are_do_not_keep_the_lock(tmp_path, monkeypatch):
    def refuse(path, what):
        raise RunFolderError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(locks, "write_json", refuse)
        with pytest.raises(RunFolderError, match="The disk is full"):
            RunFolder.open(tmp_path, MANIFEST)
    RunFolder.open(tmp_path, MANIFEST).close()
