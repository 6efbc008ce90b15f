"""The figures of a summary as files: CSV for programs, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crosslatent.analysis import Summary
from crosslatent.analysis.figure_tables import long_table, wide_tables
from crosslatent.report import formatting, safe
from crosslatent.report.views import Table
from crosslatent.selectors import Choosing

_FOR_PDFLATEX = {
    formatting.MINUS: "$-$",
    formatting.NARROW: r"\,",
    "\u2013": "--",
    "\u00a0": "~",
    "\u2192": r"$\to$",
    "\u221e": r"$\infty$",
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
    """Write every table that has rows as ``NAME.csv``, and all in one long table.

    That one is ``estimates.csv``. (For papers: `paper`.)
    """
    for name, records in wide_tables(summary, choosing).items():
        safe.write_csv(pd.DataFrame.from_records(records), folder / f"{name}.csv")
    safe.write_csv(long_table(summary, choosing), folder / "estimates.csv")


def latex_of(table: Table) -> str:
    """A table of a page for papers, with all special characters of LaTeX escaped."""
    columns = "".join("r" if place in table.numeric else "l" for place in range(len(table.head)))
    head, *rows = (" & ".join(map(escaped, row)) + r" \\" for row in (table.head, *table.rows))
    start = rf"\begin{{tabular}}{{{columns}}}"
    lines = [start, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def float_of(table: Table, label: str) -> str:
    """A table for papers with its caption and its label (``tab:...``), as wide as a column."""
    lines = [
        r"\begin{table}[t]",
        r"\centering\small",
        latex_of(table).rstrip(),
        rf"\caption{{{escaped(table.caption)}}}",
        rf"\label{{tab:{label}}}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text with all special characters of LaTeX escaped."""
    return "".join(_IN_LATEX.get(letter, safe.in_figure(letter)) for letter in text)
