"""Requests that fail now and then, memory that runs short, and processes that come too late."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from crosslatent.core.errors import RunFolderError, StorageError
from crosslatent.runs import RunFolder, RunReader, locks, parts
from crosslatent.runs.parts import PartTable
from crosslatent.runs.run_path import is_file, names_in, read_bytes, remove, run_path
from crosslatent.runs.schema import ROWS
from support.runs import item
from support.store import MANIFEST, items_of, made, record

CALLS = ("info", "cat_file", "ls", "pipe_file", "rm_file", "put_file")


class Failing:
    """Lets one call of a file system fail, the n-th from when it is armed."""

    def __init__(self, monkeypatch):
        self.left = None
        self.failed = False
        for name in CALLS:
            monkeypatch.setattr(MemoryFileSystem, name, self._passing(name))

    def _passing(self, name):
        call = getattr(MemoryFileSystem, name)

        def passing(*args, **kwargs):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.left = None
                    self.failed = True
                    raise ConnectionError("connection reset by peer")
            return call(*args, **kwargs)

        return passing

    def arm(self, calls):
        self.left, self.failed = calls, False


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    return Failing(monkeypatch)


def parts_of(url):
    rows = run_path(url) / "rows"
    return {name: read_bytes(rows / name) for name in names_in(rows)}


def released(url):
    remove(run_path(url) / ".lease.json")  # stays where giving it back was what failed


@pytest.mark.parametrize("new", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_failed_request_costs_a_part(failing, new):
    other = {**MANIFEST, "spec": {"seed": 1}}
    step = 0
    while True:
        url = f"memory://{uuid.uuid4().hex}/run"
        made(url, ["a"], ["b"])
        before = parts_of(url)
        failing.arm(step)
        told = None
        try:
            with RunFolder.open(url, MANIFEST) as folder:
                assert folder.session == 2
                assert not folder.set_aside
                folder.rows.write(folder.part_name(0), [record("c")])
                folder.write_failures([])
                assert not folder.settle()
                folder.write_status({})
        except RunFolderError as error:
            told = str(error)
        failed, failing.left = failing.failed, None
        after = parts_of(url)
        assert {name: after.get(name) for name in before} == before, told
        assert set(after) - set(before) <= {"part-00002-000000.parquet"}
        released(url)
        if new:
            with RunFolder.open(url, other, new=True) as folder:
                assert not folder.inventory.counts
        else:
            found, aside = items_of(url)
            assert (found[:2], aside) == (["a", "b"], [])
        if not failed:
            break
        step += 1
    assert step > 20


def test_a_failed_request_is_not_an_empty_table(failing):
    url = f"memory://{uuid.uuid4().hex}/run"
    made(url, ["a"])
    with RunFolder.open(url, MANIFEST) as folder:
        folder.write_items([item("a")])
    step = 0
    while True:
        failing.arm(step)
        with (
            # DuckDB's own, of the query below, or what it lets through.
            suppress(RunFolderError, duckdb.Error, ConnectionError),
            RunReader(url).connect() as connection,
        ):
            counts = connection.sql(
                "SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM items)"
            ).fetchall()
            assert counts == [(1, 1)]
        if not failing.failed:
            break
        step += 1
    assert step > 3


def test_whether_a_file_is_there_is_told_or_refused(failing):
    place = run_path(f"memory://{uuid.uuid4().hex}/x")
    assert not is_file(place)
    place.fs.pipe_file(place.path, b"x")
    failing.arm(0)
    with pytest.raises(StorageError, match="Cannot reach"):
        is_file(place)
    assert is_file(place)


def test_no_run_begins_over_the_parts_of_another(tmp_path, monkeypatch):
    made(tmp_path, ["a"])
    (tmp_path / "run.json").rename(tmp_path / "kept.json")
    monkeypatch.setattr("crosslatent.runs.run_folder.prepare_folder", lambda *_: True)
    with pytest.raises(RunFolderError, match=r"has parts in 'rows', but no run\.json"):
        RunFolder.open(tmp_path, MANIFEST)
    (tmp_path / "kept.json").rename(tmp_path / "run.json")
    assert items_of(tmp_path) == (["a"], [])


def test_a_part_that_was_there_is_not_replaced(tmp_path):
    made(tmp_path, ["a"])
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        with pytest.raises(RunFolderError, match="so it is not replaced"):
            folder.rows.write("part-00001-000000", [record("b")])
        for name in ("b", "c"):
            folder.rows.write(folder.part_name(0), [record(name)])
    assert items_of(tmp_path) == (["a", "c"], [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pa.ArrowMemoryError("malloc of size 64 failed"), "needs more memory"),
        (MemoryError(), "needs more memory"),
        (pa.ArrowNotImplementedError("codec 'zstd' not built"), "pyarrow that reads Parquet"),
        (pa.ArrowCancelled("stopped"), "nothing was set aside"),
    ],
)
def test_what_this_process_cannot_do_says_nothing_about_a_part(tmp_path, monkeypatch, error, words):
    made(tmp_path, ["a"])

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(parts.pq, "ParquetFile", fail)
    with pytest.raises(RunFolderError, match=words):
        RunFolder.open(tmp_path, MANIFEST)
    with pytest.raises(RunFolderError, match=words):
        RunReader(tmp_path)
    monkeypatch.undo()
    assert items_of(tmp_path) == (["a"], [])


@pytest.mark.parametrize("where", ["local", "memory"])
def test_parts_of_earlier_sessions_that_come_late_are_set_aside(tmp_path, monkeypatch, where):
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    base = str(tmp_path) if where == "local" else f"memory://{uuid.uuid4().hex}"
    place = run_path(f"{base}/run")
    made(place, ["a"])
    made(place, ["b"])
    with RunFolder.open(place, MANIFEST) as folder:
        folder.rows.write(folder.part_name(0), [record("c")])
        late = PartTable(place / "rows", ROWS)  # whoever passed the fence before this session
        late.write("part-00002-000007", [record("c")])
        samples = [{"item": "a", "number": 0, "output": "x"}]
        folder.extras["samples"].write("part-00003-000001", samples)
        PartTable(place / "samples", folder.extras["samples"].schema).write(
            "part-00001-000001", samples
        )
        (place / "rows" / "part-else.parquet").write_bytes(b"of nobody")
        found = folder.settle()
        assert [one.name for one in found] == [
            "rows/part-00002-000007.parquet", "samples/part-00001-000001.parquet"
        ]  # fmt: skip
        assert folder.set_aside == found
        assert "part-00002-000007.late" in names_in(place / "rows")
        (place / "rows" / "part-else.parquet").unlink()
        assert folder.totals(1.5)["rows"] == 3
        assert folder.settle() == []
    assert items_of(place) == (["a", "b", "c"], [])


def test_the_fence_holds_on_a_disk_too(tmp_path):
    made(tmp_path, ["a"])
    first = RunFolder.open(tmp_path, MANIFEST)
    first.close()
    with RunFolder.open(tmp_path, MANIFEST) as second:
        with pytest.raises(RunFolderError, match="Session 3 has taken"):
            first.rows.write(first.part_name(0), [record("b")])
        second.rows.write(second.part_name(0), [record("b")])
    assert items_of(tmp_path) == (["a", "b"], [])


@pytest.mark.parametrize("name", ["attribution", "samples"])
def test_items_that_stand_in_two_parts_are_found(tmp_path, name):
    rows = {
        "attribution": {"item": "a", "component": "attn", "source": 0, "target": 1, "score": 1.0},
        "samples": {"item": "a", "number": 0, "output": "x"},
    }[name]
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        for number in range(2):
            folder.extras[name].write(folder.part_name(number), [rows] * 3)
    _, (aside,) = items_of(tmp_path)
    assert aside.name == f"{name}/part-00001-000001.parquet"
    assert Path(tmp_path / name / "part-00001-000001.doubled").exists()
    assert items_of(tmp_path)[1] == []


def test_the_first_column_that_differs_is_named(tmp_path):
    part = made(tmp_path, ["a"]) / "rows" / "part-00001-000000.parquet"
    buffer = pa.BufferOutputStream()
    parts.pq.write_table(pa.table({"item": ["a"], "lang": [1]}), buffer)
    part.write_bytes(bytes(buffer.getvalue()))
    _, (aside,) = items_of(tmp_path)
    assert "'item' is " in aside.reason


def test_more_names_than_can_be_told_apart_are_refused(tmp_path):
    rows = [record("a", stratum=f"s{number}") for number in range(300)]
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.rows.write(folder.part_name(0), rows)
    with pytest.raises(RunFolderError, match="more than 255 names"):
        RunFolder.open(tmp_path, MANIFEST)
