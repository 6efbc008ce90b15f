"""``crosslatent demo``: the main job on the shipped model and its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslatent.cli.options import DebugOption
from crosslatent.cli.output import check_output_folder


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and report.")] = Path(
        "demo-output"
    ),
    debug: DebugOption = False,
) -> None:
    """Sweep the shipped model on its tasks; report what transplants repair, and what luck does."""
    check_output_folder(out, "summary.json")
    raise NotImplementedError
