"""The application: which commands there are, and `main`, the entry point."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NoReturn

import typer

from crosslatent.cli import (
    check,
    demo,
    export,
    lens,
    report,
    select,
    sweep,
    tasks,
    transplant,
)
from crosslatent.cli.errors import Settings, excepthook, run
from crosslatent.cli.models import quiet
from crosslatent.cli.options import DebugOption, need_command


def lm_eval(context: typer.Context) -> None:
    """Run lm-evaluation-harness; arguments are its own, and --model crosslatent is known."""
    quiet()
    from crosslatent.harness.command import run

    code = run(context.args)
    if code:
        raise typer.Exit(code)


app = typer.Typer(
    name="crosslatent",
    help="Carry activations across languages in a language model, and measure what they change.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("transplant")(transplant.transplant)
app.command("check")(check.check)
app.command("sweep", cls=sweep.RayCommand)(sweep.sweep)
app.command("export")(export.export)
app.command("select")(select.select)
app.command("report")(report.report)
app.add_typer(tasks.app, name="tasks")
app.add_typer(lens.app, name="lens")
app.command(
    "lm-eval",
    context_settings={
        # Everything behind the command's name is the harness's, --help included.
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)(lm_eval)


def _print_version(value: bool) -> None:
    if not value:
        return
    try:
        print(f"crosslatent {version('crosslatent')}")
    except PackageNotFoundError:
        print("crosslatent (not installed)")
    raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: DebugOption = False,
) -> None:
    need_command(context)


@cache
def command() -> Any:
    """All commands, made once in a process."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str], settings: Settings | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 the run failed, 2 wrong usage."""
    settings = settings or Settings()

    def call() -> int:
        code = command().main(
            list(arguments), prog_name="crosslatent", standalone_mode=False, obj=settings
        )
        return code if isinstance(code, int) else 0

    return run(call, settings)


def entry() -> NoReturn:
    """The console script."""
    settings = Settings()
    sys.excepthook = excepthook(settings)
    sys.exit(main(sys.argv[1:], settings))
