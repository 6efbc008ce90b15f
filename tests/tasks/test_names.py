"""Every column can be reached, whatever its name; a name with two values is refused."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import load_task

OURS = ("number", "lang", "code", "language", "aux_lang", "aux_language", "words", "letters")


def load(folder, columns, yaml, languages="{en: {words: {w: W}}, sw: {words: {w: V}}}"):
    (folder / "x.jsonl").write_text(json.dumps(columns, ensure_ascii=False), encoding="utf-8")
    (folder / "t.yaml").write_text(
        f"name: t\nlanguages: {languages}\nrows: {{files: x.jsonl}}\n{yaml}", encoding="utf-8"
    )
    (item,) = load_task(folder / "t.yaml", languages=["sw"]).items
    return item


def quoted(name):
    """The name within a template within YAML's single quotes."""
    return json.dumps(name, ensure_ascii=False).replace("'", "''")


@pytest.mark.parametrize("name", [*OURS, "options", "labels"])
def test_a_column_called_like_one_of_ours(tmp_path, name):
    columns = {name: "the column's", "q": "x"}
    judged = 'options: ["(1)", "(2)"]\nlabels: ["one", "two"]\n'
    yaml = (
        judged + f"template: '{{{{ row.{name} }}}}, {{{{ row[\"{name}\"] }}}}|{{{{ xl.{name} }}}}'"
    )
    item = load(tmp_path, columns, yaml)
    assert item.main.startswith("the column's, the column's|")
    assert not item.main.endswith("the column's")
    for field in (
        f"template: '{{{{ {name} }}}}'",
        f"template: '{{{{ q }}}}'\nanswer: '{name}'",
        f"template: '{{{{ q }}}}'\nanswer: \"'(1)' if {name} else '(2)'\"",
        f"template: '{{% if {name} == 3 %}}a{{% endif %}}b'",
        f"template: '{{{{ q }}}}'\nstrata: {{s: '{name}'}}",
        f"template: '{{{{ q }}}}'\ncluster: '{name}'",
        f"template: '{{{{ q }}}}'\nshares: '{name}'",
    ):
        with pytest.raises(TaskError) as caught:
            load(tmp_path, columns, judged + field)
        told = str(caught.value)
        assert "t.yaml:" in told
        assert "x.jsonl:1" in told
        assert f'{name!r} is both a column ("the column\'s")' in told
        assert f"write row.{name} for the column, or xl.{name} for ours" in told
    # What is not used does no harm, and what is the same is not in doubt.
    assert load(tmp_path, columns, "template: '{{ q }}'").main == "x"


def test_the_same_value_is_in_no_doubt(tmp_path):
    columns = {"lang": "sw", "code": "sw", "number": 0.0, "options": [1.0, 2.0], "q": "x"}
    yaml = (
        "options: options\nanswer: options[0]\ntemplate: '{{ lang ~ code ~ number ~ options[0] }}'"
    )
    columns_en = columns | {"lang": "en", "code": "en"}
    for code, row in (("sw", columns), ("en", columns_en)):
        (tmp_path / f"{code}.jsonl").write_text(json.dumps(row))
    (tmp_path / "t.yaml").write_text(
        "name: t\nlanguages: {en: {}, sw: {}}\nrows: {files: '{code}.jsonl'}\n" + yaml
    )
    (item,) = load_task(tmp_path / "t.yaml", languages=["sw"]).items
    assert (item.main, item.aux, item.answer) == ("swsw01", "enen01", "1")


def test_what_the_author_names_is_the_authors(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"number": 7}))
    (tmp_path / "t.yaml").write_text(
        "name: t\nlanguages: {en: {}, sw: {}}\n"
        "template: '{{ number }} {{ xl.number }} {{ row.number }}'\n"
        "rows: {files: x.jsonl, let: {number: row.number + 1}}\n"
    )
    assert load_task(tmp_path / "t.yaml", languages=["sw"]).items[0].main == "8 0 7"


NAMES = [
    "Answer Key", "Option 1", "a-b", "a.b", "1st", "1", "", " ", " padded ", "答案", "प्रश्न", "سؤال",
    "Frage?", "it's", "50%", "a/b", "{{ x }}", "#", "class", "if", "not", "in", "true", "None",
    "none", "self", "loop", "range", "dict", "namespace", "lipsum", "cycler", "super", "caller",
    "items", "keys", "values", "get", "count", "index", "copy", "pop", "update", "row", "xl",
    "naming", "lacks", "__class__", "_x", "text", "key", "id", "environment", "context",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_any_name_are_reached_in_all_fields(tmp_path, name):
    form = f"row[{quoted(name)}]"
    columns = {name: "B", "q": "x"}
    yaml = (
        f"options: '[{form}, \"A\"]'\nanswer: '{form}'\nlabels: '[{form} ~ 1, \"a\"]'\n"
        f"cluster: '{form}'\nstrata: {{s: '{form}'}}\nshares: '[{form} | length, 1]'\n"
        f"template: '{{{{ q }}}} {{{{ {form} }}}}'"
    )
    (tmp_path / "x.jsonl").write_text(json.dumps(columns), encoding="utf-8")
    (tmp_path / "t.yaml").write_text(
        "name: t\nlanguages: {en: {}, sw: {}}\nrows:\n  files: x.jsonl\n"
        f"  key: '{form}'\n  where: '{form} == \"B\"'\n  let: {{a: '{form}'}}\n"
        f"  each: {{b: '[{form}]'}}\n{yaml}",
        encoding="utf-8",
    )
    (item,) = load_task(tmp_path / "t.yaml", languages=["sw"]).items
    assert (item.id, item.main, item.aux) == ("sw-en/B/B", "x B", "x B")
    assert (item.answer, item.options, item.labels) == ("B", ("B", "A"), ("B1", "a"))
    assert (item.cluster, item.strata, item.shares) == ("B", {"s": "B"}, (1.0, 1.0))


@pytest.mark.parametrize(
    "name",
    ["range", "dict", "namespace", "lipsum", "cycler", "joiner", "items", "text", "答案", "_x"],
)
def test_columns_called_like_functions_of_jinja(tmp_path, name):
    assert load(tmp_path, {name: "B"}, f"template: '{{{{ {name} }}}}'").main == "B"
    # In a row that lacks it, no function stands in the prompt.
    with pytest.raises(TaskError, match=r"t.yaml:4: .*x.jsonl:1"):
        load(tmp_path, {"other": "B"}, f"template: '{{{{ {name} }}}}'")


@pytest.mark.parametrize("name", ["self", "loop", "true", "none", "row", "xl", "False"])
def test_columns_that_cannot_be_bare(tmp_path, name):
    with pytest.raises(TaskError, match=rf"{name!r} is both a column and .*write row.{name} for"):
        load(tmp_path, {name: "B"}, f"template: 'a {{{{ {name} }}}}'")
    assert load(tmp_path, {name: "B"}, f"template: '{{{{ row.{name} }}}}'").main == "B"


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "pop", "copy", "update"])
def test_keys_go_before_methods(tmp_path, name):
    columns = {name: "B", "inner": {name: "C"}}
    item = load(
        tmp_path,
        columns,
        f"template: '{{{{ row.{name} }}}}{{{{ inner.{name} }}}}{{{{ words.{name} }}}}'",
        languages=f"{{en: {{words: {{{name}: D}}}}, sw: {{words: {{{name}: E}}}}}}",
    )
    assert (item.main, item.aux) == ("BCE", "BCD")
    with pytest.raises(TaskError, match="method or function"):
        load(tmp_path, {"inner": {}}, f"template: 'a {{{{ inner.{name} }}}}'")
    with pytest.raises(TaskError, match="method or function"):
        load(tmp_path, {"inner": {}}, f"template: 'a {{{{ 1 ~ row.{name} }}}}'")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("Answer Key", "cannot be read .*; a column that is not a single word is row"),
        ("Option 1", "cannot be read .*row\\['NAME'\\]"),
        ("1st", "cannot be read .*row\\['NAME'\\]"),
        ("a-b", "there is no 'a': the columns are 'Answer Key', 'a-b', 'q'"),
        ("row['Answer key']", "there is no 'Answer key': the columns are 'Answer Key'"),
        ("q | nofilter", r"cannot be read \(No filter named 'nofilter'.\)\.$"),
        ("row.answer", "there is no 'answer': the columns are 'Answer Key'"),
        ("gold", "there is no 'gold': the columns are 'Answer Key'"),
    ],
)
def test_messages_say_how_columns_are_reached(tmp_path, code, words):
    columns = {"Answer Key": "A", "a-b": "B", "q": "x"}
    for yaml in (f"template: '{{{{ q }}}}'\nanswer: \"{code}\"", f'template: "{{{{ {code} }}}}"'):
        with pytest.raises(TaskError, match=words):
            load(tmp_path, columns, yaml)


def test_a_global_is_not_what_is_missing(tmp_path):
    with pytest.raises(TaskError, match="can only concatenate"):
        load(tmp_path, {"q": "x"}, "template: '{{ range(3) ~ q + 1 }}'")


def test_released_columns_called_like_ours(tmp_path):
    folder = tmp_path / "data" / "s"
    folder.mkdir(parents=True)
    for code in ("en", "sw"):
        (folder / f"{code}.json").write_text('"Je?:"\n')
        (folder / f"{code}.n.json").write_text("41\n")
    yaml = (
        "name: t\ndirection: en->x\nlanguages: {en: {}, sw: {}}\nreleased:\n  splits: {pilot: s}\n"
        '  main: "{code}.json"\n  aux: "{aux_code}.json"\n  columns: {number: "{code}.n.json"}\n'
    )
    (tmp_path / "t.yaml").write_text(yaml + "  answer: number\n")
    with pytest.raises(TaskError, match="write row.number for the column, or xl.number for ours"):
        load_task(tmp_path / "t.yaml", data=tmp_path / "data", languages=["sw"])
    (tmp_path / "t.yaml").write_text(yaml + "  answer: row.number\n  let: {lang: \"'zz'\"}\n")
    (item,) = load_task(tmp_path / "t.yaml", data=tmp_path / "data", languages=["sw"]).items
    assert (item.answer, item.lang, item.id) == ("41", "sw", "sw-en/pilot/1")
