"""When two answers are the same: in votes and samples, beside donors, with several golds."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

import crosslatent as xl
from crosslatent.analysis.carried import _vanilla_gives_donor_answer
from crosslatent.analysis.data import Arm, RunData
from crosslatent.core.specs import TransplantSpec
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.evaluating import sampled_majorities
from crosslatent.selectors.signals import one_question
from crosslatent.selectors.table import read_table
from support.runs import item, row, write_run

OTHER = Arm("ffn", "shuffled", "different_answer")
SPELLINGS = [
    ("Dar es Salaam", "DAR\u00a0es  Salaam\n"),
    ("Côte d'Ivoire", "Co\u0302te d’Ivoire"),
    ("1947", "१९४७"),
    ("Nairobi", "Nai\u00adrobi\u200b"),
    ("مرحبا", "ﻣﺮﺣﺒﺎ"),
    ("Straße", "STRASSE"),
    ("co-op", "Co\u2011Op"),
]


def open_run(path, *outputs, golds=("x",), donor=("y",)):
    """A question with one row for each output, the first one unmodified, and its donor."""
    plain = {"options": None, "labels": None}
    items = [
        item("a", answer=golds[0], other_answers=list(golds[1:]), **plain),
        item("b", answer=donor[0], other_answers=list(donor[1:]), **plain),
    ]
    told = {"prediction": None, "correct_by_rule": {}}
    rows = [row("a", "vanilla", False, output=outputs[0], **told)]
    rows += [row("b", "vanilla", False, output="other", **told)]
    for place, output in enumerate(outputs[1:]):
        rows.append(row("a", correct=False, output=output, source=place, **told))
        rows.append(
            row("a", "shuffled", False, output=output, source=place, stratum="different_answer",
                donor="b", **told)
        )  # fmt: skip
    return RunData(RunReader(write_run(path, items, rows, n_layers=8)))


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_votes_count_them_as_one(tmp_path, one, other):
    table = read_table(open_run(tmp_path, one, other, f"{one}!", "\u200b", " \u00a0"))
    place = table.seen.ids.index("a")
    vanilla = table.seen.vanilla.answer[place]
    same, another, *nothing = table.seen.steps.answer[place]
    assert same == vanilla >= 0
    assert another not in (vanilla, -1)
    assert nothing == [-1, -1]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_a_saved_selector_counts_them_as_one(one, other):
    pairs = [TransplantSpec("ffn", k, 0) for k in range(3)]
    rows = dict(zip(pairs, ({"output": o} for o in (other, f"{one}!", "\u200b")), strict=True))
    seen = one_question({"output": one}, rows, None, lang="sw", n_layers=2)
    same, another, nothing = seen.steps.answer[0]
    assert same == seen.vanilla.answer[0]
    assert another not in (same, -1)
    assert nothing == -1


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_an_output_that_follows_the_donor(tmp_path, one, other):
    data = open_run(tmp_path, f"it is {other}.", f"{other}!", "x", donor=("zzz", one))
    assert data.cube(OTHER, "follows")[data.items.ids.index("a"), :2, 0].tolist() == [1.0, 0.0]
    assert _vanilla_gives_donor_answer(data, OTHER)[data.items.ids.index("a")] == 1.0


def test_donors_share_an_answer_if_they_share_one_of_several(tmp_path):
    data = open_run(tmp_path / "1", "o", "o", golds=("USA", "United States"), donor=("u", "usa"))
    assert data.donor_shares["same_answer"].tolist() == [1.0, 1.0]
    data = open_run(tmp_path / "2", "o", "o", golds=("USA",), donor=("United States",))
    assert data.donor_shares["same_answer"].tolist() == [0.0, 0.0]


def test_runs_from_before_there_were_several(tmp_path):
    before = open_run(tmp_path, "o", "y", "o").cube(OTHER, "follows")
    items = pq.read_table(tmp_path / "items.parquet")
    pq.write_table(
        items.drop_columns(["other_answers", "other_aux_answers"]), tmp_path / "items.parquet"
    )
    again = RunData(RunReader(tmp_path))
    assert again.con.execute("SELECT other_answers FROM items").fetchall() == [(None,), (None,)]
    after = again.cube(OTHER, "follows")
    assert after[0, :2, 0].tolist() == before[0, :2, 0].tolist() == [1.0, 0.0]


def test_a_sweep_judges_by_all_and_keeps_them(tmp_path, tiny_folder):
    model = xl.load(tiny_folder)
    prompts = {"main": "Mji?", "aux": "City?", "lang": "sw", "aux_lang": "en"}
    said = xl.transplant(model, **{k: prompts[k] for k in ("main", "aux")}, component="ffn",
                         source=0, target=0, max_new_tokens=4).vanilla  # fmt: skip
    golds = ["nothing of the kind", said, "nor this"]
    xl.sweep(
        model,
        [{**prompts, "id": "q", "answer": golds, "aux_answer": ["a", "b"]}],
        pairs="0:0",
        out=tmp_path / "run",
        max_new_tokens=4,
        samples=2,
    )
    data = RunData(RunReader(tmp_path / "run"))
    kept = data.con.execute(
        "SELECT answer, other_answers, aux_answer, other_aux_answers FROM items"
    ).fetchone()
    assert kept == (golds[0], golds[1:], "a", ["b"])
    assert data.items.vanilla.tolist() == [1.0]
    assert len(sampled_majorities(data, within=1)[1]) == 1
