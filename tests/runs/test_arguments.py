"""What users give that a run folder cannot keep as it is."""

from __future__ import annotations

import pytest

from crosslatent.analysis.data import RunData
from crosslatent.core.errors import RunFolderError, TaskError
from crosslatent.core.untrusted import parse_json
from crosslatent.runs import RunFolder, RunReader
from crosslatent.runs.files import write_json
from crosslatent.runs.run_path import read_bytes
from crosslatent.tasks import task_of
from support.runs import item
from support.store import MANIFEST, made


def test_bytes_that_are_no_text_are_written_out(tmp_path):
    write_json(tmp_path / "x.json", {"command": "--out run\udcff", "name": "na\u00efve"})
    found = parse_json(read_bytes(tmp_path / "x.json"))
    assert found == {"command": "--out run\\udcff", "name": "na\u00efve"}


@pytest.mark.parametrize("name", ["lang", "aux_lang"])
def test_no_language_is_called_all(name):
    data = {"main": "Swali:", "aux": "Question:", "answer": "a", "lang": "sw", "aux_lang": "en"}
    with pytest.raises(TaskError, match="means all languages"):
        task_of([data | {name: "all"}])


def test_a_folder_with_such_a_language_is_readable_all_the_same(tmp_path):
    made(tmp_path, ["a"])
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.write_items([item("a") | {"lang": "all"}])
    reader = RunReader(tmp_path)
    with reader.connect() as connection:
        assert connection.sql("SELECT lang FROM items").fetchall() == [("all",)]
    with pytest.raises(RunFolderError, match="a language is called 'all'"):
        RunData(reader)
