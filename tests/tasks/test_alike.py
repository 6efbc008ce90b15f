"""Options, labels and gold answers that cannot do their work are refused with the task."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import Item, load_prompts, load_task, task_of
from crosslatent.tasks.naming import clash
from crosslatent.tasks.task_loading import shipped_files
from crosslatent.tasks.yaml_file import read_yaml

ALIKE = [
    ("Yes", "yes"),
    ("A", "(A)"),
    ("(1)", "(१)"),
    ("A", "a"),
    ("А", "А."),
    ("(ا)", "ا"),
    ("甲", "（甲）"),
    ("①", "1"),
    ("Ⅱ", "II"),
    ("１２", "(12)"),
    ("Asia", "Asia\u200b"),
    ("Asia", "\u00adAsia"),
    ("مرحبا", "مـرحبا"),
    ("New York", "New\u00a0York"),
    ("New York", "New  York"),
    ("don't", "don’t"),
    ("co-op", "co\u2011op"),
    ("é", "e\u0301"),
    ("Straße", "STRASSE"),
    ("ﻣﺮﺣﺒﺎ", "مرحبا"),
    ("(B)", "see (B)"),
    ("是", "（是）"),
    ("가", "\u1100\u1161"),
]
DIFFERENT = [
    ("America", "North America"),
    ("是", "不是"),
    ("हाँ", "नहीं"),
    ("1", "12"),
    ("-5", "5"),
    ("3", "3.5"),
    ("A", "\u0410"),  # Latin and Cyrillic
    ("<", ">"),
    ("C", "C++"),
    ("ırak", "irak"),
]


def fields(options, **more):
    answer = options[0]
    return {"main": "x?", "aux": "y?", "answer": answer, "options": list(options), **more}


def jsonl(folder, rows):
    path = folder / "items.jsonl"
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def from_prompts(folder, row):
    return load_prompts(jsonl(folder, [row]))


def from_yaml(folder, row):
    jsonl(folder, [row])
    (folder / "t.yaml").write_text("name: t\nitems: items.jsonl\n", encoding="utf-8")
    return load_task(folder / "t.yaml")


def from_python(_folder, row):
    return task_of([row])


def from_item(_folder, row):
    options = tuple(row["options"]) if "options" in row else None
    return task_of([Item("q", "und", "und", row["main"], row["aux"], row["answer"], options)])


def from_rows(folder, row):
    jsonl(folder, [row])
    (folder / "t.yaml").write_text(
        "name: t\nlanguages: {en: {}}\ntemplate: '{{ main }}'\nanswer: answer\n"
        + ("options: given\n" if "options" in row else "")
        + "rows: {files: 'items.jsonl', let: {given: 'options'}}\n".replace(
            ", let: {given: 'options'}" if "options" not in row else "", ""
        ),
        encoding="utf-8",
    )
    return load_task(folder / "t.yaml", languages=["en"], aux_languages=["en"])


def from_released(folder, row):
    for name, value in (("main", row["main"]), ("gold", row)):
        (folder / "d" / "s").mkdir(parents=True, exist_ok=True)
        line = json.dumps(value, ensure_ascii=False)
        (folder / "d" / "s" / f"{name}.json").write_text(line + "\n", encoding="utf-8")
    (folder / "t.yaml").write_text(
        "name: t\nlanguages: {en: {}, sw: {}}\ndirection: en->x\nreleased:\n"
        "  splits: {pilot: s}\n  main: main.json\n  aux: main.json\n  columns: {gold: gold.json}\n"
        "  answer: gold.answer\n" + ("  options: gold.options\n" if "options" in row else ""),
        encoding="utf-8",
    )
    return load_task(folder / "t.yaml", data=folder / "d")


EVERYWHERE = [from_prompts, from_yaml, from_python, from_item, from_rows, from_released]


@pytest.mark.parametrize("options", ALIKE)
def test_options_that_cannot_be_told_apart(tmp_path, options):
    with pytest.raises(TaskError, match=r"items.jsonl:1: the options .* cannot be distinguished"):
        from_prompts(tmp_path, fields(options))


@pytest.mark.parametrize("options", DIFFERENT)
def test_options_that_can(tmp_path, options):
    assert from_prompts(tmp_path, fields(options)).items[0].options == options


@pytest.mark.parametrize("load", EVERYWHERE)
def test_they_are_refused_wherever_tasks_come_from(tmp_path, load):
    assert load(tmp_path, fields(("(1)", "(2)"))).items[0].answer == "(1)"
    for options in (("No", "NO"), ("Б", "(Б)"), ("(1)", "(١)"), ("Asia", "As\u200dia")):
        with pytest.raises(TaskError, match="cannot be distinguished"):
            load(tmp_path, fields(options))


@pytest.mark.parametrize("load", EVERYWHERE)
@pytest.mark.parametrize("gold", [".", "?!", "\u200b", "…", "\u2019", "\u3000", "。"])
def test_gold_answers_that_say_nothing(tmp_path, load, gold):
    row = {"main": "x?", "aux": "y?", "answer": gold}
    with pytest.raises(TaskError, match=r"is empty|by accident"):
        load(tmp_path, row)


@pytest.mark.parametrize("gold", ["+", "€", "7", "x", "ー", "☺"])
def test_short_gold_answers_that_say_something(tmp_path, gold):
    assert from_prompts(tmp_path, {"main": "x", "aux": "y", "answer": gold}).items[0].answer == gold


@pytest.mark.parametrize("empty", ["", " ", "\u200b", "\u00ad\u2060", "\ufe0f", "\u3164"])
def test_options_and_labels_that_nobody_sees(tmp_path, empty):
    with pytest.raises(TaskError, match="no character that can be seen"):
        from_prompts(tmp_path, fields(("(1)", empty)))
    for name in ("labels", "aux_labels"):
        with pytest.raises(TaskError, match="has no label"):
            from_prompts(tmp_path, fields(("(1)", "(2)"), **{name: ["yes", empty]}))


@pytest.mark.parametrize(
    "labels",
    [
        ("Neutral", "NEUTRAL"),
        ("see (2)", "other"),
        ("(1) yes", "yes"),
        ("2", "1"),
        ("don't", "don’t"),
        ("Asia", "A\u200bsia"),
    ],
)
def test_labels_are_refused_where_the_rule_reads_them(tmp_path, labels):
    jsonl(tmp_path, [fields(("(1)", "(2)"), labels=list(labels))])
    yaml = tmp_path / "t.yaml"
    yaml.write_text("name: t\nitems: items.jsonl\nrule: option_or_label\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"t.yaml:3: .* cannot be distinguished"):
        load_task(yaml)
    yaml.write_text("name: t\nitems: items.jsonl\nrule: option\n", encoding="utf-8")
    assert load_task(yaml).items[0].labels == labels


def test_labels_of_aux_too(tmp_path):
    row = fields(("(1)", "(2)"), labels=["ja", "nein"], aux_labels=["yes", "YES"])
    jsonl(tmp_path, [row])
    (tmp_path / "t.yaml").write_text("name: t\nitems: items.jsonl\nrule: option_or_label\n")
    with pytest.raises(TaskError, match="cannot be distinguished"):
        load_task(tmp_path / "t.yaml")


def test_options_within_each_other_do_not_fit_the_rule_contains(tmp_path):
    jsonl(tmp_path, [fields(("America", "North America"))])
    yaml = tmp_path / "t.yaml"
    yaml.write_text("name: t\nitems: items.jsonl\nrule: contains\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"'contains', which cannot tell .*'North America'"):
        load_task(yaml)


@pytest.mark.parametrize("name", sorted(shipped_files()))
def test_shipped_options_and_labels_can_be_told_apart(name):
    data = read_yaml(*shipped_files()[name]).data
    lists = [data, *data.get("languages", {}).values()]
    for part in lists:
        options = part.get("options", data.get("options"))
        labels = part.get("labels")
        if isinstance(options, list):
            assert clash(options, labels if isinstance(labels, list) else None) is None
    if data.get("items"):
        assert load_task(name).items
