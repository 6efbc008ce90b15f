"""What the page, tables and figures of an evaluation make of what was not measured, and of users'
texts."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation
from crosslatent.report import drawing
from crosslatent.report.lens import write_evaluation_report
from crosslatent.report.lens.evaluation_tables import condition_table, language_table
from crosslatent.stats import Estimate

FIGURE = Estimate(0.5, 0.4, 0.6, 40, 20, 0)
CHANGE = Estimate(0.1, 0.05, 0.2, 40, 20, 0)
NASTY = "<script>alert('x')</script>"


def result(name, kind, langs, **changes):
    fields = {
        "about": "About.", "accuracy": dict.fromkeys(langs, FIGURE),
        "change": {} if kind == "unmodified" else dict.fromkeys(langs, CHANGE),
        "repaired": dict.fromkeys(langs, 3), "broken": dict.fromkeys(langs, 1),
        "p_value": dict.fromkeys(langs, 0.01), "fidelity": {}, "fidelity_change": {}, "kl": None,
        "seconds": 1.0,
    }  # fmt: skip
    return ConditionResult(name=name, kind=kind, **(fields | changes))


def evaluation_of(*conditions, **changes):
    fields = {
        "task": "quiz", "splits": [], "rule": "option", "central": "en", "languages": ["sw"],
        "model": {"name": "tiny"}, "questions": {"sw": 40, "en": 40}, "central_texts": 2,
        "seed": 0, "failures": {}, "versions": {}, "created": "", "command": [],
    }  # fmt: skip
    first = result("unmodified", "unmodified", (ALL, "sw", "en"))
    return Evaluation(conditions=[first, *conditions], **(fields | changes))


@pytest.fixture
def found():
    return evaluation_of(
        result("lens", "tuned", (ALL, "sw", "en"), kl=FIGURE),
        result("carried", "transplant", (ALL, "sw")),
    )


@pytest.fixture
def page_alone(monkeypatch):
    monkeypatch.setattr(drawing, "FORMATS", ())


@pytest.mark.usefixtures("page_alone")
def test_what_was_not_measured_is_said_everywhere(found, tmp_path):
    assert found.missing(found.conditions[2]) == ["en", "kl"]
    rows = {row[0]: row for row in condition_table(found).rows}
    assert [rows["carried"][place] for place in (5, 7)] == ["not measured"] * 2
    assert "not measured" not in rows["lens"] + rows["unmodified"]
    cells = [(row[0], row[1], row[3]) for row in language_table(found).rows]
    assert [row[:2] for row in cells if row[2] == "not measured"] == [
        ("English (central)", "carried")
    ]
    write_evaluation_report(found, tmp_path)
    text = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "was not measured in English" in text
    assert "Not measured under carried." in text
    table = pd.read_csv(tmp_path / "tables" / "conditions.csv").set_index("condition")
    assert table["not measured"]["carried"] == "en, kl"
    assert pd.isna(table["not measured"]["lens"])
    assert pd.isna(table.central_change["carried"])
    langs = pd.read_csv(tmp_path / "tables" / "languages.csv")
    assert langs[langs["not measured"] == "accuracy"][
        ["lang", "condition"]
    ].to_numpy().tolist() == [["en", "carried"]]


@pytest.mark.usefixtures("page_alone")
@pytest.mark.parametrize("role", ["condition", "model", "language", "central", "all"])
def test_texts_of_users_are_text_on_the_page(found, tmp_path, role):
    lens = found.conditions[1]
    if role in ("condition", "all"):
        named = replace(lens, name=NASTY, about=NASTY, notes=[NASTY])
        found = replace(found, conditions=[found.conditions[0], named])
    if role in ("model", "all"):
        found = replace(
            found, model={"name": NASTY}, task=NASTY, splits=[NASTY], notes=[NASTY],
            failures={NASTY: NASTY}, rule=NASTY, versions={NASTY: NASTY}, command=[NASTY],
        )  # fmt: skip
    if role in ("language", "all"):
        keys = (ALL, NASTY, "en")
        conditions = [result(one.name, one.kind, keys) for one in found.conditions]
        found = replace(
            found, languages=[NASTY], questions={NASTY: 40, "en": 4}, conditions=conditions
        )
    if role in ("central", "all"):
        keys = (ALL, found.languages[0], NASTY)
        conditions = [result(one.name, one.kind, keys) for one in found.conditions]
        found = replace(found, central=NASTY, conditions=conditions)
    write_evaluation_report(found, tmp_path)
    text = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
