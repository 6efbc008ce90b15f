"""Files that are damaged between two calls: told, set aside, and what they held is run again."""

from __future__ import annotations

import random
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.faults import EXTRAS, assert_equal_runs, contents, parts

TABLES = ("rows", *EXTRAS)
SMALL = ("--pairs=0:1", "--controls=noise", "--component=ffn", "--limit=2")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_last_byte(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 5 if at is None else at] ^= 0x10
    path.write_bytes(data)


def zeros(path):
    """What some file systems leave after a power cut: the right length, and nothing in it."""
    path.write_bytes(bytes(path.stat().st_size))


def another_table(path):
    pq.write_table(pa.table({"item": ["q0"], "tax": [3]}), path)


def text(path):
    path.write_text("<html>Not found</html>")


DAMAGES = [truncate, cut_last_byte, empty, flip, zeros, another_table, text]


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "run")


def rows_run(ended):
    found = re.search(r"^([\d,]+) rows? in ", ended.err, flags=re.MULTILINE)
    return int(found[1].replace(",", "")) if found else 0


CASES = [
    # A case of each table, and each of rows, in the fast tier.
    pytest.param(table, damage, marks=[] if fast else [pytest.mark.slow])
    for table in TABLES
    for damage in DAMAGES
    for fast in [table == "rows" or damage is flip]
]


@pytest.mark.parametrize(("table", "damage"), CASES)
def test_a_damaged_part_is_set_aside_and_run_again(forks, command, whole, copied, table, damage):
    broken = parts(copied, table)[-1]
    held = pq.read_metadata(broken).num_rows if table == "rows" else 0
    damage(broken)
    others = {n: d for n, d in contents(copied).items() if "part-" in n and broken.name not in n}
    ended = forks.run(*command(copied))
    assert ended.code == 0, ended.err
    (told,) = [line for line in ended.err.splitlines() if broken.name in line]
    assert told.startswith("Warning: ")
    assert "set aside" in told
    assert rows_run(ended) == held
    assert contents(copied).items() >= others.items()
    aside = [path.name for path in (copied / table).iterdir() if "damaged" in path.name]
    assert len(aside) == 1
    assert_equal_runs(copied, whole[0], aside=["*.damaged*"])
    again = forks.run(*command(copied))
    assert again.code == 0
    assert "set aside" not in again.err


@pytest.mark.parametrize("table", TABLES)
def test_a_part_that_is_gone_is_run_again(forks, command, whole, copied, table):
    parts(copied, table)[0].unlink()
    assert forks.run(*command(copied)).code == 0
    assert_equal_runs(copied, whole[0])


def test_a_part_that_is_there_twice_counts_once(forks, command, whole, copied):
    first = parts(copied)[0]
    shutil.copy(first, first.with_name("part-00099-000007.parquet"))
    ended = forks.run(*command(copied))
    assert ended.code == 0, ended.err
    assert rows_run(ended) == 0
    assert_equal_runs(copied, whole[0], aside=["*.doubled*"])


def flip_many(forks, command, whole, folder, table, positions):
    size = parts(whole, table)[0].stat().st_size
    for number, at in enumerate(sorted(random.Random(0).sample(range(size), positions))):
        run = shutil.copytree(whole, folder / f"{table}-{number}")
        flip(parts(run, table)[0], at)
        ended = forks.run(*command(run, *SMALL))
        assert ended.code == 0, (at, ended.err)
        # A bit that says nothing (of the checksum's name) may go unseen.
        assert_equal_runs(run, whole, aside=["*.damaged*"])
        shutil.rmtree(run)


@pytest.fixture(scope="module")
def small(forks, command, tmp_path_factory):
    """A small run that nothing happened to."""
    out = tmp_path_factory.mktemp("small") / "run"
    ended = forks.run(*command(out, *SMALL))
    assert ended.code == 0, ended.err
    return out


@pytest.mark.parametrize("table", TABLES)
def test_a_flipped_bit_changes_no_row(forks, command, small, tmp_path, table):
    flip_many(forks, command, small, tmp_path, table, 3)


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_no_flipped_bit_changes_a_row(forks, command, small, tmp_path, table):
    flip_many(forks, command, small, tmp_path, table, 25)


@pytest.mark.parametrize("damage", [truncate, empty, zeros, text], ids=lambda d: d.__name__)
def test_the_table_of_items_is_written_anew(forks, command, whole, copied, damage):
    damage(copied / "items.parquet")
    assert forks.run(*command(copied)).code == 0
    assert_equal_runs(copied, whole[0])


@pytest.mark.parametrize("damage", [truncate, empty, zeros, text], ids=lambda d: d.__name__)
def test_without_a_readable_manifest_nothing_is_guessed(forks, command, copied, damage):
    damage(copied / "run.json")
    before = contents(copied)
    ended = forks.run(*command(copied))
    assert ended.code == 2
    assert "run.json" in ended.sentence
    assert contents(copied) == before


@pytest.mark.parametrize("damage", [truncate, empty, zeros, text], ids=lambda d: d.__name__)
def test_readers_of_a_damaged_run_get_a_sentence(forks, copied, tmp_path, damage):
    damage(parts(copied)[0])
    before = contents(copied)
    ended = forks.run("export", copied, "--format=csv", f"--out={tmp_path / 'x.csv'}")
    assert ended.code in (1, 2), ended
    assert "again" in ended.sentence
    assert not (tmp_path / "x.csv").exists()
    assert contents(copied) == before
