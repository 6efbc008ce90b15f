"""Tasks made from the rows of a data set: templates, languages, keys, splits, includes."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import load_task

SHARED = """\
languages:
  en: {words: {ask: Where is, say: Answer}, labels: [Africa, Asia]}
  sw: {words: {ask: Iko wapi, say: Jibu}, labels: [Afrika, Asia]}
  de: {code: ger, words: {ask: Wo liegt, say: Antwort}, labels: [Afrika, Asien]}
"""
TASK = """\
include: shared.yaml
name: places
title: x
direction: en->x
type: understanding
options: ["(1)", "(2)"]
answer: options[gold]
strata: {kind: kind}
template: |-
  {{ words.ask }} {{ place }}?
  {% for option in options %}{{ option }} {{ labels[loop.index0] }} {% endfor %}
  {{ words.say }}:
rows:
  files: "{split}-{code}.jsonl"
  splits: {pilot: dev, unseen: test}
"""
ROWS = [
    {"place": "Kenya", "gold": 0, "kind": "country"},
    {"place": "Lagos", "gold": 0, "kind": "town"},
    {"place": "Japan", "gold": 1, "kind": "country"},
]


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
        path.write_text(content, encoding="utf-8")
    return folder / "places.yaml"


def data(rows=ROWS):
    return {
        f"{split}-{code}.jsonl": rows for split in ("dev", "test") for code in ("en", "sw", "ger")
    }


def task_file(folder, task=TASK, shared=SHARED, **files):
    return write(folder, {"places.yaml": task, "shared.yaml": shared, **data(), **files})


def test_every_language_is_asked_in_its_own_words(tmp_path):
    task = load_task(task_file(tmp_path))
    assert task.languages == ("sw", "de")
    assert task.aux_languages == ("en",)
    assert task.splits == ("pilot", "unseen")
    assert len(task.items) == 2 * 2 * 3
    item = next(item for item in task.items if item.id == "de-en/pilot/2")
    assert item.main == "Wo liegt Japan?\n(1) Afrika (2) Asien \nAntwort:"
    assert item.aux == "Where is Japan?\n(1) Africa (2) Asia \nAnswer:"
    assert (item.answer, item.aux_answer) == ("(2)", None)
    assert (item.labels, item.aux_labels) == (("Afrika", "Asien"), ("Africa", "Asia"))
    assert (item.split, item.strata) == ("pilot", {"kind": "country"})
    swahili = next(item for item in task.items if item.id == "sw-en/pilot/2")
    assert swahili.cluster == item.cluster  # the same question in two languages


def test_languages_are_loaded_as_asked(tmp_path):
    path = task_file(tmp_path)
    (tmp_path / "dev-ger.jsonl").unlink()  # what is not asked for is not read
    task = load_task(path, languages=["en"], aux_languages=["sw"])
    assert {(item.lang, item.aux_lang) for item in task.items} == {("en", "sw")}
    same = load_task(path, languages=["sw"], aux_languages=["sw"])
    assert all(item.main == item.aux for item in same.items)
    with pytest.raises(TaskError, match="no language 'fr': it has en, sw, de"):
        load_task(path, languages=["fr"])
    with pytest.raises(TaskError, match="no file .*dev-ger.jsonl"):
        load_task(path, languages=["de"])


def test_culture_tasks_answer_in_english(tmp_path):
    path = task_file(tmp_path, TASK.replace("en->x", "x->en"))
    task = load_task(path, languages=["sw"])
    assert {(item.lang, item.aux_lang) for item in task.items} == {("en", "sw")}
    assert load_task(path).aux_languages == ("sw", "de")
    chosen = load_task(path, languages=["de"], aux_languages=["sw"])
    assert {(item.lang, item.aux_lang) for item in chosen.items} == {("de", "sw")}


def test_open_answers_have_gold_in_both_languages(tmp_path):
    task = TASK.replace('options: ["(1)", "(2)"]\nanswer: options[gold]', "answer: labels[gold]")
    task = task.replace(
        "{% for option in options %}{{ option }} {{ labels[loop.index0] }} {% endfor %}", ""
    )
    item = load_task(task_file(tmp_path, task + "  parallel: true\n"), languages=["de"]).items[2]
    assert (item.answer, item.aux_answer) == ("Asien", "Asia")
    assert item.options is None


KEYED = TASK + "  key: place\n"


def test_rows_may_be_joined_by_a_key_in_any_order(tmp_path):
    path = task_file(tmp_path, KEYED, **{"dev-en.jsonl": ROWS[::-1], "test-en.jsonl": ROWS[::-1]})
    item = load_task(path, languages=["sw"]).items[0]
    assert item.id == "sw-en/pilot/Kenya"
    assert "Kenya" in item.aux
    assert item.cluster == "pilot/Kenya"


def test_rows_without_counterpart_are_an_error_or_left_out(tmp_path):
    fewer = {"dev-en.jsonl": ROWS[:2]}
    with pytest.raises(TaskError, match="has 3 rows in 'sw' and 2 in 'en'"):
        load_task(task_file(tmp_path, **fewer), languages=["sw"])
    with pytest.raises(
        TaskError, match="dev-sw.jsonl:3: the key 'Japan' of 'sw' is not in .* 'en'"
    ):
        load_task(task_file(tmp_path, KEYED, **fewer), languages=["sw"])
    task = load_task(task_file(tmp_path, KEYED + "  unmatched: skip\n", **fewer), languages=["sw"])
    assert len(task.items) == 2 + 3


def test_data_without_counterparts_must_be_translated(tmp_path):
    path = task_file(tmp_path, TASK + "  parallel: false\n")
    with pytest.raises(TaskError, match="no counterparts in 'en'.*--aux auto"):
        load_task(path)
    task = load_task(path, languages=["sw"], counterparts=False)
    assert {(item.aux, item.aux_lang) for item in task.items} == {("", "en")}


def test_values_may_be_made_chosen_and_left_out(tmp_path):
    task = TASK + (
        "  let: {upper: place | upper}\n"
        '  each: {wish: \'["a", "b"]\'}\n'
        "  where: kind == 'country'\n"
        "  key: upper\n"
    )
    task = load_task(task_file(tmp_path, task), languages=["sw"])
    assert [item.id for item in task.items][:3] == [
        "sw-en/pilot/KENYA/a", "sw-en/pilot/KENYA/b", "sw-en/pilot/JAPAN/a"
    ]  # fmt: skip


def test_shares_options_and_labels_may_be_expressions(tmp_path):
    task = TASK.replace(
        'options: ["(1)", "(2)"]', "options: letters[:shares|length]\nshares: shares"
    )
    task = task.replace("options[gold]", "options[shares | argmax]")
    rows = [{"place": "x", "kind": "y", "shares": [0.25, 0.75]}]
    path = task_file(tmp_path, task, **data(rows))
    item = load_task(path, languages=["sw"]).items[0]
    assert (item.options, item.answer, item.shares) == (("A", "B"), "B", (0.25, 0.75))


@pytest.mark.parametrize("name", ["csv", "tsv", "parquet"])
def test_tables_are_read_too(tmp_path, name):
    import pandas as pd

    frame = pd.DataFrame(ROWS)
    for split in ("dev", "test"):
        for code in ("en", "sw"):
            path = tmp_path / f"{split}-{code}.{name}"
            if name == "parquet":
                frame.to_parquet(path)
            else:
                frame.to_csv(path, index=False, sep="," if name == "csv" else "\t")
    # Text tables hold texts: 007 may be a name.
    yaml = TASK.replace("jsonl", name).replace("options[gold]", "options[gold | int]")
    task = load_task(task_file(tmp_path, yaml), languages=["sw"])
    assert len(task.items) == 6
    assert task.items[2].answer == "(2)"
    (tmp_path / f"dev-sw.{name}").write_bytes(b"\xff\x01")
    with pytest.raises(TaskError, match="dev-sw"):
        load_task(tmp_path / "places.yaml", languages=["sw"])


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("answer: options[gold]", "answer: golt"), ":7", "there is no 'golt'"),
        (("answer: options[gold]", "answer: options[7]"), ":7", "fails on"),
        (("answer: options[gold]", "answer: options["), ":7", "this expression cannot be read"),
        (("answer: options[gold]", "answer: '\"(3)\"'"), "dev-sw.jsonl:1", "none of the options"),
        (("{{ words.say }}", "{{ words.sag }}"), ":9", "'sag'"),
        (("{{ words.say }}", "{{ words.say "), ":9", "this template cannot be read"),
        (
            ("labels: [Afrika, Asia]", "labels: [Afrika]"),
            "dev-sw.jsonl:1",
            "1 labels for 2 options",
        ),
        (('options: ["(1)", "(2)"]', "options: gold"), "dev-sw.jsonl:1", "not 0"),
        (
            ("rows:\n", "rows:\n  colour: red\n"),
            ":14",
            "unknown field 'colour'; known are include, hub",
        ),
        (("dev,", "[dev],"), ":15", "a text belongs there"),
        (("{split}-{code}", "{split}-{where}"), ":14", "may contain only {code}, {lang}, {split}"),
        (("{split}-{code}", "{split}-{code}}"), ":14", "cannot be filled in"),
        (("{split}-{code}", "{split}-{code.x}"), ":14", "cannot be filled in"),
        (("{split}-{code}", "{code}"), ":15", "splits need {split}"),
        (("dev,", "'dev[:1]',"), ":15", "files cannot be sliced"),
        (("options[gold]", "options[-1]"), ":7", "there is no place -1"),
        (("options[gold]", "place | found('(')"), ":7", "fails on"),
        (("options[gold]", "gold | marked(options)"), ":7", "fails on"),
        (("title: x", "title: 2024-02-30"), "places.yaml", "cannot be read"),
        (("rows:\n", "rows:\n  each: {k: place}\n"), ":14", "a list belongs there"),
        (("strata: {kind: kind}", "strata: {kind: [a]}"), ":8", "a text belongs there"),
        (("include: shared.yaml", "include: nope.yaml"), ":1", "'nope.yaml'"),
        (("include: shared.yaml", "include: places.yaml"), ":1", "includes itself"),
        (("include: shared.yaml", "include: 3"), ":1", "a file's name"),
        (("en: {words", "no: {words"), "shared.yaml:2", "'no'"),
        (("name: places", "name: places\nname: again"), ":3", "'name' is repeated here"),
        (("direction: en->x", "direction: en->x\nitems: x.jsonl"), ":5", "items or rows, not both"),
        (("type: understanding", "metric: bleu"), ":5", "one of accuracy, "),
    ],
)
def test_mistakes_name_file_line_and_field(tmp_path, change, line, words):
    path = task_file(tmp_path, TASK.replace(*change), SHARED.replace(*change))
    with pytest.raises(TaskError) as caught:
        load_task(path, languages=["sw"])
    assert line in str(caught.value)
    assert words in str(caught.value)


def test_a_task_needs_languages_a_template_and_splits(tmp_path):
    for change, words in [
        (("include: shared.yaml\n", ""), "'languages' is missing"),
        (("template", "description"), "'template' is missing"),
        (('files: "{split}-{code}.jsonl"', "hub: a/b\n  files: x"), "a hub or from files"),
    ]:
        with pytest.raises(TaskError, match=words):
            load_task(task_file(tmp_path, TASK.replace(*change)))
    with pytest.raises(TaskError, match="'splits' is missing"):
        load_task(task_file(tmp_path, TASK.split("rows:", maxsplit=1)[0] + "rows: {hub: a/b}\n"))


def test_expressions_cannot_leave_the_sandbox(tmp_path):
    evil = (
        TASK.replace("options[gold]", "\"''.__class__.__mro__\"")
        .replace("\"'", "'")
        .replace("\"''", "''")
    )
    evil = TASK.replace("answer: options[gold]", "answer: \"''.__class__.__mro__[1]\"")
    with pytest.raises(TaskError, match="unsafe"):
        load_task(task_file(tmp_path, evil), languages=["sw"])


def test_broken_rows_name_their_line(tmp_path):
    good = json.dumps(ROWS[0])
    for bad, words in [("{nope", "not JSON"), ("[1]", "JSON object"), ("{}", "'place'")]:
        lines = "\n".join([good] * 36 + [bad])
        path = task_file(
            tmp_path, KEYED.replace("key: place", "key: number"), **{"dev-sw.jsonl": lines}
        )
        with pytest.raises(TaskError) as caught:
            load_task(path, languages=["sw"])
        assert "dev-sw.jsonl:37" in str(caught.value)
        assert words in str(caught.value)


def test_wrong_encoding_of_a_table_names_the_line(tmp_path):
    path = task_file(tmp_path, TASK.replace("jsonl", "csv"))
    (tmp_path / "dev-sw.csv").write_bytes("place,gold,kind\ncafé,0,x\n".encode("latin-1"))
    with pytest.raises(TaskError, match=r"dev-sw.csv:2: this is not UTF-8"):
        load_task(path, languages=["sw"])
    (tmp_path / "dev-sw.csv").write_text("place,gold,kind\nx,0\n")
    with pytest.raises(TaskError, match=r"dev-sw.csv:2: this row has more or fewer fields"):
        load_task(path, languages=["sw"])


def test_missing_values_do_not_become_words(tmp_path):
    rows = [{"place": None, "gold": 0, "kind": "x"}]
    with pytest.raises(TaskError, match=r"places.yaml:9: .*dev-sw.jsonl:1 \(a value .* is missing"):
        load_task(task_file(tmp_path, **data(rows)), languages=["sw"])


def test_clusters_are_those_of_the_english_row_in_every_pair_of_languages(tmp_path):
    rows = {
        f"{split}-{code}.jsonl": [row | {"place": f"{row['place']} {code}"} for row in ROWS]
        for split in ("dev", "test")
        for code in ("en", "sw", "ger")
    }
    path = task_file(tmp_path, TASK.replace("strata:", "cluster: place\nstrata:"), **rows)
    task = load_task(path, languages=["sw"], aux_languages=["de"])
    assert {item.cluster for item in task.items} == {f"{row['place']} en" for row in ROWS}


def test_a_language_is_its_own_counterpart_only_where_it_is_named(tmp_path):
    path = task_file(tmp_path, TASK.replace("en->x", "custom"))

    def pairs(**chosen):
        return {(item.lang, item.aux_lang) for item in load_task(path, **chosen).items}

    assert pairs() == {("sw", "en"), ("de", "en")}
    assert pairs(aux_languages=["sw"]) == {("en", "sw"), ("de", "sw")}
    assert pairs(languages=["en"]) == {("en", "en")}


def test_includes_may_not_go_round(tmp_path):
    path = task_file(tmp_path, shared="include: sub/b.yaml\n" + SHARED)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("include: sub/b.yaml\n", encoding="utf-8")
    with pytest.raises(TaskError, match="'sub/b.yaml' includes itself"):
        load_task(path)


def test_an_alias_within_what_it_names(tmp_path):
    (tmp_path / "places.yaml").write_text("name: x\nlanguages: &a\n  en: *a\n", encoding="utf-8")
    with pytest.raises(TaskError, match="alias"):
        load_task(tmp_path / "places.yaml")
