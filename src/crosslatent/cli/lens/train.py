"""``crosslatent lens train``: the top blocks of a model, towards subspaces or on answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosslatent.cli.errors import warn
from crosslatent.cli.lens.training_inputs import (
    ANSWERS,
    LENS,
    TrainingTexts,
    groups_of,
    load_for_training,
    read_questions,
    read_rows,
    read_space,
)
from crosslatent.cli.lens.training_view import show_training, tell
from crosslatent.cli.options import (
    DebugOption,
    JsonOption,
    PlainModelSettings,
    command,
)
from crosslatent.cli.output import check_output_folder, check_writable_folder
from crosslatent.cli.stopping import stoppable
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import settings_of
from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.text_streams import ParallelRows
    from crosslatent.lens.training.execution import Trained
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task


_OF_LENS = ("at", "align", "separate", "retain", "strength")
_OF_ANSWERS = ("central_answers",)
_LORA = settings_of(LoraSpec)


@command
def train(
    context: typer.Context,
    model: PlainModelSettings,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="For the trained model; the same command again goes on with it."
        ),
    ],
    texts: TrainingTexts,
    spec: TrainSpec,
    adapters: LoraSpec,
    lora: Annotated[
        bool, typer.Option("--lora", help="Train low-rank adapters on these blocks instead.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the states below the trained blocks here, for other runs."
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Start over, also if a run is there.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a model's top blocks: towards its language subspaces (Lens), or on gold answers."""
    if lora:
        spec = replace(spec, lora=adapters)
    _check_objective(texts)
    _check_used(context, texts["objective"], lora=lora)
    _check_places(out, cache)
    space = read_space(texts)
    questions = read_questions(texts)
    rows = None if space is None else read_rows(questions, texts)
    loaded = load_for_training(model)
    trained = _train(loaded, space, rows, questions, texts, spec, out, cache, new=new)
    if _is_first():
        if space is not None:
            _warn_of(space, spec)
        _leave(trained, out, json=json)


def _warn_of(space: Space, spec: TrainSpec) -> None:
    from crosslatent.lens.compatibility import read_otherwise

    for sentence in read_otherwise(space, spec):
        warn(sentence)


def _train(
    model: Model,
    space: Space | None,
    rows: ParallelRows | None,
    questions: Task | None,
    texts: TrainingTexts,
    spec: TrainSpec,
    out: Path,
    cache: Path | None,
    *,
    new: bool,
) -> Trained:
    from crosslatent.lens.training.answer_objective import train_answers
    from crosslatent.lens.training.lens_objective import train as on_texts

    central, folder = texts["central"], texts["space"]
    about = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "space": None if folder is None else str(folder),
    }
    with stoppable(), show_training(quiet=not _is_first()) as show:
        if space is not None and rows is not None:
            return on_texts(
                model,
                space,
                rows,
                central=central,
                languages=texts["langs"] or None,
                groups=None if questions is None else groups_of(rows, questions.items),
                spec=spec,
                out=out,
                cache=cache,
                new=new,
                progress=show,
                about=about,
                task=questions,
            )
        assert questions is not None
        return train_answers(
            model,
            _with_central(questions.items, central),
            spec=spec,
            out=out,
            cache=cache,
            new=new,
            progress=show,
            about=about,
            task=questions,
        )


def _with_central(items: Sequence[Item], central: str) -> Sequence[Item]:
    """The items, with a word on those whose counterpart is in another language."""
    others = {item.aux_lang for item in items} - {central}
    if others:
        warn(f"counterparts of some questions are in {', '.join(sorted(others))}, not {central}")
    return items


def _leave(trained: Trained, out: Path, *, json: bool) -> None:
    from crosslatent.lens.training.record import FOLDER
    from crosslatent.report.lens.training import write_training_figures

    files = write_training_figures(trained.record, out / FOLDER)
    tell(trained, out, files, json=json)


def _is_first() -> bool:
    """Whether this is the only process, or the one of several that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def _check_objective(texts: TrainingTexts) -> None:
    """Refuse an objective that is unknown, lacks what it needs, or has what it does not use."""
    objective, task, space = texts["objective"], texts["task"], texts["space"]
    if objective not in (LENS, ANSWERS):
        raise UsageError(f"Unknown objective {objective!r}: use {LENS} or {ANSWERS}.")
    if objective == LENS and space is None:
        raise UsageError(
            "--space is missing: training with language subspaces needs those of the model, from "
            "'crosslatent lens probe'."
        )
    if objective == ANSWERS and task is None:
        raise UsageError("--task is missing: gold answers come from a task's questions.")
    if objective == ANSWERS and space is not None:
        raise UsageError(
            f"--space is {str(space)!r}, but training on answers uses no subspaces: leave it out."
        )


def _check_used(context: typer.Context, objective: str, *, lora: bool) -> None:
    """Refuse options that were given and would count for nothing."""
    given = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if objective == ANSWERS:
        _refuse(given, _OF_LENS, "training on answers has none of the losses of Lens")
    else:
        _refuse(given, _OF_ANSWERS, "only training on answers has any")
    if not lora:
        _refuse(given, tuple(_LORA), "no adapters are trained without --lora")


def _refuse(given: Mapping[str, object], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in given:
            option = _LORA[name].flags[0] if name in _LORA else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is {given[name]!r}, but {why}: leave it out.")


def _check_places(out: Path, cache: Path | None) -> None:
    """Refuse folders that cannot be written."""
    from crosslatent.lens.training.record import MARKER

    if not _is_first():
        return
    check_output_folder(out, MARKER)
    if cache is not None:
        check_writable_folder(cache)
