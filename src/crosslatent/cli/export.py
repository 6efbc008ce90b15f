"""``crosslatent export``: the rows of a run for other tools."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from crosslatent.cli.errors import say
from crosslatent.cli.options import DebugOption
from crosslatent.core.errors import UsageError


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a sweep, or its URL.")],
    format: Annotated[  # noqa: A002 - the option's public name
        str, typer.Option(metavar="FORMAT", help="parquet, csv or jsonl.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to; standard output for csv and jsonl if left out."
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write the rows of a run, each with its item, as one table."""
    from crosslatent.runs.reader import check_format, export_rows

    kind = check_format(format)
    if out is not None:
        rows = export_rows(run, out, kind)
        say(f"{rows} rows written to {out}")
    elif kind == "parquet":
        raise UsageError("Parquet is not text: say where to write it with --out FILE.")
    else:
        _to_stdout(run, kind)


def _to_stdout(run: str, kind: str) -> None:
    from crosslatent.runs.reader import check_format, export_rows

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows"
        export_rows(run, file, check_format(kind))
        with file.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
    sys.stdout.flush()
