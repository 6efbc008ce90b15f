"""The figures of a summary as files: CSV for programs, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crosslatent.analysis import Summary
from crosslatent.analysis.declared_tables import TABLES
from crosslatent.analysis.figure_tables import long_table, wide_tables
from crosslatent.report import formatting, safe
from crosslatent.report.views import Table
from crosslatent.selectors import Choosing
from crosslatent.stats import Estimate

_DIFFERENCES = frozenset(
    {
        "gain",
        "difference",
        "over_control",
        "over_shuffled",
        "gain_attn",
        "gain_ffn",
        "shuffled_gain",
        "same_minus_different",
    }
)
"""Estimates that are printed in points with their sign, and not in percent."""


_FOR_PDFLATEX = {
    formatting.MINUS: "$-$",
    formatting.NARROW: r"\,",
    "\u2013": "--",
    "\u00a0": "~",
}
"""Characters that pdfLaTeX does not know."""

_IN_LATEX = {
    **_FOR_PDFLATEX,
    **{character: f"\\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\u2019": "'",
    "\u2068": "",
    "\u2069": "",
}


def write_tables(summary: Summary, choosing: Sequence[Choosing], folder: Path) -> None:
    """Write every table that has rows as ``NAME.csv``, and the short ones as ``NAME.tex``.

    All figures in one long table are ``estimates.csv``.
    """
    in_papers = {table.name for table in TABLES if table.in_report and table.in_papers}
    for name, records in wide_tables(summary, choosing).items():
        frame = pd.DataFrame.from_records(records)
        safe.write_csv(frame, folder / f"{name}.csv")
        if name in in_papers:
            (folder / f"{name}.tex").write_text(_latex(frame), encoding="utf-8")
    safe.write_csv(long_table(summary, choosing), folder / "estimates.csv")


def _latex(frame: pd.DataFrame) -> str:
    """Estimates folded into one column each, ``value (low to high)``, so that the table fits."""
    shown = frame.map(lambda cell: safe.printable(cell) if isinstance(cell, str) else cell)
    for column in [name for name in shown.columns if f"{name}_low" in shown.columns]:
        difference = column in _DIFFERENCES
        shown[column] = [
            formatting.with_interval(_estimate(record, column), difference=difference)
            for record in frame.to_dict("records")
        ]
        parts = [f"{column}_{part}" for part in ("low", "high", "n", "clusters", "seed")]
        shown = shown.drop(columns=parts)
    text = str(shown.to_latex(index=False, escape=True, na_rep="--"))
    return "".join(_FOR_PDFLATEX.get(character, character) for character in text)


def latex_of(table: Table) -> str:
    """A table of a page for papers, with all special characters of LaTeX escaped."""
    columns = "".join("r" if place in table.numeric else "l" for place in range(len(table.head)))
    head, *rows = (" & ".join(map(_escaped, row)) + r" \\" for row in (table.head, *table.rows))
    start = rf"\begin{{tabular}}{{{columns}}}"
    lines = [start, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return "".join(_IN_LATEX.get(character, character) for character in text)


def _estimate(record: Mapping[str, Any], column: str) -> Estimate:
    value, low, high = (
        None if pd.isna(record[name]) else float(record[name])
        for name in (column, f"{column}_low", f"{column}_high")
    )
    n, clusters, seed = (int(record[f"{column}_{part}"]) for part in ("n", "clusters", "seed"))
    return Estimate(value, low, high, n, clusters, seed)
