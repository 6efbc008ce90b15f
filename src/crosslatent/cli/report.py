"""``crosslatent report``: figures, tables and one HTML file from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslatent.cli.options import DebugOption
from crosslatent.cli.output import check_output_folder


def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders of sweeps, or their URLs.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report.")],
    debug: DebugOption = False,
) -> None:
    """Make an HTML report, figures and tables from the rows of one or more runs."""
    check_output_folder(out, "summary.json")
    from crosslatent.report import build_report

    paths = build_report(runs, out)
    print(f"Figures:  {paths.summary}\nReport:   {paths.page}")
