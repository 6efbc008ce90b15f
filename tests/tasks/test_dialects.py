"""Text tables and JSON as they are found: nothing is swallowed, and what is in doubt is asked."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.errors import CrosslatentError, TaskError
from crosslatent.core.pairs import resolve_pairs
from crosslatent.core.untrusted import parse_json
from crosslatent.tasks import load_prompts, load_task

TASK = """\
name: t
answer: label
template: "{{ sentence }}|"
languages: {en: {}, sw: {}}
"""


def load(folder, text, name="x.tsv", more="", task=TASK):
    """The rows of one file, as prompts and answers."""
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    (folder / "t.yaml").write_text(f"{task}rows: {{files: {name}{more}}}\n", encoding="utf-8")
    items = load_task(folder / "t.yaml", languages=["sw"]).items
    return [(item.main[:-1], item.answer) for item in items]


def table(*rows, sep="\t", end="\n"):
    lines = [sep.join(row) for row in (("sentence", "label"), *rows)]
    return end.join(lines) + end


UNQUOTED = [
    [('"Good morning he said', "a"), ("He left", "b"), ('She came back"', "c")],
    [('"Yes!"', "a"), ('He said "no"', "b")],
    [('5" pipe', "a"), ('6" pipe', "b")],
    [('"', "a"), ('"', "b"), ("x", "c")],
    [('«"Он', '"a'), ("ушёл", 'b"'), ('домой"»', "z")],
    [('"他说', "a"), ("你好", 'b"'), ("再见", "c")],
    [("it''s `quoted`", "a"), ("'x", "b"), ("y'", "c")],
    [("a\\", "b"), ("c\\tn", "d")],
]


@pytest.mark.parametrize("rows", UNQUOTED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_quotes_of_a_tsv_are_letters(tmp_path, rows, end, mark):
    assert load(tmp_path, mark + table(*rows, end=end).encode()) == rows


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e", "\x85"])
@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.jsonl"])
def test_other_line_separators_are_letters(tmp_path, letter, name):
    rows = [(f"one{letter}two", "a"), ("three", "b")]
    if name == "x.jsonl":
        escaped = letter < " "
        text = "\n".join(
            json.dumps({"sentence": sentence, "label": label}, ensure_ascii=escaped)
            for sentence, label in rows
        )
    else:
        text = table(*rows, sep="\t" if name == "x.tsv" else ",")
    assert load(tmp_path, text, name) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('sentence,label\n"two\nlines",a\n', [("two\nlines", "a")]),
        ('sentence,label\n"one, two\nthree",a\nx,b\n', [("one, two\nthree", "a"), ("x", "b")]),
        ('sentence,label\n"said ""hi""",a\n', [('said "hi"', "a")]),
        ('sentence,label\nsaid "hi",a\n', [('said "hi"', "a")]),
        ('"sentence","label"\r\n"x\r\ny","a"\r\n', [("x\ny", "a")]),
        ("sentence,label\n\nx,a\n\n\ny,b\n", [("x", "a"), ("y", "b")]),
    ],
)
def test_quotes_of_a_csv_hold_commas_and_lines(tmp_path, text, rows):
    assert load(tmp_path, text, "x.csv") == rows


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ('sentence,label\n"Good he said,a\nHe left,b\nback",c\n', "x.csv", ":2: quotes make one"),
        ('sentence,label\nx,a\n"Oh,a\nHe left,b\n', "x.csv", ":3: the row that begins here"),
        ('sentence,label\nx,"a\ny,b\nz,c"\n', "x.csv", ":2: quotes make one row of the lines 2"),
        ('sentence,label\n"a"b,c\n', "x.csv", ":2: the row that begins here"),
        ('sentence\tlabel\n"said ""hi"""\ta\n', "x.tsv", ":2: the field .* looks quoted"),
        ('"sentence"\t"label"\n"x"\t"a"\n', "x.tsv", ":1: the field .* looks quoted"),
        ('sentence\tlabel\n"two\nlines"\ta\n', "x.tsv", ":2: this row has more or fewer fields"),
        ("sentence;label\nx;a\n", "x.csv", ":1: .*delimiter: ';'"),
        ("sentence\tlabel\nx\ta\n", "x.csv", r":1: .*delimiter: '\\t'"),
        ("sentence,label\nx,a\n", "x.tsv", ":1: .*delimiter: ','"),
        ("sentence,label,label\nx,a,b\n", "x.csv", ":1: the column 'label' occurs 2 times here"),
        ("sentence,label\nx,a,\n", "x.csv", ":2: this row has more or fewer fields"),
        ("sentence,label\nx\n", "x.csv", ":2: this row has more or fewer fields"),
        ("", "x.csv", "the file is empty"),
        ("sentence, label\nx,a\n", "x.csv", "no 'label': the columns are 'sentence', ' label'"),
        ("sentence,label\nx\0y,a\n", "x.csv", ":2: this is not UTF-8 text"),
        ("sentence\tlabel\nx,a\n".encode("utf-16"), "x.tsv", ":1: this is not UTF-8 text"),
        ("sentence\tlabel\nx,a\n".encode("utf-16-le"), "x.tsv", ":1: this is not UTF-8 text"),
        ("sentence\tlabel\nok\ta\ncafé\tb\n".encode("latin-1"), "x.tsv", ":3: this is not UTF-8"),
    ],
)
def test_what_is_in_doubt_is_refused_with_its_line(tmp_path, text, name, words):
    with pytest.raises(TaskError, match=words):
        load(tmp_path, text, name)


def test_the_dialect_is_a_setting(tmp_path):
    swallowed = 'sentence,label\n"Good he said,a\nHe left,b\nback",c\n'
    assert load(tmp_path, swallowed, "x.csv", ", quoting: none")[0] == ('"Good he said', "a")
    one = [("Good he said,a\nHe left,b\nback", "c")]
    assert load(tmp_path, swallowed, "x.csv", ", quoting: double") == one
    quoted = 'sentence\tlabel\n"said ""hi""\nyes"\ta\n'
    assert load(tmp_path, quoted, more=", quoting: double") == [('said "hi"\nyes', "a")]
    assert load(tmp_path, quoted.replace("\nyes", ""), more=", quoting: none")[0][0] == (
        '"said ""hi"""'
    )
    assert load(tmp_path, "sentence;label\nx, y;a\n", "x.csv", ', delimiter: ";"') == [
        ("x, y", "a")
    ]
    for more, words in [
        (", quoting: maybe", "one of none, double"),
        (', delimiter: "::"', "a single character"),
    ]:
        with pytest.raises(TaskError, match=words):
            load(tmp_path, "sentence,label\n", "x.csv", more)
    for more in (", quoting: none", ', delimiter: ";"'):
        with pytest.raises(TaskError, match="is about files called .csv or .tsv"):
            load(tmp_path, "{}", "x.jsonl", more)
    with pytest.raises(TaskError, match="is about JSON files"):
        load(tmp_path, "", "x.csv", ", field: data")


ROWS = [{"sentence": "x", "label": "a"}, {"sentence": "y", "label": "b"}]
READ = [("x", "a"), ("y", "b")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("value", "more"),
    [
        (ROWS, ""),
        ({"q1": ROWS[0], "q2": ROWS[1]}, ""),
        ({"version": "1.1", "data": ROWS}, ", field: data"),
        ({"data": {"a": ROWS[0], "b": ROWS[1]}, "n": {"x": 1}}, ", field: data"),
        ({"说明": [1], "数据": ROWS}, ", field: 数据"),
    ],
)
def test_a_file_that_is_one_json_value(tmp_path, value, more, indent):
    text = "\ufeff\n" + json.dumps(value, indent=indent, ensure_ascii=False) + "\n\n"
    assert load(tmp_path, text, "x.json", more) == READ


def test_json_lines_may_be_called_json(tmp_path):
    for rows in (ROWS, ROWS[:1]):
        text = "\n".join(map(json.dumps, rows))
        assert load(tmp_path, text, "x.json") == READ[: len(rows)]


def test_keys_of_a_json_object_join_its_rows(tmp_path):
    (tmp_path / "t.yaml").write_text(TASK + "rows: {files: '{code}.json', unmatched: skip}\n")
    for code, keys in (("sw", "abc"), ("en", "ca")):
        data = {key: {"sentence": f"{code} {key}", "label": key} for key in keys}
        (tmp_path / f"{code}.json").write_text(json.dumps(data, indent=1))
    items = load_task(tmp_path / "t.yaml", languages=["sw"]).items
    assert [(item.id, item.main, item.aux) for item in items] == [
        ("sw-en/a", "sw a|", "en a|"),
        ("sw-en/c", "sw c|", "en c|"),
    ]
    (tmp_path / "t.yaml").write_text(
        TASK.replace("{{ sentence", "{{ row_key ~ xl.row_key ~ sentence")
        + "rows: {files: '{code}.json', unmatched: skip}\n"
    )
    assert load_task(tmp_path / "t.yaml", languages=["sw"]).items[0].main == "aasw a|"


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (json.dumps(ROWS, indent=1), "x.jsonl", ":1: a JSON value goes over several lines"),
        (json.dumps(ROWS[0], indent=1), "x.jsonl", ":1: a JSON value goes over several lines"),
        ('{"sentence": "x", "label": "a"}\n{\n"sentence": "y"}', "x.jsonl", ":2: a JSON value go"),
        ('{"sentence": "x", "label": "a"}\n{\n"sentence": "y"}', "x.json", ":2: a JSON value go"),
        (json.dumps(ROWS), "x.jsonl", ":1: .*a file that is one list is called .json"),
        (json.dumps({"v": 1, "data": ROWS}, indent=1), "x.json", "rows, field: data"),
        (json.dumps({"data": ROWS}, indent=1), "x.json", "this is one JSON object .*field: data"),
        ('[{"sentence": "x"},\n {"sentence": }]', "x.json", ":2: this is not JSON"),
        ('[{"sentence": "x", "label": "a"},\n 5]', "x.json", ":2: a JSON object .* not 5"),
        ("[\n]", "x.json", "gives no items"),
        ('{"sentence": "x", "label": NaN}', "x.jsonl", ":1: NaN is no number of JSON"),
        ('[\n{"sentence": "x", "label": -Infinity}]', "x.json", ":2: -Infinity is no number"),
    ],
)
def test_json_that_is_no_json_lines_is_said_to_be_json(tmp_path, text, name, words):
    with pytest.raises(TaskError, match=words):
        load(tmp_path, text, name)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ('{"sentence": "x", "label": "a", "label": "b"}', "x.jsonl", ":1: the key 'label' occurs"),
        (
            '{"sentence": "x", "label": "a"}\n{"sentence": {"t": 1, "t": 2}, "label": "a"}',
            "x.jsonl",
            ":2: the key 't' occurs twice",
        ),
        (
            '[\n{"sentence": "x", "label": "a"},\n{"sentence": "y", "sentence": "z"}]',
            "x.json",
            ":3: the key 'sentence' occurs twice",
        ),
        (
            '{\n"q1": {"sentence": "x", "label": "a"},\n"q1": {"sentence": "y", "label": "b"}}',
            "x.json",
            ":3: the key 'q1' is repeated here",
        ),
        ('{"sentence": "x", "\\u006cabel": "a", "label": "b"}', "x.jsonl", "'label' occurs twice"),
        ('{"s": [{"标签": 1, "标签": 1}], "label": "b"}', "x.jsonl", "'标签' occurs twice"),
    ],
)
def test_a_key_twice_is_refused(tmp_path, text, name, words):
    with pytest.raises(TaskError, match=words):
        load(tmp_path, text, name)


@pytest.mark.parametrize(
    "yaml",
    [
        "name: a\nname: b\n",
        "name: a\nlanguages:\n  en: {x: 1, x: 2}\n",
        "name: a\nlanguages:\n  en: {cities: [{n: 1, n: 2}]}\n",
        "name: a\nlanguages:\n  en: {cities: [[{n: 1, 'n': 2}]]}\n",
        "name: a\nlanguages: {en: {words: {a: x, a: y}}}\n",
    ],
)
def test_a_field_of_yaml_twice_is_refused(tmp_path, yaml):
    (tmp_path / "t.yaml").write_text(yaml)
    with pytest.raises(TaskError, match=r"t.yaml:\d: the field .* is repeated here"):
        load_task(tmp_path / "t.yaml")


def test_prompts_may_be_a_json_list(tmp_path):
    path = tmp_path / "p.json"
    rows = [{"main": "x", "aux": "y"}, {"main": "z", "aux": "w", "id": "q"}]
    path.write_text(json.dumps(rows, indent=1))
    assert [(item.id, item.main) for item in load_prompts(path).items] == [("2", "x"), ("q", "z")]
    path.write_text('[{"main": "x", "aux": "y",\n "main": "z"}]')
    with pytest.raises(TaskError, match=r"p.json:1: the key 'main' occurs twice"):
        load_prompts(path)
    path.write_text(json.dumps({"k1": rows[0]}, indent=1))
    assert load_prompts(path).items[0].id == "k1"
    path.write_text(json.dumps(rows))
    with pytest.raises(TaskError, match="is a file of items"):
        load_task(path)


def test_pairs_of_a_language_twice_are_refused(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_bytes(b'\xef\xbb\xbf{"sw": [0, 1]}')
    assert resolve_pairs(str(path), 4)
    path.write_text('{"sw": [0, 1], "sw": [2, 3]}')
    with pytest.raises(CrosslatentError, match="the key 'sw' occurs twice"):
        resolve_pairs(str(path), 4)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', '[{"x": [], "x": []}]', '{"": 1, "": 2}'],
)
def test_foreign_json_with_a_key_twice(text):
    with pytest.raises(ValueError, match="occurs twice in one object"):
        parse_json(text)
    assert parse_json('{"a": {"a": 1}, "b": {"a": 1}}') == {"a": {"a": 1}, "b": {"a": 1}}
