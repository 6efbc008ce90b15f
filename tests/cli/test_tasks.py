"""`crosslatent tasks`: what is known, and one item as the model sees it."""

from __future__ import annotations

import json

import pytest

from crosslatent.tasks import list_tasks

ITEMS = [
    {"id": "a", "lang": "sw", "aux_lang": "en", "main": "Mji [1]?\n(1) x", "aux": "City?",
     "answer": "(1)", "options": ["(1)", "(2)"], "labels": ["Nairobi", "Lagos"], "split": "pilot",
     "cluster": "animal:eagle:x"},
    {"id": "b", "lang": "hi", "aux_lang": "en", "main": "शहर?", "aux": "City?", "answer": "(2)",
     "options": ["(1)", "(2)"]},
]  # fmt: skip


@pytest.fixture
def task(tmp_path):
    lines = "\n".join(json.dumps(item) for item in ITEMS)
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntitle: Capitals\nitems: items.jsonl\n", encoding="utf-8")
    return path


def test_ls(cli):
    result = cli("tasks", "ls")
    assert result.code == 0
    names = [summary["name"] for summary in cli("tasks", "ls", "--json").json]
    assert names == [summary.name for summary in list_tasks()]
    assert all(name in result.out for name in names)


def test_show_prints_prompts_verbatim(cli, task):
    result = cli("tasks", "show", task)
    assert result.code == 0
    assert "mine: Capitals" in result.out
    assert "Mji [1]?\n(1) x\n" in result.out
    assert "(2) Lagos" in result.out
    assert "fact: animal:eagle:x" in result.out  # and not an emoji
    assert "answer: (1)" in result.out


def test_show_chooses_items(cli, task):
    assert "शहर?" in cli("tasks", "show", task, "--lang=hi").out
    assert "Mji" in cli("tasks", "show", task, "--aux-lang=en").out
    cli("tasks", "show", task, "--aux-lang=hi").assert_refused("aux language 'hi'", "it has en")
    assert cli("tasks", "show", task, "--item=b", "--json").json["item"]["id"] == "b"
    cli("tasks", "show", task, "--item=c").assert_refused("'c'", "'a'", "'b'")
    cli("tasks", "show", task, "--lang=fr").assert_refused("'fr'", "sw, hi")


def test_show_json(cli, task):
    data = cli("tasks", "show", task, "--json").json
    assert data["name"] == "mine"
    assert data["items"] == 2
    assert data["rule"] == "option"
    assert data["item"]["options"] == ["(1)", "(2)"]
