"""A disk that is full or cannot be written: a sentence, nothing is lost, and the run goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
from collections import Counter

import pytest

import crosslatent as xl
from crosslatent.core.errors import RunFolderError
from support.disasters import GROWS
from support.faults import (
    assert_equal_runs,
    can_mount,
    contents,
    grow_disk,
    parts,
    questions,
    rows_there,
    small_disk,
)
from support.rows import wrapped

SMALL = ("--pairs=0:1", "--controls=noise", "--component=ffn", "--limit=2")


def assert_full(ended, run):
    """Exit code 1 and a sentence that says what is wrong, what became of the run, what to do."""
    assert ended.code == 1, ended
    sentence = ended.sentence
    assert str(run) in sentence
    assert re.search(r"space|[Ff]ile too large|quota", sentence), sentence
    assert "again" in sentence, sentence
    assert len(sentence) < 500


@pytest.fixture(scope="module")
def small(forks, command, tmp_path_factory):
    """A small run that nothing happened to."""
    out = tmp_path_factory.mktemp("small") / "run"
    ended = forks.run(*command(out, *SMALL))
    assert ended.code == 0, ended.err
    return out


def test_a_part_larger_than_a_file_may_be(forks, command, whole, tmp_path):
    run = tmp_path / "run"
    sizes = [part.stat().st_size for part in parts(whole[0])]
    # Seconds are rows' own, so the same part may be some bytes smaller in another run.
    first = forks.run(*command(run), file_bytes=max(sizes) * 9 // 10)
    assert_full(first, run)
    kept = contents(run / "rows")
    # Less room than before: what is there stays.
    second = forks.run(*command(run), file_bytes=min(sizes) // 2)
    assert_full(second, run)
    assert contents(run / "rows").items() >= kept.items()
    assert forks.run(*command(run)).code == 0
    assert contents(run / "rows").items() >= kept.items()
    assert_equal_runs(run, whole[0])


def fill_at_every_step(forks, command, small, folder, stride):
    """The disk is full from step 1, 2, 3, ... on, then has room again."""
    struck, at = Counter(), 1
    while True:
        run = folder / f"run-{at}"
        ended = forks.run(*command(run, *SMALL), folder=run, at=at, error=errno.ENOSPC)
        if ended.struck is None:
            assert ended.code == 0
            return struck
        struck[ended.struck["what"]] += 1
        if ended.code == 0:
            # The last steps need no space: a full disk lets files be renamed and removed.
            assert ended.struck["what"] not in GROWS
        else:
            assert_full(ended, run)
        kept = contents(run / "rows") if (run / "rows").is_dir() else {}
        assert rows_there(run) == 0 or kept
        again = forks.run(*command(run, *SMALL))
        assert again.code == 0, (ended.struck, again.err)
        whole_parts = {name: data for name, data in kept.items() if name.endswith(".parquet")}
        assert contents(run / "rows").items() >= whole_parts.items()
        assert_equal_runs(run, small)
        at += stride


def test_a_disk_that_is_full_from_some_step_on(forks, command, small, tmp_path):
    assert len(fill_at_every_step(forks, command, small, tmp_path, stride=31)) > 2


@pytest.mark.slow
def test_a_disk_that_is_full_from_more_steps_on(forks, command, small, tmp_path):
    assert len(fill_at_every_step(forks, command, small, tmp_path, stride=5)) > 2


@pytest.mark.skipif(not can_mount(), reason="no right to mount a disk here")
@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_a_disk_that_is_really_full(forks, command, whole, tmp_path, share):
    needed = sum(-(-len(data) // 4096) * 4 for data in contents(whole[0]).values())
    with small_disk(tmp_path / "disk", int(needed * share)) as disk:
        run = disk / "run"
        full = forks.run(*command(run))
        assert_full(full, run)
        kept = contents(run / "rows")
        grow_disk(disk, 20_000)
        done = forks.run(*command(run))
        assert done.code == 0, done.err
        assert contents(run / "rows").items() >= kept.items()
        assert_equal_runs(run, whole[0])


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_python_users_get_an_error_of_its_own(tmp_path, monkeypatch, error):
    from crosslatent.core.errors import StorageError

    right, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(error, os.strerror(error))
        right(descriptor)

    arguments = {"pairs": "0:0", "max_new_tokens": 1, "out": tmp_path / "run"}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as raised:
        xl.sweep(wrapped(num_hidden_layers=2), questions(3), **arguments)
    assert isinstance(raised.value, RunFolderError)
    assert raised.value.exit_code == 1
    assert os.strerror(error) in str(raised.value)
    monkeypatch.undo()
    assert len(xl.sweep(wrapped(num_hidden_layers=2), questions(3), **arguments).to_pandas()) == 9


@contextlib.contextmanager
def read_only(folder):
    """A folder that cannot be written, by its rights or, for root, by its mount."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(not os.geteuid() and not can_mount(), reason="root may write everywhere")
@pytest.mark.parametrize("begun", [True, False])
def test_a_folder_that_cannot_be_written(forks, command, small, tmp_path, begun):
    disk = tmp_path / "disk"
    run = disk / "run"
    disk.mkdir()
    if begun:
        half = forks.run(*command(run, *SMALL), folder=run, at=1, of="rename rows/", how="kill")
        assert half.killed
    before = contents(disk)
    with read_only(disk):
        refused = forks.run(*command(run, *SMALL))
        assert refused.code == 2, refused
        assert str(run) in refused.sentence
        assert contents(disk) == before
    done = forks.run(*command(run, *SMALL))
    assert done.code == 0, done.err
    assert_equal_runs(run, small)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_any_more(forks, command, small, tmp_path, error):
    run = tmp_path / "run"
    ended = forks.run(*command(run, *SMALL), folder=run, at=1, of="rename rows/", error=error)
    assert ended.code in (1, 2), ended
    assert os.strerror(error) in ended.sentence
    assert forks.run(*command(run, *SMALL)).code == 0
    assert_equal_runs(run, small)
