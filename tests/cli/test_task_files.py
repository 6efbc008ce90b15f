"""Task and prompt files with mistakes: one sentence with file, line and field; exit code 2."""

from __future__ import annotations

import json

import pytest

from support.models import CONTEXT

YAML = """\
name: mine
direction: en->x
rule: option
items: items.jsonl
"""
ROWS_YAML = """\
name: mine
template: "{{ text }}:"
options: ["(1)", "(2)"]
labels: [one, two]
answer: options[gold]
languages: {en: {}, sw: {}}
rows: {files: "{code}.jsonl"}
"""
GOOD = {"main": "Mji?", "aux": "City?", "options": ["(1)", "(2)"], "answer": "(1)"}


def item(name, **changes):
    fields = {"id": str(name), **GOOD, **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not None})


def fortieth(bad):
    """Forty items, the 37th of which is `bad`."""
    lines = [item(k) for k in range(40)]
    lines[36] = bad
    return "\n".join(lines)


ITEM_MISTAKES = [
    (fortieth(item("x", aux=None)), "items.jsonl:37", "'aux'"),
    (fortieth(item("x", main=5)), "items.jsonl:37", "'main' is 5"),
    (fortieth(item("x", options="(1)")), "items.jsonl:37", "a list of texts belongs there"),
    (fortieth(item("x", shares=[1])), "items.jsonl:37", "1 shares for 2 options"),
    (fortieth(item("x", labels=["one"])), "items.jsonl:37", "1 labels for 2 options"),
    (fortieth(item("x", labels=["one", ""])), "items.jsonl:37", "option '(2)' has no label"),
    (fortieth(item("7")), "items.jsonl:37", "'7' a second time"),
    (fortieth(item("x", main=" \n")), "items.jsonl:37", "not empty"),
    (fortieth('{"main": "x", "aux": '), "items.jsonl:37", "not JSON"),
    (fortieth('{"main": "half \\ud83d", "aux": "x"}'), "items.jsonl:37", "half of a character"),
    (fortieth(item("x", options=None, answer=None, labels=["a"])), "items.jsonl:37", "no options"),
]


@pytest.mark.parametrize(("lines", "where", "words"), ITEM_MISTAKES)
@pytest.mark.parametrize("kind", ["yaml", "jsonl"])
@pytest.mark.parametrize("command", ["validate", "sweep"])
def test_items(cli, tiny_folder, tmp_path, lines, where, words, kind, command):
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(YAML, encoding="utf-8")
    task = tmp_path / ("mine.yaml" if kind == "yaml" else "items.jsonl")
    if command == "validate":
        result = cli("tasks", "validate", task)
    else:
        given = f"--task={task}" if kind == "yaml" else f"--prompts={task}"
        result = cli("sweep", f"--model={tiny_folder}", given, f"--out={tmp_path / 'run'}")
    result.assert_refused(where, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        (("name: mine\n", ""), "mine.yaml", "'name' is missing"),
        (("rule: option", "rule: fuzzy"), "mine.yaml:3", "one of option"),
        (("rule: option", "max_new_tokens: many"), "mine.yaml:3", "a whole number"),
        (("rule: option", "metric: [f1]"), "mine.yaml:3", "a text belongs there"),
        (("rule: option", "rule: option_or_label"), "mine.yaml:3", "lacks the options or labels"),
        (("items.jsonl", "none.jsonl"), "mine.yaml:4", "'none.jsonl'"),
        (("direction: en->x", "direction: [broken"), "mine.yaml:3", "not valid YAML"),
    ],
)
def test_descriptions(cli, tmp_path, change, where, words):
    (tmp_path / "items.jsonl").write_text(item("a"), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(YAML.replace(*change), encoding="utf-8")
    cli("tasks", "validate", tmp_path / "mine.yaml").assert_refused(where, words)


ROW = {"text": "x", "gold": 0}


@pytest.mark.parametrize(
    ("yaml", "rows", "words"),
    [
        (ROWS_YAML, {"sw": [ROW, ROW], "en": [ROW]}, ["2 rows in 'sw' and 1 in 'en'"]),
        (ROWS_YAML, {"sw": [ROW, {"text": "y"}], "en": [ROW, ROW]}, ["sw.jsonl:2", "'gold'"]),
        (ROWS_YAML.replace("two]", "]"), {"sw": [ROW], "en": [ROW]}, ["1 labels for 2 options"]),
        (ROWS_YAML.replace("[one,", "['',"), {"sw": [ROW], "en": [ROW]}, ["'(1)' has no label"]),
        (
            ROWS_YAML.replace("}}:", "}}"),
            {"sw": [ROW | {"text": ""}], "en": [ROW]},
            ["empty prompt"],
        ),
        (ROWS_YAML, {"sw": [ROW]}, ["no file", "en.jsonl"]),
    ],
)
def test_rows(cli, tmp_path, yaml, rows, words):
    for lang, values in rows.items():
        lines = "\n".join(json.dumps(value) for value in values)
        (tmp_path / f"{lang}.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(yaml, encoding="utf-8")
    cli("tasks", "validate", tmp_path / "mine.yaml", "--lang=sw").assert_refused(*words)


def test_wrong_encoding(cli, tmp_path):
    lines = f"{item('a')}\n{item('b', main='café')}"
    path = tmp_path / "items.jsonl"
    path.write_bytes(lines.replace("caf\\u00e9", "café").encode("latin-1"))
    cli("tasks", "validate", path).assert_refused("items.jsonl:2", "not UTF-8", "save it as UTF-8")


def test_prompts_longer_than_the_context(cli, tiny_folder, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text(fortieth(item("long", main="x" * CONTEXT)), encoding="utf-8")
    assert cli("tasks", "validate", path).code == 0  # no model, no context
    model = f"--model={tiny_folder}"
    cli("tasks", "validate", path, model).assert_refused("'long'", f"context of {CONTEXT}")
    sweep = ["sweep", model, f"--prompts={path}", f"--out={tmp_path / 'run'}", "--strict"]
    cli(*sweep).assert_refused("'long'", "context")
    path.write_text(item("long", main="x" * CONTEXT), encoding="utf-8")
    cli(*sweep[:-1]).assert_refused("None of the 1 items", "context")
    assert not (tmp_path / "run").exists()


def test_prompts_without_counterparts_are_checked_for_aux_auto(cli, tiny_folder, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text(item("a", aux=None), encoding="utf-8")
    cli("tasks", "validate", path).assert_refused("'aux'", "--aux auto")
    model = f"--model={tiny_folder}"
    result = cli("tasks", "validate", path, "--aux=auto", model)
    assert result.code == 0
    assert "1 items have no counterpart yet" in result.out
    assert "(none; --aux auto translates main)" in cli("tasks", "show", path, "--aux=auto").out
    cli("tasks", "show", path, "--aux=auto", "--chat").assert_refused("--model")


def test_what_holds_together_is_counted(cli, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text(
        "\n".join(item(k, lang="sw", main=f"Mji {k}?") for k in range(3)), encoding="utf-8"
    )
    result = cli("tasks", "validate", path)
    assert result.code == 0
    assert "3 items, judged by option" in result.out
    assert "(1) is right in 100%" in result.out
    data = cli("tasks", "validate", path, "--json").json
    assert data["groups"][0]["clusters"] == 3
    assert data["groups"][0]["majority"] == "(1)"


def test_show_marks_the_last_prompt_token(cli, tiny_folder, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text(item("a"), encoding="utf-8")
    result = cli("tasks", "show", path, f"--model={tiny_folder}")
    assert "4 tokens: M|j|i|▶?◀" in result.out
    assert "5 tokens: C|i|t|y|▶?◀" in result.out
    prompts = cli("tasks", "show", path, f"--model={tiny_folder}", "--json").json["prompts"]
    assert [prompt["role"] for prompt in prompts] == ["main", "aux"]
    assert prompts[0]["tokens"][prompts[0]["last"]] == "?"
    cli("tasks", "show", path, f"--model={tiny_folder}", "--chat").assert_refused("chat template")


OPEN = {"options": None, "lang": "sw", "aux_lang": "en", "answer": "Nairobi"}


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ([OPEN], 1),
        ([OPEN, OPEN | {"aux_answer": "Nairobi"}], 1),
        ([OPEN | {"aux_answer": "Nairobi"}], 0),
        ([OPEN | {"aux_lang": "sw-KE"}], 0),
        ([OPEN | {"answer": None}], 0),
        ([OPEN | {"lang": None, "aux_lang": None}], 1),
        ([{"lang": "sw", "aux_lang": "en"}], 0),
    ],
)
def test_open_questions_without_an_answer_in_aux(cli, tiny_folder, tmp_path, changes, silent):
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(item(k, **change) for k, change in enumerate(changes)))
    told = f"translate-test is not known for {silent} of {len(changes)} items"
    assert (told in cli("tasks", "validate", path).out.replace("\n", " ")) == bool(silent)
    sweep = cli(
        "sweep", f"--model={tiny_folder}", f"--prompts={path}", f"--out={tmp_path / 'run'}",
        "--pairs=0:0", "--max-new-tokens=1",
    )  # fmt: skip
    assert sweep.code == 0
    assert (told in sweep.err.replace("\n", " ")) == bool(silent)


def test_a_json_list_of_items(cli, tmp_path):
    path = tmp_path / "items.json"
    path.write_text(json.dumps([json.loads(item(k)) for k in range(3)], indent=1))
    assert "3 items, judged by option" in cli("tasks", "validate", path).out
    path.write_text('[{"main": "x",\n "aux": "y", "aux": "z"}]')
    cli("tasks", "validate", path).assert_refused("items.json:1", "'aux' occurs twice")
