"""Texts in the central language are read from any file that has them."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.errors import SpaceError, TaskError
from crosslatent.lens.text_streams import read_central

TEXTS = ["A sky.", "A tree."]
TAGGED = "\n".join(
    json.dumps({"lang": lang, "text": text})
    for lang, text in (("sw", "Anga."), ("en", "A sky."), ("en", "A tree."))
)


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("a.txt", "A sky.\n\n  A tree. \n", None),
        ("a.jsonl", '{"text": "A sky."}\n\n{"text": "A tree. ", "id": 3}\n', None),
        ("a.jsonl", '{"t": "A sky.", "text": "no"}\n{"t": "A tree."}', "t"),
        ("a.jsonl", TAGGED, None),
        ("a.jsonl", '{"en": "A sky.", "sw": "x"}\n{"en": "A tree."}', None),
        ("a.jsonl", '{"input_en": "A sky."}\n{"input_en": "A tree."}', "input_{lang}"),
        ("a.json", '{"Instances": [{"en": "A sky."}, {"en": "A tree."}]}', None),
    ],
)
def test_forms(tmp_path, name, content, field):
    (tmp_path / name).write_text(content)
    assert read_central(tmp_path / name, "en", field=field) == TEXTS


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85"])
def test_only_line_feeds_end_a_text(tmp_path, letter):
    (tmp_path / "a.txt").write_text(f"A{letter}sky.\r\nA tree.\n", newline="")
    assert read_central(tmp_path / "a.txt", "en") == [f"A{letter}sky.", "A tree."]
    (tmp_path / "en.txt").write_text(f"A{letter}sky.\r\nA tree.\n", newline="")
    assert read_central(tmp_path / "en.txt", "en") == [f"A{letter}sky.", "A tree."]


def test_a_folder(tmp_path):
    (tmp_path / "en.txt").write_text("A sky.\nA tree.\n")
    assert read_central(tmp_path, "en") == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "\n \n", "no text"),
        ("a.jsonl", '{"text": "A sky."}\n{"text": 3}', ":2"),
        ("a.jsonl", '{"text": "A sky."}\n{"text": "x", "lang": "sw"}', ":2"),
        ("a.jsonl", '{"text": "A sky."}\n{"text', ":2"),
        ("a.jsonl", '{"sw": "x"}', "'?en'?"),
        ("a.jsonl", "", "empty"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises((SpaceError, TaskError), match=words):
        read_central(tmp_path / name, "en")


def test_no_file(tmp_path):
    with pytest.raises(SpaceError, match="no such file"):
        read_central(tmp_path / "a.txt", "en")
