"""``crosslatent lens``: language subspaces, training with them, and what it changed."""

from __future__ import annotations

import typer

from crosslatent.cli.lens import evaluate, probe, train
from crosslatent.cli.options import need_command

app = typer.Typer(
    help="Lens: where a model keeps its languages, and training its top blocks with that.",
    invoke_without_command=True,
    callback=need_command,
)
app.command("probe")(probe.probe)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
