"""The layout in which the authors of XTransplant released their prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import load_task

TASK = """\
name: nli
direction: en->x
type: understanding
rule: option_or_label
options: ["(1)", "(2)"]
languages: {en: {}, sw: {}, de: {}, zh: {}}
released:
  splits: {pilot: sample, unseen: rest}
  main: split/{code}.json
  aux: {en: en/{code}.json, other: split/{aux_code}.json}
  columns: {gold: "ans/{code}.json", english: split/en.json}
  once: {words_of: "words/{code}.json", aux_words_of: "words/{aux_code}.json"}
  codes: {zh: zh-CN}
  answer: "'(' ~ gold ~ ')'"
  labels: words_of.values() | list
  aux_labels: aux_words_of.values() | list
  cluster: english | found('Premise. (.*)')
"""
QUOTED = TASK.replace("{en: en/{code}.json, other: split/{aux_code}.json}", (
    '{en: "en/{code}.json", other: "split/{aux_code}.json"}'
))  # fmt: skip


def lines(folder: Path, name: str, values) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), "utf-8")


@pytest.fixture
def data(tmp_path):
    for split, codes, count in [
        ("sample", ["en", "sw", "de", "zh-CN"], 2),
        ("rest", ["en", "sw"], 3),
    ]:
        folder = tmp_path / "data" / split
        for code in codes:
            lines(
                folder, f"split/{code}.json", [f"{code} {k}\nPremise. p{k}" for k in range(count)]
            )
            lines(folder, f"en/{code}.json", [f"back from {code} {k}" for k in range(count)])
            lines(folder, f"ans/{code}.json", ["1", "2", "1"][:count])
            lines(folder, f"words/{code}.json", [{"1": f"yes-{code}", "2": f"no-{code}"}])
    return tmp_path / "data"


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "nli.yaml"
    path.write_text(QUOTED, encoding="utf-8")
    return path


def test_lines_belong_together(task, data):
    loaded = load_task(task, data=data, languages=["sw"])
    assert [item.id for item in loaded.items] == [
        "sw-en/pilot/1", "sw-en/pilot/2", "sw-en/unseen/1", "sw-en/unseen/2", "sw-en/unseen/3"
    ]  # fmt: skip
    item = loaded.items[1]
    assert (item.main, item.aux) == ("sw 1\nPremise. p1", "back from sw 1")
    assert (item.answer, item.options) == ("(2)", ("(1)", "(2)"))
    assert (item.labels, item.aux_labels) == (("yes-sw", "no-sw"), ("yes-en", "no-en"))
    assert (item.cluster, item.split) == ("p1", "pilot")


def test_any_pair_of_languages(task, data):
    item = load_task(task, data=data, languages=["de"], aux_languages=["zh"]).items[0]
    assert (item.main, item.aux) == ("de 0\nPremise. p0", "zh-CN 0\nPremise. p0")
    assert (item.lang, item.aux_lang) == ("de", "zh")


def test_languages_without_files_are_left_out_unless_they_are_asked_for(task, data):
    (data / "sample" / "en" / "de.json").unlink()
    assert load_task(task, data=data).languages == ("sw", "zh")
    with pytest.raises(TaskError, match="no questions in 'de'.*no file .*en/de.json"):
        load_task(task, data=data, languages=["de"])


def test_lines_may_be_objects(tmp_path, data):
    rows = [{"input_text": f"q{k}", "label": [0.2, 0.8]} for k in range(2)]
    lines(data / "sample", "split/sw.json", rows)
    path = tmp_path / "opinion.yaml"
    path.write_text(
        "name: opinion\ndirection: x->en\nrule: option\nlanguages: {sw: {}, en: {}}\nreleased:\n"
        "  splits: {pilot: sample}\n  main: split/{aux_code}.json\n  aux: en/{aux_code}.json\n"
        "  prompt: main.input_text\n  options: letters[:main.label|length]\n"
        "  answer: letters[main.label | argmax]\n  shares: main.label\n",
        encoding="utf-8",
    )
    loaded = load_task(path, data=data, languages=["sw"])
    item = loaded.items[0]
    assert (item.lang, item.aux_lang, item.main, item.aux) == ("en", "sw", "q0", "back from sw 0")
    assert (item.options, item.answer, item.shares) == (("A", "B"), "B", (0.2, 0.8))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("split/sw.json", '"only one"\n', "has 1 lines and"),
        ("ans/sw.json", '"1"\n\n"2"\n', "other ones are empty"),
        ("ans/sw.json", '"1"\n"2"\n"1"\n', "has 2 lines and .*ans/sw.json 3"),
        ("ans/sw.json", '"1"\n{2\n', "ans/sw.json:2: this is not JSON"),
        (
            "ans/sw.json",
            '"1"\n"7"\n',
            r"split/sw.json:2: the answer '\(7\)' is none of the options",
        ),
        ("ans/sw.json", '"1"\n[2]\n', "none of the options"),
        ("split/sw.json", '"x"\n"  "\n', "split/sw.json:2: the main prompt is empty"),
        ("en/sw.json", '"x"\n""\n', "split/sw.json:2: the aux prompt is empty"),
        ("split/sw.json", '"x"\n3.5\n', None),
        ("split/sw.json", '"x"\nnull\n', "None is given where a text belongs"),
        ("words/sw.json", '{"1": "a"}\n', "1 labels for 2 options"),
        ("words/sw.json", "{}\n{}\n", "words/sw.json has 2 lines"),
    ],
)
def test_mistakes_in_the_data(task, data, name, content, words):
    (data / "sample" / name).write_text(content, encoding="utf-8")
    if words is None:
        assert load_task(task, data=data, languages=["sw"]).items[1].main == "3.5"
        return
    with pytest.raises(TaskError, match=words):
        load_task(task, data=data, languages=["sw"])


def test_wrong_encoding_names_the_line(task, data):
    (data / "sample" / "split" / "sw.json").write_bytes('"x"\n"é"\n'.encode("latin-1"))
    with pytest.raises(TaskError, match=r"split/sw.json:2: this is not UTF-8 text"):
        load_task(task, data=data, languages=["sw"])


def test_data_elsewhere_is_said(task, tmp_path):
    with pytest.raises(TaskError, match=r"stand in a folder of your own.*sample, rest \(--data"):
        load_task(task)
    with pytest.raises(TaskError, match="stand in a folder"):
        load_task(task, data=tmp_path)
    with pytest.raises(TaskError, match="is not there"):
        load_task(task, data=tmp_path / "nowhere")


def test_clusters_are_named_in_english_in_every_pair_of_languages(task, data):
    items = load_task(task, data=data, languages=["de", "sw"], aux_languages=["zh"]).items
    assert {item.cluster for item in items} == {"p0", "p1"}


def test_only_languages_that_were_named_must_be_there(task, data):
    assert load_task(task, data=data, aux_languages=["zh"]).languages == ("sw", "de")
    (data / "sample" / "split" / "zh-CN.json").unlink()
    with pytest.raises(TaskError, match="in 'zh'"):
        load_task(task, data=data, aux_languages=["zh"])


def test_counterparts_may_be_missing_where_they_are_translated(task, data):
    (data / "sample" / "en" / "de.json").unlink()
    (data / "sample" / "words" / "en.json").unlink()
    item = load_task(task, data=data, languages=["de"], counterparts=False).items[0]
    assert (item.aux, item.aux_lang, item.aux_labels) == ("", "en", None)
    assert item.answer == "(1)"


def test_labels_that_hold_the_cue_are_none(task, data):
    lines(data / "sample", "words/en.json", [{"1": "yes", "2": "no Answer:"}])
    assert load_task(task, data=data, languages=["sw"]).items[0].aux_labels is None
