"""The parts of a gain in words, as a table and as a figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from crosslatent.analysis import summarise
from crosslatent.analysis.gain_split import STEPS
from crosslatent.report import build_report, formatting
from crosslatent.report.gain_parts import split_sentences, split_table
from support.gain_rows import GAPS, names, rows_of, run_of


def test_parts_in_words_and_in_a_table(tmp_path: Path) -> None:
    path = run_of(tmp_path)
    run = summarise([path]).runs[0]
    about, said = split_sentences(run, "unseen")
    assert "add up" in about
    assert "Feed-forward 0 \u2192 1 on the unseen questions" in said
    assert said.index("Raised by content") < said.index("language") < said.index("Lowered by loss")
    table = split_table(run, "unseen")
    assert table is not None
    assert len(table.rows) == len(STEPS) + 1


def test_a_part_whose_interval_holds_zero_carries_nothing(tmp_path: Path) -> None:
    rows = []
    for k, (name, _) in enumerate(names()):
        wave = 0.5 if k % 2 else -0.5
        gaps = GAPS | {"mean": GAPS["mean-main"] + wave, "none": GAPS["mean-main"] + wave + 2}
        rows += list(rows_of(name, 0, gaps))
    _, said = split_sentences(summarise([run_of(tmp_path, rows)]).runs[0], "unseen")
    assert "Raised by content" in said
    assert "The interval of language holds 0." in said


def test_a_report_draws_the_parts(tmp_path: Path) -> None:
    files = build_report([run_of(tmp_path)], tmp_path / "report")
    page = next(
        file for file in files.pages if file.suffix == ".html" and "answers" not in file.name
    )
    assert "Why the pair works, or not" in page.read_text(encoding="utf-8")
    (figure,) = (file for file in files.figures if file.name.endswith("parts-of-gain-ffn.csv"))
    drawn = pd.read_csv(figure)
    assert list(drawn.name[:5]) == ["whole", "loss", "size", "language", "content"]
    assert abs(drawn.value[1:5].sum() - drawn.value[0]) < 1e-9
    tables = {file.name for file in files.tables}
    assert {"gain_split.csv", "gain_beside.csv", "gain_recovery.csv"} <= tables


def test_signed_numbers() -> None:
    numbers = (0.484, -0.484, 17.43, 0.001, -1e-9, None)
    assert [formatting.signed(one) for one in numbers] == [
        "+0.48", "\u22120.48", "+17.4", "0.00", "0.00", "\u2013",
    ]  # fmt: skip
