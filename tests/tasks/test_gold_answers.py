"""Several gold answers to one question: all of them count."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.sweeps.control import Donors, answers_of
from crosslatent.tasks import RULES, Item, load_prompts, load_task, task_of
from crosslatent.tasks.expressions import compiled
from crosslatent.tasks.judging import golds
from crosslatent.tasks.metrics import MetricInput, exact_match, f1
from crosslatent.tasks.task_loading import shipped_files
from crosslatent.tasks.yaml_file import read_yaml
from crosslatent.translate.counterpart_prompts import write_parallel

ROW = {
    "main": "Mji?",
    "aux": "City?",
    "lang": "sw",
    "aux_lang": "en",
    "answer": ["Dar es Salaam", "Dar", "دار السلام", "Dar"],
    "aux_answer": ["Dar es Salaam", "Haven of Peace"],
}


def loaded(tmp_path, *rows):
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return load_prompts(path)


@pytest.fixture
def one(tmp_path):
    return loaded(tmp_path, ROW).items[0]


def test_a_list_of_answers(one):
    assert (one.answer, one.other_answers) == ("Dar es Salaam", ("Dar", "دار السلام"))
    assert one.golds == ("Dar es Salaam", "Dar", "دار السلام")
    assert one.aux_golds == ("Dar es Salaam", "Haven of Peace")
    assert one.as_aux().golds == one.aux_golds
    assert Item("q", "en", "en", "m", "a").golds == ()
    same = Item("q", "en", "en-GB", "m", "a", "x", other_answers=("y",))
    assert same.as_aux().golds == ("x", "y")
    other = Item("q", "sw", "en", "m", "a", "x", other_answers=("y",))
    assert other.as_aux().golds == ()


@pytest.mark.parametrize(
    ("output", "contains", "exact", "matched", "shared"),
    [
        ("Dar es Salaam", True, True, 1.0, 1.0),
        ("dar", True, True, 1.0, 1.0),
        ("Jibu: دار السلام.", True, False, 0.0, 0.8),
        ("DAR!", True, False, 1.0, 1.0),
        ("Salaam", False, False, 0.0, 0.5),
        ("Dodoma", False, False, 0.0, 0.0),
    ],
)
def test_the_best_counts(one, output, contains, exact, matched, shared):
    assert RULES["contains"].judge(output, one).correct is contains
    assert RULES["exact"].judge(output, one).correct is exact
    assert exact_match(MetricInput(output), one) == matched
    assert f1(MetricInput(output), one) == pytest.approx(shared)


def test_each_alone_is_right_everywhere(one):
    for side in (one, one.as_aux()):
        for gold in side.golds:
            assert RULES["contains"].judge(gold, side).correct
            assert RULES["exact"].judge(gold, side).correct
            assert exact_match(MetricInput(gold), side) == f1(MetricInput(gold), side) == 1
    assert not RULES["contains"].judge("Haven of Peace", one).correct


def test_they_go_through_files_and_memory(one, tmp_path):
    assert task_of([one]).items == (one,)
    assert task_of([one.to_dict()]).items == (one,)
    write_parallel([one], tmp_path / "again.jsonl")
    assert load_prompts(tmp_path / "again.jsonl").items == (one,)


def test_hash_counts_them_and_no_hash_changes_without(one):
    single = Item("q", "sw", "en", "m", "a", "x")
    assert "other_answers" not in single.to_dict()
    assert single.to_dict()["answer"] == "x"
    several = Item("q", "sw", "en", "m", "a", "x", other_answers=("y",))
    assert task_of([single]).hash != task_of([several]).hash
    # Of the version before questions could have several.
    assert task_of([single]).hash == "57d517aaf81d40de"


def test_options_have_one(tmp_path):
    options = {"options": ["(1)", "(2)"]}
    for name in ("answer", "aux_answer"):
        with pytest.raises(TaskError, match="of options exactly one is right"):
            loaded(tmp_path, {**ROW, "answer": "(1)", **options, name: ["(1)", "(2)"]})
    assert loaded(tmp_path, {"main": "x", "aux": "y", "answer": ["(1)"], **options})


@pytest.mark.parametrize("wrong", [[], ["x", 1], [["x"]], 7, ["x", None], ["x", "."], ["", "x"]])
def test_lists_that_are_none(tmp_path, wrong):
    for name in ("answer", "aux_answer"):
        with pytest.raises(TaskError, match=f"items.jsonl:1: the field '{name}' is "):
            loaded(tmp_path, {**ROW, name: wrong})


def rows_task(folder, answer):
    rows = {
        lang: {"q": f"q-{lang}", "answers": {"text": [f"{lang} one", f"{lang} two", "."]}, "n": []}
        for lang in ("en", "sw")
    }
    for lang, row in rows.items():
        (folder / f"{lang}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (folder / "t.yaml").write_text(
        "name: t\ndirection: en->x\nlanguages: {en: {}, sw: {}}\ntemplate: '{{ q }}'\n"
        f"answer: {answer}\nrows: {{files: '{{code}}.jsonl'}}\n",
        encoding="utf-8",
    )
    return load_task(folder / "t.yaml")


def test_expressions_may_give_lists(tmp_path):
    (item,) = rows_task(tmp_path, "answers.text").items
    assert item.golds == ("sw one", "sw two")  # "." would be found everywhere
    assert item.aux_golds == ("en one", "en two")
    assert rows_task(tmp_path, "answers.text[0]").items[0].golds == ("sw one",)
    assert rows_task(tmp_path, "n or none").items[0].golds == ()
    with pytest.raises(TaskError, match="list of gold answers is empty"):
        rows_task(tmp_path, "n")
    with pytest.raises(TaskError, match="a text belongs"):
        rows_task(tmp_path, "[answers]")


def test_released_files_may_have_lists(tmp_path):
    for name, value in (("main", "Q"), ("en", "Q"), ("gold", ["a b", "c"]), ("aux", ["d", "e"])):
        (tmp_path / "d" / "s").mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / "s" / f"{name}.json").write_text(json.dumps(value) + "\n")
    (tmp_path / "t.yaml").write_text(
        "name: t\nlanguages: {en: {}, sw: {}}\ndirection: en->x\nreleased:\n  splits: {pilot: s}\n"
        "  main: main.json\n  aux: en.json\n  columns: {gold: gold.json, other: aux.json}\n"
        "  answer: gold\n  aux_answer: other\n"
    )
    (item,) = load_task(tmp_path / "t.yaml", data=tmp_path / "d").items
    assert (item.golds, item.aux_golds) == (("a b", "c"), ("d", "e"))


def test_donors_with_the_same_answer_share_one():
    def ask(n, first, *more, options=None):
        return Item(f"q{n}", "sw", "en", f"m{n}", f"a{n}", first, options, other_answers=more)

    items = [
        ask(1, "USA", "United States"),
        ask(2, "united\u00a0states"),
        ask(3, "America", "usa"),
        ask(4, "Kenya"),
    ]
    found = Donors(items)
    drawn = {
        item.id: {v.stratum: v.donor for v in found.variants(item, ["shuffled"])} for item in items
    }
    assert drawn["q1"]["same_answer"] in ("q2", "q3")
    assert drawn["q1"]["different_answer"] == "q4"
    assert drawn["q2"]["same_answer"] == "q1"
    assert drawn["q3"]["same_answer"] == "q1"
    assert "same_answer" not in drawn["q4"]
    # Symbols are what they are: case tells (A) from (a).
    assert answers_of(ask(5, "(A)", options=("(A)", "(B)"))) == ("(A)",)


def shipped_golds(name, values):
    file = read_yaml(*shipped_files()[name])
    expression = compiled(file.data["answer"], file.where("answer"))
    return golds(expression, values, "row 1")


def test_shipped_tasks_take_all():
    squad = {"answers": {"text": ["308", "308 men", "308"], "answer_start": [1, 1, 1]}}
    assert shipped_golds("xquad", squad) == ("308", "308 men")
    entity = {"type": 0, "entity": "Q1", "text": "USA", "aliases": ["US", "U.S."]}
    second = {"type": 0, "entity": "Q2", "text": "Canada", "aliases": []}
    bare = {"type": 0, "entity": "Q3", "text": None, "aliases": None}
    for answers, expected in [
        ([entity], ("USA", "US", "U.S.")),
        ([entity, second], ("USA", "Canada", "US", "U.S.")),
        ([second, bare], ("Canada",)),
    ]:
        values = {"code": "sw", "answers": {"sw": answers}, "first": answers[0]}
        assert shipped_golds("mkqa", values) == expected
