"""Full disks, folders that cannot be written, and parts that are not what was written."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosslatent.core.errors import RunFolderError, StorageError
from crosslatent.runs import RunFolder, RunReader
from crosslatent.runs.files import whole_file, write_json
from crosslatent.runs.parts import PartTable
from crosslatent.runs.schema import ROWS
from support.store import MANIFEST, items_of, made, record

PART = "part-00001-000000.parquet"


def contents(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != ".owner.json"
    }


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch, code):
    made(tmp_path, ["a"])
    folder = RunFolder.open(tmp_path, MANIFEST)
    before = contents(tmp_path)
    write = Path.write_bytes

    def half(path, data):
        write(path, bytes(data)[: len(data) // 2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", half)
    for work in (
        lambda: folder.rows.write(folder.part_name(0), [record("b")]),
        lambda: folder.write_items([]),
        lambda: folder.write_status({}),
    ):
        with pytest.raises(StorageError, match=r"free some space.*run the same command again"):
            work()
    monkeypatch.undo()
    assert contents(tmp_path) == before
    folder.close()
    assert items_of(tmp_path) == (["a"], [])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_last_moment(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_json(tmp_path / "x.json", {"old": 1})
    monkeypatch.setattr(*((os, call) if call == "fsync" else (Path, call)), full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        write_json(tmp_path / "x.json", {"new": 1})
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": 1}


@pytest.mark.parametrize("code", [errno.EIO, errno.ECONNRESET, errno.ETIMEDOUT])
def test_a_place_that_fails_is_told(tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    write_json(tmp_path / "x.json", {"old": 1})
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StorageError, match="run the same command again when"):
        write_json(tmp_path / "x.json", {"new": 1})
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": 1}


def test_a_place_that_may_not_be_written_is_a_wrong_argument(tmp_path):
    with pytest.raises(RunFolderError, match="give a folder that can be written") as error:
        write_json(tmp_path / "none" / "x.json", {})
    assert error.value.exit_code == 2


def test_a_real_limit_on_the_size_of_files(tmp_path):
    made(tmp_path / "run", ["a"])
    script = f"""
import resource
from crosslatent.runs import RunFolder
from crosslatent.core.errors import RunFolderError, StorageError
from support.store import MANIFEST, record
folder = RunFolder.open({str(tmp_path / "run")!r}, MANIFEST)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    folder.rows.write(folder.part_name(0), [
        record(f"b{{n}}", output=str(n ** 40), output_ids=list(range(n, n + 50)))
        for n in range(2000)
    ])
except RunFolderError as error:
    print(error)
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert "File too large" in done.stdout, done.stderr
    assert "what was there is kept" in done.stdout
    assert items_of(tmp_path / "run") == (["a"], [])
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(tmp_path):
    made(tmp_path, ["a"])
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunFolderError, match="Cannot write to the output folder"):
            RunFolder.open(tmp_path, MANIFEST)
        assert RunReader(tmp_path).connect()
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_file_system(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(RunFolderError, match=r"\(Read-only file system\): give a folder that can"):
        RunFolder.open(tmp_path, MANIFEST)


def truncated(data):
    return data[: len(data) // 2]


def flipped(data):
    """One bit of the first column's page, which lies at the beginning of the file."""
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


def empty(_):
    return b""


def nonsense(data):
    return b"PAR1" + os.urandom(len(data)) + b"PAR1"


def another_table(_):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"item": ["a"], "other": [1]}), buffer)
    return bytes(buffer.getvalue())


DAMAGES = [truncated, flipped, empty, nonsense, another_table]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", ["rows", "samples"])
def test_a_damaged_part_is_set_aside_and_told(tmp_path, damage, table):
    made(tmp_path, ["a"], ["b"])
    sample = {"item": "a", "number": 0, "output": "x" * 500}
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.extras["samples"].write("part-00001-000000", [sample] * 50)
    part = tmp_path / table / PART
    part.write_bytes(damage(part.read_bytes()))
    found, (set_aside,) = items_of(tmp_path)
    assert found == (["b"] if table == "rows" else ["a", "b"])
    assert set_aside.name == f"{table}/{PART}"
    assert set_aside.reason
    assert (part.parent / "part-00001-000000.damaged").exists()
    assert not part.exists()
    if table == "rows":
        made(tmp_path, ["a"])
    assert items_of(tmp_path) == (["a", "b"], [])


def test_every_flipped_byte_of_the_pages_is_noticed(tmp_path):
    table = made(tmp_path, ["a"]) / "rows" / PART
    data = table.read_bytes()
    pages = pq.read_metadata(table).row_group(0)
    ends = max(
        pages.column(n).data_page_offset + pages.column(n).total_compressed_size
        for n in range(pages.num_columns)
    )
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        for at in range(4, min(ends, len(data)), 97):
            table.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
            assert folder.rows.check() or folder.rows.read().equals(
                pq.read_table(pa.BufferReader(data))
            ), at


def test_a_part_that_cannot_be_read_just_now_is_not_thrown_away(tmp_path, monkeypatch):
    made(tmp_path, ["a"])

    def away(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", away)
    with pytest.raises(RunFolderError, match="Too many open files"):
        PartTable(tmp_path / "rows", ROWS).check()
    monkeypatch.undo()
    assert items_of(tmp_path) == (["a"], [])


def test_a_part_that_cannot_be_set_aside(tmp_path, monkeypatch):
    part = made(tmp_path, ["a"]) / "rows" / PART
    part.write_bytes(b"")
    replace = Path.replace

    def refuse(path, target):
        if path.name == PART:
            raise PermissionError(errno.EACCES, "Permission denied")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RunFolderError, match=r"Cannot set aside .* \(Permission denied\)"):
        RunFolder.open(tmp_path, MANIFEST)
    monkeypatch.undo()
    assert items_of(tmp_path)[0] == []


@pytest.mark.parametrize("damage", [truncated, empty, nonsense])
@pytest.mark.parametrize("file", [f"rows/{PART}", "items.parquet"])
def test_readers_meet_damage_with_a_sentence(tmp_path, damage, file):
    made(tmp_path, ["a"])
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.write_items([])
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    with pytest.raises(RunFolderError, match="run the same sweep command again"):
        RunReader(tmp_path)


def test_readers_miss_the_columns_that_they_need(tmp_path):
    part = made(tmp_path, ["a"]) / "rows" / PART
    part.write_bytes(another_table(None))
    with pytest.raises(RunFolderError, match="no column 'control'"):
        RunReader(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", '{"schema_version": 3}', "\0"])
def test_a_run_json_that_is_not_one(tmp_path, content):
    made(tmp_path, ["a"])
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"run\.json|schema version"):
        RunFolder.open(tmp_path, MANIFEST)
    assert (tmp_path / "rows" / PART).exists()


def test_what_an_older_version_wrote_can_be_thrown_away(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "part-00000.parquet").touch()
    (tmp_path / "attribution.parquet").touch()
    (tmp_path / "run.json").write_text('{"schema_version": 3}')
    with pytest.raises(RunFolderError, match="schema version 3.*--new"):
        RunFolder.open(tmp_path, MANIFEST)
    with RunFolder.open(tmp_path, MANIFEST, new=True) as folder:
        assert not folder.inventory.counts
    assert not (tmp_path / "attribution.parquet").exists()


def test_a_temporary_file_goes_when_its_writer_fails(tmp_path):
    with suppress(ZeroDivisionError), whole_file(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
