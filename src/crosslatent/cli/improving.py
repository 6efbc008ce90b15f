"""``crosslatent improve``: from a user's questions to a chooser and one sentence."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from pathlib import Path
from typing import Annotated

import typer

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.core.imports import need
from crosslatent.core.shared_settings import CHOOSER, IMPROVE_MARKER, ImproveSettings
from crosslatent.core.specs import chat_of, right_now


@options.command
def improve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP)],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for runs, report and chooser; repeat to resume."),
    ],
    asked: questions.PlainQuestionSettings,
    counterparts: questions.CounterpartSettings,
    tried: ImproveSettings,
    loading: options.ModuleSettings,
    json: options.JsonOption = False,
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
        terminal.print_json(found.to_dict())
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
