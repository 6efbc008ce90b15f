"""Task and prompt files: what they become, and what is said of their mistakes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import Item, list_tasks, load_prompts, load_task, task_of

GOOD = {"id": "a", "lang": "sw", "aux_lang": "en", "main": "Mji?", "aux": "City?", "answer": "x"}


def write_items(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_task(folder, yaml="name: mine\nitems: items.jsonl\n", rows=(GOOD,)):
    write_items(folder / "items.jsonl", *rows)
    path = folder / "mine.yaml"
    path.write_text(yaml, encoding="utf-8")
    return path


def test_task_with_all_fields(tmp_path):
    path = write_task(
        tmp_path,
        "name: mine\ntitle: Capitals\ndescription: |\n  Asks for capitals.\ndirection: en->x\n"
        "type: understanding\nrule: contains\nmax_new_tokens: 7\nitems: [items.jsonl]\n"
        "sources:\n  - CLDR\n  - an atlas\n",
    )
    task = load_task(path)
    assert (task.name, task.title, task.description) == ("mine", "Capitals", "Asks for capitals.")
    assert (task.direction, task.type, task.rule) == ("en->x", "understanding", "contains")
    assert task.max_new_tokens == 7
    assert task.sources == ("CLDR", "an atlas")
    assert task.items[0].main == "Mji?"
    assert task.languages == ("sw",)
    assert task.aux_languages == ("en",)


def test_defaults_follow_the_items(tmp_path):
    task = load_task(str(write_task(tmp_path)))
    assert (task.title, task.direction, task.type) == ("mine", "custom", "custom")
    assert task.rule == "contains"
    assert task.max_new_tokens == 20
    assert task.sources == ()


@pytest.mark.parametrize(
    ("yaml", "line", "words"),
    [
        ("items: items.jsonl\n", "", "the field 'name' is missing"),
        ("name: mine\n", "", "the field 'items' is missing"),
        ("name: mine\nitems: no.jsonl\n", ":2", "'no.jsonl'"),
        ("name: mine\nitems: items.jsonl\nrule: fuzzy\n", ":3", "one of option"),
        ("name: mine\nitems: items.jsonl\nrule: option\n", ":3", "item 'a' lacks the options"),
        ("name: mine\ndirection: up\nitems: items.jsonl\n", ":2", "one of en->x"),
        ("name: mine\nitems: items.jsonl\nmax_new_tokens: 0\n", ":3", "from 1 up"),
        ("name: mine\nitems: items.jsonl\nmax_new_tokens: true\n", ":3", "from 1 up"),
        ("name: [a]\nitems: items.jsonl\n", ":1", "a text belongs there"),
        ("name: mine\nitems: 5\n", ":2", "a text or a list"),
        ("name: mine\nitems: items.jsonl\ncolour: red\n", ":3", "unknown field 'colour'"),
        ("name: mine\nitems: [items.jsonl\n", ":", "not valid YAML"),
        ("- a\n- b\n", "", "at its top level"),
        ("", "", "at its top level"),
    ],
)
def test_mistakes_in_the_task_file(tmp_path, yaml, line, words):
    path = write_task(tmp_path, yaml)
    with pytest.raises(TaskError) as caught:
        load_task(path)
    assert f"mine.yaml{line}" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{nope", "not JSON"),
        ("[1, 2]", "a JSON object"),
        ({"id": "b", "main": "x"}, "'aux'"),
        ({"id": "b", "main": "  ", "aux": "y"}, "'main'"),
        ({"id": 3, "main": "x", "aux": "y"}, "'id'"),
        ({"main": "x", "aux": "y", "anwser": "z"}, "unknown field 'anwser'"),
        ({"main": "x", "aux": "y", "options": "(1)"}, "'options'"),
        ({"main": "x", "aux": "y", "options": ["(1)", "(2)"], "answer": "3"}, "'3'"),
        ({"main": "x", "aux": "y", "answer": ""}, "'answer' is empty"),
        (GOOD, "'a' a second time"),
    ],
)
def test_mistakes_in_the_items_name_the_line(tmp_path, row, words):
    path = write_items(tmp_path / "prompts.jsonl", GOOD, "", row)
    with pytest.raises(TaskError) as caught:
        load_prompts(path)
    assert "prompts.jsonl:3: " in str(caught.value)
    assert words in str(caught.value)


def test_prompts_need_little(tmp_path):
    path = write_items(tmp_path / "p.jsonl", {"main": "x", "aux": "y"}, {"main": "z", "aux": "w"})
    task = load_prompts(path)
    assert [item.id for item in task.items] == ["1", "2"]
    assert task.name == "p"
    assert task.rule == "contains"


def test_prompts_with_options_are_judged_by_option(tmp_path):
    path = write_items(tmp_path / "p.jsonl", GOOD | {"options": ["(1)", "(2)"], "answer": "(2)"})
    assert load_prompts(path).rule == "option"


def test_items_in_memory():
    task = task_of([Item("a", "sw", "en", "x", "y"), {"main": "z", "aux": "w", "answer": "v"}])
    assert [item.id for item in task.items] == ["a", "2"]
    assert (task.name, task.rule, task.direction) == ("items", "contains", "custom")


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "no items"),
        ([GOOD, GOOD], "item 2: the id 'a'"),
        ([GOOD, {"main": "x"}], "item 2: the field 'aux'"),
        ([GOOD | {"answer": " "}], "item 1: the field 'answer' is empty"),
        ([GOOD, "x"], "item 2: an Item, or a mapping of its fields, belongs here, not 'x'"),
    ],
)
def test_mistakes_of_items_in_memory(items, words):
    with pytest.raises(TaskError, match=words):
        task_of(items)


def test_byte_order_mark_and_line_separators_within_texts(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD | {"main": "a\u2028b"}).encode() + b"\r\n")
    assert load_prompts(path).items[0].main == "a\u2028b"
    raw = json.dumps(GOOD | {"main": "a\u2028b"}, ensure_ascii=False)
    path.write_text(raw, encoding="utf-8")
    assert load_prompts(path).items[0].main == "a\u2028b"


def test_files_that_cannot_be_read(tmp_path):
    binary = tmp_path / "b.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    empty = write_items(tmp_path / "e.jsonl")
    for path, words in [
        (binary, "not UTF-8"),
        (empty, "holds no items"),
        (tmp_path / "none.jsonl", "No such file"),
        (tmp_path, "directory"),
    ]:
        with pytest.raises(TaskError, match=words):
            load_prompts(path)


def test_unknown_task_names_what_would_do(tmp_path):
    with pytest.raises(TaskError, match="Unknown task 'nope'.*path of a task's YAML"):
        load_task("nope")
    with pytest.raises(TaskError, match="--prompts"):
        load_task(write_items(tmp_path / "p.jsonl", GOOD))


@pytest.fixture
def task(tmp_path):
    rows = [
        GOOD | {"id": f"{lang}-{split}-{k}", "lang": lang, "split": split}
        for k in range(3)
        for lang in ("sw", "hi")
        for split in ("pilot", "unseen")
    ]
    return load_task(write_task(tmp_path, rows=rows))


def test_select_by_language_split_and_limit(task):
    assert len(task.items) == 12
    assert task.splits == ("pilot", "unseen")
    assert {item.lang for item in task.select(["hi"]).items} == {"hi"}
    assert {item.split for item in task.select(splits=["pilot"]).items} == {"pilot"}
    limited = task.select(limit=1).items
    assert [item.id for item in limited] == [
        "sw-pilot-0", "sw-unseen-0", "hi-pilot-0", "hi-unseen-0"
    ]  # fmt: skip
    assert len(task.select(["sw"], ["unseen"], 2).items) == 2


def test_select_by_the_language_of_aux(tmp_path):
    rows = [
        GOOD | {"id": f"{aux}{k}", "lang": "en", "aux_lang": aux}
        for k in range(3)
        for aux in ("sw", "hi")
    ]
    culture = load_task(write_task(tmp_path, rows=rows))
    assert culture.languages == ("en",)
    assert {item.aux_lang for item in culture.select(aux_languages=["hi"]).items} == {"hi"}
    assert [item.id for item in culture.select(limit=1).items] == ["sw0", "hi0"]


def test_select_that_leaves_nothing(task):
    only_pilot = task.select(["sw"], ["pilot"])
    both = replace(task, items=(*only_pilot.items, *task.select(["hi"], ["unseen"]).items))
    with pytest.raises(TaskError, match="no items that are all"):
        both.select(["sw"], ["unseen"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"languages": ["fr"]}, "no language 'fr': it has sw, hi"),
        ({"splits": ["final"]}, "no split 'final'"),
        ({"aux_languages": ["fr"]}, "no aux language 'fr': it has en"),
        ({"languages": []}, "empty"),
        ({"limit": 0}, "1 or more"),
    ],
)
def test_select_refuses_what_is_not_there(task, arguments, words):
    with pytest.raises(TaskError, match=words):
        task.select(**arguments)


def test_hash_is_of_content_not_of_presentation(tmp_path):
    first = load_task(write_task(tmp_path))
    second = load_task(write_task(tmp_path, "title: T\nitems: items.jsonl\nname: mine\n"))
    other = load_task(write_task(tmp_path, rows=(GOOD | {"answer": "y"},)))
    assert first.hash == second.hash
    assert first.hash != other.hash


def test_shipped_tasks_load_and_hold_together():
    for summary in list_tasks():
        if summary.items is None:
            continue  # its data is elsewhere: see test_benchmarks
        task = load_task(summary.name)
        assert task.name == summary.name
        assert len(task.items) == summary.items
        assert len({item.id for item in task.items}) == len(task.items)
        assert all(item.answer for item in task.items)
