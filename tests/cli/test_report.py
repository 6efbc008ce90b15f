"""`crosslatent report` and what `demo` says at its end, from runs that are written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosslatent.cli.first_steps import introduction, summary_lines
from crosslatent.report import drawing
from support.runs import item, row, write_run

HEADLINE = {"task": "facts", "component": "ffn", "tune": "pilot", "test": "final"}


@pytest.fixture(autouse=True)
def figures_are_not_saved(monkeypatch):
    """They are what `tests/report` is about, and drawing them takes most of the time."""
    monkeypatch.setattr(drawing, "FORMATS", ())


@pytest.fixture
def run(tmp_path):
    names = [f"{split}{k}" for split in ("pilot", "final") for k in range(6)]
    rows = []
    for k, name in enumerate(names):
        rows += [row(name, "vanilla", correct=k % 3 == 0), row(name), row(name, target=1)]
        rows += [row(name, "noise", correct=k % 2 == 0), row(name, "translate_test")]
    items = [item(name, split=name[:-1]) for name in names]
    return write_run(tmp_path / "run", items, rows, headline=HEADLINE)


def test_report_says_where_it_is(cli, run, tmp_path):
    result = cli("report", run, f"--out={tmp_path / 'report'}")
    assert result.code == 0, result
    assert str(tmp_path / "report" / "summary.json") in result.out
    page = tmp_path / "report" / "report.html"
    assert str(page) in result.out
    assert "<html" in page.read_text(encoding="utf-8")
    again = cli("report", run, f"--out={tmp_path / 'report'}")
    assert again.code == 0


def test_summary_lines_name_the_figures_that_count(cli, run, tmp_path):
    cli("report", run, f"--out={tmp_path / 'report'}")
    summary = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    text = "\n".join(summary_lines(summary))
    assert "Declared before the run: ffn 0 -> 0, picked on the pilot questions" in text
    assert "tested on the 6 final ones" in text
    assert "right, unmodified            33.3 %" in text
    assert "right, with transplant       100.0 %" in text
    assert "gain                         +66.7 points" in text
    assert "4 repaired, 0 broken" in text
    assert "  noise  " in text
    # The other controls were not run: that is no failure.
    assert "could not be judged" in text
    assert "    not judged: " in text
    assert "the counterpart answered instead (translate-test): 100.0 %" in text
    assert "ffn   100.0 % beside noise" in text


def test_summary_lines_without_a_headline():
    lines = list(summary_lines({"headline": None, "headline_missing": "None.", "runs": []}))
    assert lines == ["No headline: None."]


def test_the_demo_says_what_it_is_about_to_do():
    text = "\n".join(introduction())
    assert "A sweep does that for every pair of layers" in text
    assert "Task 1 of 2, demo-facts: Facts that English mostly knows, asked in another" in text
    assert "Task 2 of 2, demo-codes: Codes, known in English or in the language of the" in text
    assert "a row is one answer with one vector copied in" in text


def test_summary_lines_call_new_figures_exploratory(cli, run, tmp_path):
    cli("report", run, f"--out={tmp_path / 'report'}")
    summary = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    way = dict(summary["runs"][0]["ways"][0], name="surer", pair=None)
    summary["runs"][0]["ways"] = [way]
    assert "exploratory" not in "\n".join(summary_lines(summary))
    summary["runs"][0]["exploratory"] = ["surer"]
    assert "exploratory: defined after the rows were seen" in "\n".join(summary_lines(summary))


def test_json_names_the_files(cli, run, tmp_path):
    found = cli("report", run, f"--out={tmp_path / 'report'}", "--json").json
    assert (found["out"], found["runs"]) == (str(tmp_path / "report"), [str(run)])
    files = found["files"]
    assert files["page"] == str(tmp_path / "report" / "report.html")
    assert all(Path(one).is_file() for one in (*files["figures"], *files["tables"]))
