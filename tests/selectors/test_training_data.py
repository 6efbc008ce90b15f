"""Questions that a selector was fitted on are left out, refused, or marked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from crosslatent.cli.app import app
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.seen import Seen
from crosslatent.runs import RunReader
from crosslatent.selectors import evaluate_run
from crosslatent.selectors.kinds.pilot import Pilot
from crosslatent.selectors.saved import load, save
from crosslatent.tasks.task import text_key
from support.choosing import answered
from support.rows import wrapped
from support.runs import item, row, write_run

PAIRS = ((0, 0), (0, 1))


def make_run(folder, items, task="quiz"):
    rows = []
    for one in items:
        rows.append(row(one["item"], "vanilla", correct=False))
        rows += [
            row(one["item"], "none", component="ffn", source=i, target=j, correct=j == 1)
            for i, j in PAIRS
        ]
    return write_run(folder, items, rows, n_layers=4, task={"name": task, "rule": "option"})


def question(name, split, **changes):
    return item(name, split=split, **({"cluster": f"fact-{name}"} | changes))


PILOT = [question(f"p{k}", "pilot", main=f"Swali la {k}?", aux=f"Question {k}?") for k in range(6)]
OTHERS = [question(f"t{k}", "test", main=f"Lingine {k}?", aux=f"Other {k}?") for k in range(5)]


@pytest.fixture
def fitted(tmp_path):
    return make_run(tmp_path / "fitted", PILOT)


def evaluation(fitted, tested, **options):
    reader = RunReader(fitted)
    return evaluate_run(
        reader, [Pilot()], other=RunReader(tested), text_key=text_key, test="test", **options
    )[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": "fact-p0"},
        {"main": "SWALI  la 0 ?"},
        {"main": "Swali la \u0660\uff1f"},
        {"aux": "question 0 ?\n"},
        {"main": "Question 0?"},
        {"main": "Swali\u00a0la 0?", "lang": "hi"},
    ],
)
def test_what_was_fitted_on_is_left_out_of_another_run(fitted, tmp_path, changes):
    tested = make_run(tmp_path / "other", [*OTHERS, question("x", "test", **changes)])
    found = evaluation(fitted, tested)
    assert (found.items, found.left_out, found.trained_on) == (5, 1, 0)
    marked = evaluation(fitted, tested, allow_training_data=True)
    assert (marked.items, marked.left_out, marked.trained_on) == (6, 0, 1)


def test_a_run_of_nothing_else_is_refused(fitted, tmp_path):
    again = [one | {"item": f"again-{one['item']}", "split": "test", "cluster": f"c{n}"}
             for n, one in enumerate(PILOT)]  # fmt: skip
    tested = make_run(tmp_path / "again", again)
    with pytest.raises(RunFolderError, match="6 of 6 were trained on"):
        evaluation(fitted, tested)


def test_items_without_a_named_fact_are_known_by_their_text_within_one_run(tmp_path):
    double = question("x", "test", main="Swali la 0 ?", cluster="x")
    folder = make_run(tmp_path / "one", [*PILOT, *OTHERS, double])
    found, _ = evaluate_run(RunReader(folder), [Pilot()], text_key=text_key)
    assert (found.items, found.left_out) == (5, 1)


def test_the_command_marks_every_figure(fitted, tmp_path):
    tested = make_run(tmp_path / "other", [*OTHERS, question("x", "test", main="swali la 0?")])
    arguments = ["select", str(fitted), "--evaluate-on", str(tested), "--allow-training-data"]
    shown = CliRunner().invoke(app, arguments).output
    assert "1 of 6 questions were trained on: nothing is concluded from these figures." in shown
    assert "1 of 6" in next(line for line in shown.splitlines() if line.strip().startswith("pilot"))
    assert "Better than" not in shown
    data = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (data["trained_on"], data["beats_pilot"], data["recovers_half"]) == (1, [], [])


def saved_by_command(fitted, tmp_path):
    tested = make_run(tmp_path / "elsewhere", OTHERS)
    file = tmp_path / "chosen.json"
    arguments = ["select", str(fitted), "--evaluate-on", str(tested), "--save", str(file)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return file


def test_a_saved_selector_knows_its_questions(fitted, tmp_path):
    file = saved_by_command(fitted, tmp_path)
    seen = load(file).seen
    assert (len(seen.texts), len(seen.facts), seen.complete) == (12, 6, True)
    assert not list(tmp_path.glob("chosen.safetensors"))
    model = wrapped()
    for main, aux, known in (
        ("Swali la 3?", "Something else?", True),
        ("swali  LA 3 ?", "Something else?", True),
        ("Kitu?", "QUESTION 5?", True),
        ("Kitu?", "Something else?", False),
    ):
        found = answered(model, load(file), main=main, aux=aux, max_new_tokens=2)
        assert found.trained_on is known
    old = replace(load(file), seen=None)
    save(old, file)
    assert load(file).seen is None
    assert answered(model, old, main="a", aux="b", max_new_tokens=1).trained_on is None
    content = json.loads(file.read_text())
    del content["seen"]
    file.write_text(json.dumps(content))
    assert load(file).seen is None


@pytest.mark.parametrize(
    "seen",
    [
        {},
        [],
        "00",
        {"complete": True, "rows": "", "texts": "zz", "facts": ""},
        {"complete": True, "rows": "", "texts": "00" * 7, "facts": ""},
        {"complete": True, "rows": "", "texts": "ff" * 8 + "00" * 8, "facts": ""},
        {"complete": True, "rows": "", "texts": 1, "facts": ""},
    ],
)
def test_a_selector_with_other_hashes_is_refused(fitted, tmp_path, seen):
    file = saved_by_command(fitted, tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seen": seen}))
    with pytest.raises(UsageError, match="is no complete selector"):
        load(file)


def test_hashes_come_back_from_json_as_they_were():
    seen = Seen.of(rows=[3, 2**64 - 1], texts=[1], facts=[])
    again = Seen.from_plain(json.loads(json.dumps(seen.to_plain())))
    assert again.rows.tolist() == [3, 2**64 - 1]
    assert (again.texts.tolist(), again.facts.tolist(), again.complete) == ([1], [], True)
