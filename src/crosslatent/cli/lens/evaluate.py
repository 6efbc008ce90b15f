"""``crosslatent lens eval``: a model before and after, in pairs, on any task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosslatent.cli.errors import say, warn
from crosslatent.cli.lens.evaluation_view import print_evaluation
from crosslatent.cli.options import (
    AuxLangOption,
    ChatArgOption,
    ChatOption,
    DataOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    LangOption,
    ModelOption,
    RevisionOption,
    chat_arguments,
    names,
    positive,
    whole,
)
from crosslatent.cli.output import check_output_folder, print_json
from crosslatent.cli.progress import duration, progresses
from crosslatent.cli.questions import Questions, QuestionSettings
from crosslatent.core.errors import RunFolderError, TaskError, UsageError
from crosslatent.core.settings import complete

if TYPE_CHECKING:
    from crosslatent.core.seen import Seen
    from crosslatent.lens.evaluation.conditions import Condition
    from crosslatent.lens.evaluation.results import Evaluation
    from crosslatent.tasks import Task

MOST_TEXTS = 500
"""Prompts of other splits that the divergence is measured on by default."""


def evaluate(
    model: ModelOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for answers and report; new.")],
    tuned: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="A trained model or adapter; NAME:LANG=DIR for one of several, each for a "
            "language. Can be repeated.",
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(metavar="SPACE", help="Language subspaces of the model, for --steer."),
    ] = None,
    steer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LAYER:ALPHA",
            help="Steering towards the question's language, in LAYER (or several, by commas); "
            "with ':agnostic' after it, of the shared part towards the central language.",
        ),
    ] = None,
    transplant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="C:I:J", help="A transplant from the counterpart, such as ffn:0:0; NAME=C:I:J."
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]KIND:...",
            help="An intervention that is the same for all questions, such as ablate:heads:2:0,3 "
            "or ablate:neurons:each:all. Repeat for more.",
        ),
    ] = None,
    combine: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=S+T", help="The steering S and the transplant T at once."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A task; see 'crosslatent tasks ls'.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Instead of a task: JSON Lines with id, main, aux, ..."),
    ] = None,
    data: DataOption = None,
    lang: LangOption = None,
    aux_lang: AuxLangOption = None,
    split: Annotated[
        str | None, typer.Option(metavar="S,S", help="Splits to evaluate on; all by default.")
    ] = None,
    central: Annotated[
        str | None,
        typer.Option(metavar="L", help="The central language; that of --space, else English."),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="What judges: option, contains, ..., first_token, likelihood, likelihood_mean; "
            "the task's own by default.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="The first N items per language and split."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="T", help="Most new tokens; the task's by default."),
    ] = None,
    chat: ChatOption = False,
    chat_arg: ChatArgOption = None,
    central_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Texts in the central language for the divergence of trained models and of "
            "steering; by default the task's central prompts of other splits.",
        ),
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Field of a text in --central-data; found by default."),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="S", help="Of the intervals and tests.")
    ] = 0,
    batch_rows: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="Rows per batch; what memory holds by default."
        ),
    ] = None,
    allow_training_data: Annotated[
        bool,
        typer.Option(
            "--allow-training-data",
            help="Evaluate also on what a condition was trained on; every figure says so.",
        ),
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    new: Annotated[
        bool, typer.Option("--new", help="Replace an evaluation that is there.")
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare a model with trained, steered or otherwise changed versions of itself."""
    chat_args = chat_arguments(chat_arg, chat=chat)
    if seed < 0:
        raise UsageError(f"--seed is {seed}, but a seed is a whole number of 0 or more.")
    conditions = _conditions(tuned, space, steer, transplant, condition, combine)
    settings = {
        "task": task,
        "prompts": prompts,
        "data": data,
        "lang": names(lang, "--lang"),
        "aux_lang": names(aux_lang, "--aux-lang"),
    }
    asked = Questions(complete(QuestionSettings, settings))
    everything = _load(asked, transplants=bool(transplant))
    chosen = everything.select(splits=names(split, "--split") or None, limit=limit)
    _check_out(out, new=new)
    centre = _central(conditions, central)
    from crosslatent.cli.models import load_model, quiet, warnings_in_one_line

    quiet()
    seen = _seen(model, conditions)
    texts, note = _texts(everything, chosen, centre, central_data, field, seen)
    loaded = load_model(model, revision, device, dtype)
    from crosslatent.lens.evaluation.run import evaluate as run

    with warnings_in_one_line(), progresses() as show:
        evaluation = run(
            loaded,
            [*conditions, *(condition or [])],
            chosen,
            central_texts=texts,
            rule=rule,
            chat=chat,
            chat_args=chat_args,
            max_new_tokens=max_new_tokens,
            seed=seed,
            central=centre,
            batch_rows=batch_rows,
            notes=[note],
            progress=show,
            allow_training_data=allow_training_data,
        )
    evaluation.save(out)
    from crosslatent.report.lens import write_evaluation_report

    files = write_evaluation_report(evaluation, out)
    _tell(evaluation)
    if json:
        written = [str(file) for file in files]
        print_json({"out": str(out), **evaluation.to_json(), "files": written})
    else:
        print_evaluation(evaluation)
        print(out)


def _conditions(
    tuned: list[str] | None,
    space: Path | None,
    steer: list[str] | None,
    transplant: list[str] | None,
    interventions: list[str] | None,
    combine: list[str] | None,
) -> list[Condition]:
    """The conditions as they were given, those that combine others last."""
    from crosslatent.lens.evaluation.conditions import check_conditions, check_folders
    from crosslatent.lens.evaluation.parsing import (
        parse_combined,
        parse_steer,
        parse_transplant,
        parse_tuned,
    )
    from crosslatent.lens.space import load_space

    models = parse_tuned(tuned or [])
    for one in models:
        check_folders(one)
    found: list[Condition] = [*models]
    if steer:
        if space is None:
            raise UsageError(
                "--steer needs the model's language subspaces: give --space with the folder that "
                "`crosslatent lens probe` wrote."
            )
        known = load_space(space)
        found += [parse_steer(text, known) for text in steer]
    elif space is not None:
        raise UsageError(f"--space is {str(space)!r}, but nothing is steered: give --steer too.")
    found += [parse_transplant(text) for text in transplant or []]
    found += [parse_combined(text, tuple(found)) for text in combine or []]
    if found or not interventions:
        check_conditions(found)
    if interventions:
        from crosslatent.interventions.conditions import check_texts

        check_texts(interventions)
    return found


def _load(asked: Questions, *, transplants: bool) -> Task:
    """The task; without counterparts where it has none and none is needed."""
    from dataclasses import replace

    try:
        return asked.load()
    except TaskError:
        if transplants:
            raise
        try:
            loaded = replace(asked, auto=True).load()
        except TaskError:
            loaded = None
        if loaded is None:
            raise
    warn("the task has no counterparts, so nothing is said about the central language.")
    return loaded


def _check_out(out: Path, *, new: bool) -> None:
    from crosslatent.lens.evaluation.results import EVALUATION_FILE

    check_output_folder(out, EVALUATION_FILE)
    if (out / EVALUATION_FILE).exists() and not new:
        raise RunFolderError(
            f"{str(out)!r} holds an evaluation already: give another folder, or replace it with "
            "--new."
        )


def _central(conditions: list[Condition], asked: str | None) -> str:
    from crosslatent.core.languages import ENGLISH
    from crosslatent.lens.evaluation.conditions import steered_of

    if asked is not None:
        return asked
    steerings = [one for one in map(steered_of, conditions) if one is not None]
    return steerings[0].space.central if steerings else ENGLISH


def _seen(model: str, conditions: list[Condition]) -> list[Seen | None]:
    """What each part of the conditions was fitted on."""
    from crosslatent.lens.evaluation.exposure import seen_of
    from crosslatent.model.loading import seen_by

    base = seen_by(model)
    return [seen for one in conditions for _, seen in seen_of(one, base)]


def _texts(
    everything: Task,
    chosen: Task,
    central: str,
    path: Path | None,
    field: str | None,
    seen: list[Seen | None],
) -> tuple[list[str], str]:
    """Held-out texts in the central language, and a sentence that says what they are."""
    from crosslatent.lens.texts.central import read_central

    if path is not None:
        texts = read_central(path, central, field=field)
        return texts, f"The divergence is measured on the {len(texts):,} texts of {path}."
    if field is not None:
        raise UsageError(f"--field is {field!r}, but there is no file: give --central-data too.")
    return _prompts_elsewhere(everything, chosen, central, seen)


def _prompts_elsewhere(
    everything: Task, chosen: Task, central: str, seen: list[Seen | None]
) -> tuple[list[str], str]:
    """Central prompts of splits that are not evaluated, without those that were trained on."""
    from crosslatent.lens.evaluation.asking import central_prompts
    from crosslatent.lens.evaluation.exposure import unseen
    from crosslatent.tasks.shots import PILOT

    others = [name for name in everything.splits if name not in chosen.splits]
    # Training takes the pilot split by default: its prompts are held out for no model.
    others = [name for name in others if name != PILOT] or others
    if not others:
        return [], _no_texts("")
    shown = set(central_prompts(chosen.items, central))
    found = central_prompts(everything.select(splits=others).items, central)
    there = [text for text in found if text not in shown]
    texts = unseen(there, seen)
    if not texts:
        return [], _no_texts(" that were not trained on" if there else "")
    unknown = PILOT in others and not all(one is not None and one.complete for one in seen)
    left = len(there) - len(texts)
    caveats = ", which training may have seen" if unknown else ""
    caveats += f", without {left:,} that were trained on" if left else ""
    few = f", the first {MOST_TEXTS} of them" if len(texts) > MOST_TEXTS else ""
    return texts[:MOST_TEXTS], (
        f"The divergence is measured on the task's central prompts of {', '.join(others)}"
        f"{caveats}{few}."
    )


def _no_texts(which: str) -> str:
    return (
        f"The task has no central prompts in other splits{which}, so there is no divergence "
        "(--central-data)."
    )


def _tell(evaluation: Evaluation) -> None:
    for name, reason in evaluation.failures.items():
        warn(f"item {name!r} was left out: {reason}")
    seconds = sum(condition.seconds for condition in evaluation.conditions)
    say(
        f"{len(evaluation.rows):,} answers under {len(evaluation.conditions)} conditions; "
        f"{duration(seconds)} for the questions themselves."
    )
