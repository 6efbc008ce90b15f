"""The page of two runs: what is said, drawn and written of B minus A."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from crosslatent.analysis import Headline, compare, declaration
from crosslatent.cli.app import app
from crosslatent.core.errors import UsageError
from crosslatent.report import build_report, compared_runs, drawing
from support.pages import text_of
from support.two_runs import questions, run_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "FORMATS", ())


def test_two_runs_are_compared_on_the_page_and_in_files(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", questions(90), lambda k: k % 2 == 0)
    second = run_of(tmp_path / "b", questions(90), lambda k: k % 9 > 0)
    built = build_report([first, second], tmp_path / "out", compare=True)
    page = text_of(built.page)
    assert "Two runs side by side" in page
    assert "90 questions about 90 facts are in both" in page
    assert "Feed-forward, gain at each run\u2019s own picked pair: B gains more than A" in page
    assert "B gains more than A" in built.page.read_text(encoding="utf-8")
    assert "Answers that differ</h2>" not in built.page.read_text(encoding="utf-8")
    summary = json.loads(built.summary.read_text(encoding="utf-8"))["comparison"]
    tables = {file.name: file for file in built.tables}
    with tables["compared.csv"].open(encoding="utf-8") as file:
        lines = {line["measure"]: line for line in csv.DictReader(file)}
    gain = next(one for one in summary["differences"] if one["measure"] == "picked_pair")
    assert float(lines["picked_pair"]["difference"]) == gain["difference"]["value"]
    with tables["answers_that_differ.csv"].open(encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    differ = sum((k % 2 == 0) != (k % 9 > 0) for k in range(30, 90))
    assert len(answers) == differ > compared_runs.MOST_ANSWERS
    assert f"12 of {differ}; all are in tables/answers_that_differ.csv" in page
    with tables["difference_map.csv"].open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2  # of the four pairs, two were run


def test_answers_on_the_page_are_those_that_became_right_and_wrong_in_turns(
    tmp_path: Path,
) -> None:
    first = run_of(tmp_path / "a", questions(60), lambda k: k % 2 == 0)
    second = run_of(tmp_path / "b", questions(60), lambda k: k % 2 == 1)
    parts = compared_runs.sections(compare(first, second), tmp_path / "figures")
    (answers,) = (part for part in parts if part.title == "Answers that differ")
    (table,) = answers.blocks[1].tables
    assert [line[-1] for line in table.rows] == ["became right", "became wrong"] * 6


def test_a_headline_on_other_questions_has_its_sentence_and_nothing_else(tmp_path: Path) -> None:
    headline = declaration(Headline(component="ffn", least_gain=0.05, controls=("noise",)))
    first = run_of(tmp_path / "a", questions(60), lambda k: k % 3 > 0, headline=headline)
    second = run_of(tmp_path / "b", questions(600, 1000), lambda k: False)
    built = build_report([first, second], tmp_path / "out", compare=True)
    page = text_of(built.page)
    assert "No question is in both, of 60 in A and 600 in B" in page
    assert "Refuted: a gain that large is excluded." in page
    assert "Answers that differ</h2>" not in page
    assert "replication.csv" in {file.name for file in built.tables}


def test_runs_that_share_nothing_are_reported_together_unless_compare_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_of(tmp_path / "a", questions(9), lambda k: True)
    second = run_of(tmp_path / "b", questions(9, 100), lambda k: True)
    page = build_report([first, second], tmp_path / "out").page.read_text(encoding="utf-8")
    assert "Two runs side by side: " in re.sub("</?bdi>", "", page)
    assert "Nothing is compared, because no question is in both runs" in page
    with pytest.raises(UsageError, match="Nothing is compared"):
        build_report([first, second], tmp_path / "refused", compare=True)
    assert not (tmp_path / "refused").exists()
    words = ["report", str(first), str(second), "--out", str(tmp_path / "cli"), "--compare"]
    with pytest.raises(UsageError, match="compare runs that share questions"):
        app(words, standalone_mode=False)
