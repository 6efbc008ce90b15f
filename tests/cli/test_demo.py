"""`crosslatent demo`, whole: minutes, so it is in the slow tier."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_demo_ends_with_a_report_and_resumes(cli, tmp_path):
    out = tmp_path / "demo"
    first = cli("demo", f"--out={out}")
    assert first.code == 0, first
    assert "answers in" in first.err
    assert "A first look, 24 pilot questions" in first.err
    assert str(out / "report.html") in first.out
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["headline"]["n"] > 0
    assert {run["task"] for run in summary["runs"]} == {"demo-facts", "demo-codes"}
    again = cli("demo", f"--out={out}")
    assert again.code == 0
    assert "answers in" not in again.err
    assert again.out == first.out
