"""Two versions in turns: ratios of neighbours in time, and rows that differ are counted."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main
from benchmarks.against import JOBS, Compared, _compare, against


def test_a_line_has_the_median_ratio_and_its_range():
    one = Compared("sweep", (0.9, 1.1, 1.0), here=2.0, there=1.95, differing=3, rows=1200)
    assert one.line() == "| sweep | 2.00 s | 1.95 s | 1.000 | 0.900 to 1.100 | 3 of 1,200 |"


def test_rows_that_differ_or_are_missing_are_counted(monkeypatch):
    answers = {"here": ["a", "b", "c"], "there": ["a", "x"]}
    asked = []

    def ask(process, job):
        asked.append(process)
        return {"seconds": 2.0 if process == "here" else 1.0, "digest": answers[process]}

    monkeypatch.setattr("benchmarks.against._ask", ask)
    found = _compare("sweep", ["here", "there"], 3)
    assert (found.differing, found.rows, found.ratios) == (2, 3, (2.0, 2.0, 2.0))
    # After the warm-up, who goes first changes from one repetition to the next.
    assert asked[2:] == ["here", "there", "there", "here", "here", "there"]


def test_a_commit_that_is_not_there_is_one_sentence():
    with pytest.raises(SystemExit, match="no version 'no-such-commit' to compare with"):
        main(["--against", "no-such-commit", "--quick"])


@pytest.mark.slow
def test_this_version_beside_itself():
    found = against("HEAD", 1, 1, quick=True)
    assert [one.job for one in found] == list(JOBS)
    assert all(one.differing == 0 and one.rows > 1 for one in found)
