"""Graded scores, language fidelity and rules of a run: by hand, and as the report shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crosslatent.analysis import SCHEMA_VERSION, RunSummary, summarise
from crosslatent.analysis.items import ALL
from crosslatent.report import ReportPaths, build_report, drawing, formatting, graded
from support.pages import text_of
from support.runs import Record, item, row, write_run
from support.simulated import simulate

OPEN: dict[str, Any] = {"options": None, "labels": None, "answer": "Nairobi"}
TASK = {"name": "open", "title": "Open", "direction": "en->x", "rule": "contains", "metric": "f1"}


def summary_of(path: Path, items: list[Record], rows: list[Record], **manifest: Any) -> RunSummary:
    return summarise([write_run(path / "run", items, rows, **manifest)]).runs[0]


def graded_row(name: str, control: str = "none", f1: float | None = None, **changes: Any) -> Record:
    scores = {} if f1 is None else {"f1": f1, "exact_match": float(f1 == 1)}
    return row(name, control, f1 == 1, scores=scores, prediction=None, **changes)


@pytest.fixture
def open_run(tmp_path: Path) -> RunSummary:
    """One pilot question; four final ones in two languages, of which d has no score."""
    langs = {"p": "sw", "a": "sw", "b": "sw", "c": "hi", "d": "hi"}
    items = [
        item(name, lang=lang, split="pilot" if name == "p" else "final", **OPEN)
        for name, lang in langs.items()
    ]
    rows = [
        graded_row("p", "vanilla", 0.0, lang="sw"),
        graded_row("p", f1=1.0, lang="sw"),
        graded_row("a", "vanilla", 0.5, output_lang="en"),
        graded_row("a", "translate_test", 1.0, output_lang="en"),
        graded_row("a", f1=1.0, output_lang="swh"),
        graded_row("b", "vanilla", 0.25, output_lang="sw"),
        graded_row("b", f1=0.0, output_lang="en"),
        graded_row("c", "vanilla", 1.0),
        graded_row("c", f1=1.0, output_lang="hi"),
        graded_row("d", "vanilla", output_lang="en"),
        graded_row("d", output_lang="ur"),
    ]
    return summary_of(tmp_path, items, rows, task=TASK)


def test_scores_are_means_over_the_questions_that_have_them(open_run: RunSummary) -> None:
    assert open_run.metric == "f1"
    assert list(dict.fromkeys(score.metric for score in open_run.scores)) == ["f1", "exact_match"]
    found = {(s.metric, s.name, s.split, s.lang): s.score for s in open_run.scores}
    assert found["f1", "vanilla", ALL, ALL].value == pytest.approx(1.75 / 4)
    assert found["f1", "vanilla", "final", "sw"].value == pytest.approx(0.375)
    assert (
        found["f1", "vanilla", "final", "hi"].value,
        found["f1", "vanilla", "final", "hi"].n,
    ) == (1, 1)
    assert found["exact_match", "vanilla", ALL, ALL].value == 0.25
    assert found["f1", "translate_test", ALL, ALL].n == 1
    assert ("f1", "translate_test", ALL, "hi") not in found


def test_scores_at_the_picked_pair_are_compared_on_the_same_questions(open_run: RunSummary) -> None:
    found = {
        (s.metric, s.split, s.lang): s for s in open_run.scores_at_pair if s.pooling == "pooled"
    }
    final = found["f1", "final", ALL]
    assert (final.gain.n, final.in_sample) == (3, False)
    assert final.gain.value == pytest.approx((0.5 - 0.25 + 0) / 3)
    assert final.vanilla.value == pytest.approx(1.75 / 3)
    assert final.transplant.value == pytest.approx(2 / 3)
    assert None not in (final.gain.low, final.gain.high)
    assert found["f1", "pilot", ALL].in_sample
    assert found["exact_match", "final", "sw"].gain.value == 0.5


def test_off_target_answers_among_those_whose_language_could_be_told(open_run: RunSummary) -> None:
    found = {(f.split, f.lang): f for f in open_run.fidelity}
    whole = found[ALL, ALL]
    assert (whole.off_target.value, whole.off_target.n, whole.outputs) == (
        pytest.approx(2 / 3), 3, 5,
    )  # fmt: skip
    assert (found["pilot", ALL].off_target.value, found["pilot", ALL].outputs) == (None, 1)
    (final,) = (f for f in open_run.fidelity_at_pair if (f.pooling, f.lang) == ("pooled", ALL))
    # a comes back to Swahili (whatever its code), b leaves it, d is in a wrong one either way;
    # c had no language before.
    assert (final.split, final.difference.n, final.outputs) == ("final", 3, 4)
    assert (final.vanilla.value, final.transplant.value) == pytest.approx((2 / 3, 2 / 3))
    assert final.difference.value == 0
    assert (final.vanilla_identified, final.transplant_identified) == (3, 4)


def test_languages_that_nobody_knows_have_no_fidelity(tmp_path: Path) -> None:
    items = [item("a", lang="und"), item("b", lang="our dialect")]
    rows = [row(name, "vanilla", output_lang="en") for name in "ab"]
    assert summary_of(tmp_path, items, rows).fidelity == []


def test_fidelity_of_culture_questions_is_that_of_the_language_they_are_asked_in(
    tmp_path: Path,
) -> None:
    items = [item("a", lang="en", aux_lang="sw"), item("b", lang="en", aux_lang="hi")]
    rows = [row("a", "vanilla", output_lang="en"), row("b", "vanilla", output_lang="hi")]
    task = {"name": "culture", "direction": "x->en", "rule": "option"}
    run = summary_of(tmp_path, items, rows, task=task)
    found = {f.lang: f.off_target.value for f in run.fidelity if f.split == ALL}
    assert found == {ALL: 0.5, "sw": 0.0, "hi": 1.0}


def test_the_unmodified_model_under_every_rule_its_own_first(tmp_path: Path) -> None:
    items = [item("p"), item("a", split="final"), item("b", split="final")]
    by_rule = {
        "p": {"option": True, "contains": True},
        "a": {"option": False, "contains": True, "likelihood": True},
        "b": {"option": True, "contains": True, "likelihood": False},
    }
    rows = [row(name, "vanilla", correct_by_rule=rules) for name, rules in by_rule.items()]
    run = summary_of(tmp_path, items, rows)
    found = [(r.rule, r.split, r.accuracy.value, r.accuracy.n) for r in run.rules]
    assert found == [
        ("option", ALL, pytest.approx(2 / 3), 3),
        ("option", "pilot", 1.0, 1),
        ("option", "final", 0.5, 2),
        ("contains", ALL, 1.0, 3),
        ("contains", "pilot", 1.0, 1),
        ("contains", "final", 1.0, 2),
        ("likelihood", ALL, 0.5, 2),
        ("likelihood", "final", 0.5, 2),
    ]
    table = graded.rules_table(run)
    assert table is not None
    assert table.head == ["rule", "right if", "all questions", "pilot", "final", "n"]
    assert table.rows[2] == [
        "likelihood", formatting.rule("likelihood"), "50.0\u202f%", "\u2013", "50.0\u202f%", "2"
    ]  # fmt: skip


def test_unparseable_answers_before_and_after(tmp_path: Path) -> None:
    items = [item("p"), *(item(name, split="final") for name in "abcd")]
    rows = [row("p", "vanilla", False), row("p")]
    rows += [row(name, "vanilla", False, prediction=None) for name in "ab"]
    rows += [row(name, "vanilla", False) for name in "cd"]
    rows += [row(name) for name in "abc"] + [row("d", correct=False, prediction=None)]
    run = summary_of(tmp_path, items, rows)
    test = next(t for t in run.picked[0].tests if t.split == "final")
    assert test.vanilla_unparseable is not None
    assert test.unparseable is not None
    assert (test.vanilla_unparseable.value, test.unparseable.value) == (0.5, 0.25)
    assert (test.repaired_format, test.repaired_content) == (2, 1)


def test_open_answers_are_never_unparseable(open_run: RunSummary) -> None:
    tests = [test for pick in open_run.picked for test in pick.tests]
    assert tests
    assert {(t.vanilla_unparseable, t.unparseable, t.repaired_format) for t in tests} == {
        (None, None, None)
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "FORMATS", ("png",))


def visible(paths: ReportPaths) -> str:
    text = text_of(paths.page)
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


@pytest.mark.usefixtures("quick")
def test_a_report_shows_scores_fidelity_and_rules(tmp_path: Path) -> None:
    run = simulate(tmp_path / "culture", layers=2, facts=4, seed=2, direction="x->en")
    paths = build_report([run], tmp_path / "out")
    shown = visible(paths)
    figures = json.loads(paths.summary.read_text(encoding="utf-8"))
    assert figures["schema_version"] == SCHEMA_VERSION
    summary = figures["runs"][0]
    assert (summary["rule"], summary["metric"]) == ("option", "js_similarity")
    assert "The answer rule is \u201coption\u201d: an answer is right if it names" in shown
    assert "The figure that counts in this task is similarity to the population." in shown
    # The figure that counts comes before accuracy.
    assert shown.index("Graded scores") < shown.index("What the unmodified model knows")
    whole = next(s for s in summary["scores"] if (s["split"], s["lang"]) == (ALL, ALL))
    assert formatting.percent(whole["score"]["value"]) in shown
    assert "Does the answer stay in the language?" in shown
    whole = next(f for f in summary["fidelity"] if (f["split"], f["lang"]) == (ALL, ALL))
    counted = f"{whole['off_target']['n']} of {whole['outputs']}"
    assert f"{counted} whose language could be identified" in shown
    assert "What depends on the answer rule" in shown
    assert "Always naming the option that is right most often" in shown
    assert "format / content repair" in shown
    assert "no option, before / after" in shown
    names = {file.stem for file in paths.figures}
    assert {"culture-scores-js_similarity", "culture-fidelity"} <= names


@pytest.mark.usefixtures("quick")
def test_tables_hold_what_the_summary_says(tmp_path: Path) -> None:
    run = simulate(tmp_path / "culture", layers=2, facts=4, seed=2, direction="x->en")
    paths = build_report([run], tmp_path / "out")
    summary = json.loads(paths.summary.read_text(encoding="utf-8"))["runs"][0]
    for name in ("scores", "scores_at_pair", "fidelity", "fidelity_at_pair", "rules"):
        frame = pd.read_csv(tmp_path / "out" / "tables" / f"{name}.csv")
        assert len(frame) == len(summary[name]) > 0, name
        assert (tmp_path / "out" / "tables" / f"{name}.csv").is_file()
    frame = pd.read_csv(tmp_path / "out" / "tables" / "picked.csv")
    tests = [test for pick in summary["picked"] for test in pick["tests"]]
    assert frame["unparseable"].tolist() == pytest.approx(
        [t["unparseable"]["value"] for t in tests]
    )
    for name in ("repaired_format", "repaired_content", "broken_unparseable"):
        assert frame[name].tolist() == [test[name] for test in tests]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gold", [None, "Nairobi"])
def test_a_run_of_short_open_answers_has_a_report(tmp_path: Path, gold: str | None) -> None:
    items = [item("p", **(OPEN | {"answer": gold})), item("a", **(OPEN | {"answer": gold}))]
    correct = None if gold is None else False
    rows = [
        row(name, control, correct, prediction=None)
        for name in "pa"
        for control in ("vanilla", "none")
    ]
    task = TASK | {"metric": "accuracy"}
    paths = build_report([write_run(tmp_path / "run", items, rows, task=task)], tmp_path / "out")
    shown = visible(paths)
    assert "Graded scores" not in shown
    assert "Does the answer stay in the language?" not in shown
    assert "The language of none of 2 unmodified answers could be identified" in shown
    assert ("answer rule is" in shown) == (gold is not None)
    summary = json.loads(paths.summary.read_text(encoding="utf-8"))["runs"][0]
    assert summary["scores"] == summary["scores_at_pair"] == summary["fidelity_at_pair"] == []
    assert {f["off_target"]["value"] for f in summary["fidelity"]} == {None}


def test_a_run_that_names_no_language_says_nothing_of_fidelity(tmp_path: Path) -> None:
    task = {"name": "prompts"}
    rows = [row("a", "vanilla", None, correct_by_rule={})]
    run = summary_of(tmp_path, [item("a", lang="und", answer=None)], rows, task=task)
    assert run.metric == "accuracy"
    assert run.fidelity == run.rules == run.scores == []
    assert graded.fidelity_sentences(run) == graded.score_sentences(run) == []
    assert graded.rules_table(run) is None
    assert graded.notes(run) == []
    assert graded.rule_sentence(run) == ""
    assert formatting.language("und") == "an unnamed language"
    assert formatting.language("sw") == "Swahili"
    assert formatting.language("our dialect") == "our dialect"
