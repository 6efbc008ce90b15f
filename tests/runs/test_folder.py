"""Run folders: refusals, whole files, and what a reader needs."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.runs import RunFolder, RunReader
from crosslatent.runs.files import whole_file, write_json
from support.store import MANIFEST, record


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match=r"holds something else \(thesis\.tex\)"):
        RunFolder.open(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_new_removes_only_what_a_run_wrote(tmp_path):
    folder = RunFolder.open(tmp_path, MANIFEST)
    folder.rows.write(folder.part_name(0), [record("a")])
    folder.close()
    (tmp_path / "notes.md").write_text("mine")
    again = RunFolder.open(tmp_path, {**MANIFEST, "spec": {"seed": 1}}, new=True)
    assert not again.inventory.counts
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_new_throws_nothing_away_that_is_not_a_run(tmp_path):
    (tmp_path / "run.json").write_text('{"mine": 1}')
    (tmp_path / "items.parquet").write_text("precious")
    with pytest.raises(RunFolderError, match="is not one of ours"):
        RunFolder.open(tmp_path, MANIFEST, new=True)
    assert (tmp_path / "items.parquet").read_text() == "precious"


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path):
    first = RunFolder.open(tmp_path, MANIFEST)
    with pytest.raises(RunFolderError, match="Another process is writing"):
        RunFolder.open(tmp_path, MANIFEST)
    first.close()
    RunFolder.open(tmp_path, MANIFEST).close()


def test_folders_may_have_names_that_look_like_patterns(tmp_path):
    path = tmp_path / "r[1]*?"
    RunFolder.open(path, MANIFEST).rows.write("part-1", [record("a")])
    with RunReader(path).connect() as connection:
        assert connection.execute("SELECT item FROM rows").fetchall() == [("a",)]


def test_a_place_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="Cannot write to the output folder"):
        RunFolder.open(tmp_path / "file" / "run", MANIFEST)


def test_names_and_titles_may_change_between_calls(tmp_path):
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.rows.write(folder.part_name(0), [record("a")])
    moved = {**MANIFEST, "model": {"name": "b"}, "task": {"name": "t", "title": "New"}}
    assert set(RunFolder.open(tmp_path, moved).inventory.counts) == {"a"}


def test_parts_are_numbered_on_and_totalled(tmp_path):
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.rows.write(folder.part_name(0), [record("a"), record("b")])
    folder = RunFolder.open(tmp_path, MANIFEST)
    folder.rows.write(folder.part_name(0), [record("c")])
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == [
        "part-00001-000000.parquet",
        "part-00002-000000.parquet",
    ]
    assert folder.totals(near_tie_margin=1.5) == {
        "rows": 3,
        "seconds": 1.5,
        "paths": {"oracle": {"rows": 3, "seconds": 1.5}},
        "near_ties": {"rows": 3, "settled": 0, "margin": 1.5},
        "not_finite": 0,
    }
    with RunReader(tmp_path).connect() as connection:
        assert connection.execute("SELECT count(*), sum(seconds) FROM rows").fetchone() == (3, 1.5)
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (0,)


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "data.json"
    write_json(path, {"old": 1})
    with suppress(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not a run folder"),
        ("{", "Cannot read"),
        (
            '{"schema_version": 99}',
            "has schema version 99, but this version of crosslatent reads 5",
        ),
        ('{"schema_version": 5}', "has no rows yet"),
    ],
)
def test_readers_say_what_is_wrong(tmp_path, content, says):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match=says):
        RunReader(tmp_path)
