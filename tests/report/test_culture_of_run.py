"""The culture card of a sweep over a culture task, as a page of its report."""

from __future__ import annotations

import pytest

import crosslatent as xl
from crosslatent.model import load
from crosslatent.planted.country_world import BLOCK, plant_countries
from crosslatent.planted.weights import build
from crosslatent.report.build import build_report


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    world = plant_countries("own", questions=24, countries=3)
    folder = tmp_path_factory.mktemp("planted") / "model"
    build(world.circuit, folder)
    return world, load(str(folder), device="cpu", dtype="float32")


def test_a_report_has_a_card_where_questions_are_about_countries(planted, tmp_path):
    world, model = planted
    controls = ("shuffled", "noise", "paraphrase")
    pairs = [(BLOCK, BLOCK), (0, 0)]
    xl.sweep(
        model, world.task, out=tmp_path / "run", component=("ffn",), pairs=pairs, controls=controls
    )
    made = build_report([tmp_path / "run"], tmp_path / "report")
    (page,) = [one for one in made.pages if one.name.endswith(".culture.html")]
    text = page.read_text(encoding="utf-8")
    assert "changes them towards the country" in text
    assert "more than any other donor does" not in text.partition("How to read this")[0]
    (run,) = [one for one in made.pages if one.name == page.name.replace(".culture", "")]
    assert page.name in run.read_text(encoding="utf-8")


def test_other_runs_have_none(planted, tmp_path):
    _, model = planted
    items = [
        {"main": f"question{k} Arvenia :", "aux": f"arv{k} arvenia-own :", "answer": "(A)",
         "options": ["(A)", "(B)"], "split": ("pilot", "unseen")[k % 2], "id": str(k)}
        for k in range(8)
    ]  # fmt: skip
    xl.sweep(model, items, out=tmp_path / "run", component=("ffn",), pairs=[(BLOCK, BLOCK)])
    made = build_report([tmp_path / "run"], tmp_path / "report")
    assert not [one for one in made.pages if "culture" in one.name]
