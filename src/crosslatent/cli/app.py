"""The application: which commands there are, the smallest of them, and `main`, the entry point.

Exit codes: 0 done, 1 the run or a part of it failed, 2 wrong usage, 130 interrupted, 143 terminated
(SIGTERM). A traceback appears only with ``--debug``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NoReturn

import typer

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli import tasks, terminal
from crosslatent.cli.command_class import Command, CommandGroup, DebugOption, Invocation
from crosslatent.cli.compare_methods import compare, culture
from crosslatent.cli.costing import overhead
from crosslatent.cli.first_steps import check, demo
from crosslatent.cli.lens_eval import evaluate
from crosslatent.cli.lens_probe import probe
from crosslatent.cli.lens_train import train
from crosslatent.cli.selecting import answer, select
from crosslatent.cli.sweeping import sweep
from crosslatent.cli.terminal import (
    INTERRUPTED,
    check_output_folder,
    plain_paths,
    print_json,
    print_paths,
    print_plain,
    say,
    status_lines,
)
from crosslatent.cli.transplanting import transplant
from crosslatent.core.errors import CrosslatentError, UsageError
from crosslatent.core.imports import extra_of, need
from crosslatent.core.settings import REQUIRED, Panel, Setting, needed, path, switch
from crosslatent.core.shared_settings import CHOOSER, IMPROVE_MARKER, ImproveSettings
from crosslatent.core.specs import chat_of, right_now

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Run folder of a sweep, or its URL.")
]


@options.command
def export(
    run: RunArgument,
    format: Annotated[  # noqa: A002 - the option's public name
        str,
        Setting(
            "parquet, csv or jsonl.",
            "FORMAT",
            default=REQUIRED,
            panel=Panel.OUTPUT,
            known=("parquet", "csv", "jsonl"),
        ),
    ],
    out: Annotated[
        Path | None,
        path(
            "Where to; standard output for csv and jsonl if left out.",
            "FILE",
            panel=Panel.OUTPUT,
        ),
    ],
    json: options.JsonOption,
) -> None:
    """Write the rows of a run, each with its item, as one table."""
    from crosslatent.runs.reader import check_format, export_rows

    kind = check_format(format)
    if out is not None:
        rows = export_rows(run, out, kind)
        say(f"{rows} rows written to {out}")
        if json:
            print_json({"out": str(out), "rows": rows, "format": kind})
    elif json:
        raise UsageError("--json says what was written to a file: give --out FILE too.")
    elif kind == "parquet":
        raise UsageError("Parquet is not text: say where to write it with --out FILE.")
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows"
            export_rows(run, file, kind)
            with file.open("rb") as source:
                shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.flush()


@options.command
def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders of sweeps, or their URLs.")
    ],
    out: Annotated[Path, needed("Folder for the report.", "DIR", panel=Panel.OUTPUT)],
    compare: Annotated[
        bool,
        switch("Refuse two runs that share no question, instead of saying so.", panel=Panel.OUTPUT),
    ],
    json: options.JsonOption,
) -> None:
    """Make an HTML report, figures and tables from the rows of one or more runs.

    Two runs that share questions are compared: the second minus the first.
    """
    need("report")
    check_output_folder(out, "summary.json")
    from crosslatent.runs.reader import RunReader

    for run in runs:
        RunReader(run)  # refuses what is no run folder, before figures are drawn
    from crosslatent.report import build_report

    written = build_report(runs, out, compare=compare)
    if json:
        print_json({"out": str(out), "runs": runs, "files": plain_paths(written)})
    else:
        print_paths(written)


@options.command
def status(
    run: RunArgument,
    json: options.JsonOption,
) -> None:
    """Say how far a run is, also while a sweep is writing to it."""
    from crosslatent.runs.run_status import read_status

    found = read_status(run)
    if json:
        print_json(found.to_dict())
    else:
        for line in status_lines(found):
            print_plain(line)


@options.command
def improve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP)],
    out: Annotated[
        Path,
        needed("Folder for runs, report and chooser; repeat to resume.", "DIR", panel=Panel.OUTPUT),
    ],
    asked: questions.PlainQuestionSettings,
    counterparts: questions.CounterpartSettings,
    tried: ImproveSettings,
    loading: options.ModuleSettings,
    json: options.JsonOption,
) -> None:
    """Split your questions, find what answers them better, test it on the rest, and keep it."""
    need("report")
    options.check_model({"model": model, **loading})
    options.check_chat(tried)
    options.check_seed(tried)
    auto = counterparts["aux"] is not None
    target = questions.target_language(asked["aux_lang"], asked["prompts"])
    questions.check_parallel(counterparts["save_parallel"], auto, asked["prompts"])
    task = questions.load_questions(asked, auto=auto)
    from crosslatent.studies.questions import answered

    answered(task, {})
    terminal.check_output_folder(out, IMPROVE_MARKER)
    loaded = options.load_model({"model": model, **loading})
    chat = chat_of(tried["chat"], tried["chat_args"], right_now())
    maker = questions.CounterpartMaker(loaded, counterparts, loading, target, chat)
    task, failures = questions.prepare_questions(
        task, maker if auto else None, limit=asked["limit"]
    )
    if counterparts["save_parallel"] is not None:
        questions.save_parallel(task, counterparts["save_parallel"])
    from crosslatent.studies.improvement import improve as run

    with terminal.stoppable(), terminal.progresses() as show:
        found = run(
            loaded,
            task,
            out=out,
            progress=show,
            warned=terminal.warn,
            failures=failures,
            **tried,
        )
    if json:
        terminal.print_json({"out": str(out), **found.to_dict()})
        return
    if found.division:
        terminal.say(found.division)
    terminal.say(f"Report: {found.report}")
    if found.finding is not None and found.finding.recommended is not None:
        terminal.say(
            f"Your next questions: crosslatent answer --model {model} --chooser {out / CHOOSER} "
            "--prompts FILE --out FILE"
        )
    terminal.print_text(f"{found.sentence} {found.use}")


def lm_eval(context: typer.Context) -> None:
    """Run lm-evaluation-harness; arguments are its own, and --model crosslatent is known."""
    options.quiet()
    from crosslatent.harness.command import run as run_harness

    code = run_harness(context.args)
    if code:
        raise typer.Exit(code)


lens_app = typer.Typer(
    cls=CommandGroup,
    help="Lens: where a model keeps its languages, and training its top blocks with that.",
    invoke_without_command=True,
    callback=options.need_command,
)
lens_app.command("probe", cls=Command)(probe)
lens_app.command("train", cls=Command)(train)
lens_app.command("eval", cls=Command)(evaluate)

app = typer.Typer(
    name="crosslatent",
    cls=CommandGroup,
    help="Carry activations across languages in a language model, and measure what they change.",
    epilog="For example: crosslatent improve MODEL --prompts mine.jsonl --out improved",
    pretty_exceptions_enable=False,
)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "First steps": (demo, transplant, check),
    "Better answers to your own questions": (improve, answer),
    "Sweeps over layers": (sweep, status, report, select, export),
    "Methods and culture": (compare, culture),
    "More": (overhead,),
}
for _panel, _functions in _PANELS.items():
    for _function in _functions:
        app.command(cls=Command, rich_help_panel=_panel)(_function)
app.add_typer(tasks.app, name="tasks", rich_help_panel="First steps")
app.add_typer(lens_app, name="lens", rich_help_panel="More")
app.command(
    "lm-eval",
    rich_help_panel="More",
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
    options.need_command(context)


@cache
def command() -> Any:
    """All commands, made once in a process."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str], invocation: Invocation | None = None) -> int:
    """Run the command line and return its exit code: what is raised on purpose becomes one."""
    invocation = invocation or Invocation()
    try:
        code = command().main(
            list(arguments), prog_name="crosslatent", standalone_mode=False, obj=invocation
        )
        return code if isinstance(code, int) else 0
    except _usage_error_type() as error:
        say(f"Error: {_usage_message(error)}")
        return 2
    except (CrosslatentError, ModuleNotFoundError) as error:
        known = extra_of(error) if isinstance(error, ModuleNotFoundError) else error
        if known is None:
            raise
        if invocation.debug:
            traceback.print_exc()
        say(f"Error: {known}")
        return known.exit_code
    except (typer.Abort, KeyboardInterrupt):
        say("Interrupted.")
        return INTERRUPTED


def _usage_error_type() -> type[Exception]:
    """The base class of what Typer raises for arguments that it cannot parse.

    It is Click's or Typer's own, depending on the version; only classes below it are public.
    """
    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _usage_message(error: Exception) -> str:
    message = getattr(error, "format_message", error.__str__)().strip()
    context = getattr(error, "ctx", None)
    if context is None:
        return str(message)
    return f"{message.rstrip('.')} (see '{context.command_path} --help')."


def excepthook(invocation: Invocation) -> ExceptHook:
    """For unexpected exceptions: the interpreter still exits with 1, but without a traceback."""

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if invocation.debug or not issubclass(kind, Exception):
            sys.__excepthook__(kind, error, where)
            return
        reason = " ".join(str(error).split()) or "no reason given"
        say(f"Error: unexpected {kind.__name__} ({reason}): repeat with --debug to see where.")

    return hook


def entry() -> NoReturn:
    """The console script."""
    invocation = Invocation()
    sys.excepthook = excepthook(invocation)
    sys.exit(main(sys.argv[1:], invocation))
