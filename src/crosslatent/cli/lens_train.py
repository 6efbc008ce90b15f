"""``crosslatent lens train``: the top blocks of a model, towards subspaces or on answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslatent.cli import command_options as options
from crosslatent.cli import lens_texts, terminal
from crosslatent.cli.lens_texts import ANSWERS, LENS, TrainingTexts
from crosslatent.core.costs import duration
from crosslatent.core.errors import UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import Panel, needed, path, settings_of, switch
from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.training.execution import Trained
    from crosslatent.lens.training.loop import TrainProgress
    from crosslatent.lens.training.record import TrainRecord
    from crosslatent.model import Model
    from crosslatent.tasks import Task

_OF_LENS = ("at", "align", "separate", "retain", "strength")
_OF_ANSWERS = ("central_answers",)
_LORA = settings_of(LoraSpec)
_MOST_LOST = 0.1
"""Share of the change that may be lost by rounding without a warning."""
_WHAT = {"trunk": "texts", "train": "steps"}


@options.command
def train(
    context: typer.Context,
    model: options.PlainModelSettings,
    out: Annotated[
        Path,
        needed(
            "For the trained model; the same command again goes on with it.",
            "DIR",
            panel=Panel.OUTPUT,
        ),
    ],
    texts: TrainingTexts,
    spec: TrainSpec,
    adapters: LoraSpec,
    lora: Annotated[
        bool,
        switch(
            "Train low-rank adapters on these blocks instead.",
            panel=Panel.TRAINING,
        ),
    ],
    cache: Annotated[
        Path | None,
        path(
            "Keep the states below the trained blocks here, for other runs.",
            "DIR",
            panel=Panel.OUTPUT,
            rare=True,
        ),
    ],
    new: Annotated[
        bool,
        switch("Start over, also if a run is there.", panel=Panel.OUTPUT, rare=True),
    ],
    json: options.JsonOption,
) -> None:
    """Train a model's top blocks: towards its language subspaces (Lens), or on gold answers."""
    need("lens")
    options.check_model(model)
    from crosslatent.lens.training.record import FOLDER

    if lora:
        spec = replace(spec, lora=adapters)
    _check_objective(texts)
    _check_used(context, texts["objective"], lora=lora)
    _check_places(out, cache)
    space, questions = lens_texts.read_space(texts), lens_texts.read_questions(texts)
    job = _job(space, questions, texts)
    about = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "space": None if texts["space"] is None else str(texts["space"]),
    }
    loaded = _load(model)
    with terminal.stoppable(), terminal.progresses(_pace, quiet=not _is_first()) as show:
        trained = job(
            loaded,
            spec=spec,
            out=out,
            cache=cache,
            new=new,
            progress=lambda state: show(state.stage, state),
            about=about,
            task=questions,
        )
    if not _is_first():
        return
    if space is not None:
        from crosslatent.lens.compatibility import read_otherwise

        for sentence in read_otherwise(space, spec):
            terminal.warn(sentence)
    from crosslatent.report.lens.training import write_training_figures

    files = write_training_figures(trained.record, out / FOLDER)
    _tell(trained)
    if json:
        terminal.print_json(_plain(trained.record, out, files))
    else:
        _print_curve(trained.record)
        print(out)


def _job(
    space: Space | None, questions: Task | None, texts: TrainingTexts
) -> Callable[..., Trained]:
    """Training on what the settings name; it takes the model and how it is trained."""
    rows = None if space is None else lens_texts.read_rows(questions, texts)
    options.quiet()
    from crosslatent.lens.training.answer_objective import train_answers
    from crosslatent.lens.training.lens_objective import train

    central = texts["central"]
    if space is not None and rows is not None:
        groups = None if questions is None else lens_texts.groups_of(rows, questions.items)
        languages = texts["langs"] or None
        return partial(
            train, space=space, parallel=rows, central=central, languages=languages, groups=groups
        )
    assert questions is not None
    others = {item.aux_lang for item in questions.items} - {central}
    if others:
        terminal.warn(
            f"counterparts of some questions are in {', '.join(sorted(others))}, not {central}"
        )
    return partial(train_answers, items=questions.items)


def _load(settings: options.PlainModelSettings) -> Model:
    """Load the model; of several processes on a machine with GPUs, each has its own."""
    local = os.environ.get("LOCAL_RANK")
    unplaced = settings["device"] == "auto" and "ACCELERATE_USE_CPU" not in os.environ
    if unplaced and local is not None:
        options.quiet()
        import torch

        device = f"cuda:{local}" if torch.cuda.is_available() else "auto"
        settings = {**settings, "device": device}
    return options.load_model(settings)


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
    terminal.check_output_folder(out, MARKER)
    if cache is not None:
        terminal.check_writable_folder(cache)


def _pace(state: TrainProgress) -> tuple[float, str]:
    share = state.done / max(state.total, 1)
    loss = "" if state.loss is None else f"loss {state.loss:.4g}, "
    done = f"{state.done:,} of {state.total:,} {_WHAT[state.stage]}, {loss}"
    return share, done + terminal.time_left(state.seconds, share)


def _tell(trained: Trained) -> None:
    """Say what was left out, and how the losses went."""
    record = trained.record
    if record.rows["left_out"]:
        terminal.warn(
            f"{record.rows['left_out']:,} rows lack a text or an answer and were left out"
        )
    for lang, count in record.cut.items():
        if count:
            limit = record.spec["max_tokens"]
            terminal.warn(
                f"{count:,} texts in {lang} were longer than {limit} tokens and lost their end"
            )
    if trained.resumed_at is None:
        terminal.say("This training was finished already; --new starts it over.")
    elif trained.resumed_at:
        terminal.say(f"Went on from step {trained.resumed_at:,}.")
    if record.not_adapted:
        terminal.warn(
            f"{record.not_adapted:,} matrices of these blocks are no linear layers (such as "
            "experts held in one tensor): they have no adapters and stay as they were"
        )
    terminal.say(_summary(record))
    _tell_saved(record)


def _tell_saved(record: TrainRecord) -> None:
    """In what the model was saved, and what that did to it."""
    if not record.saved:
        return
    dtype, loss, lost = (record.saved[name] for name in ("dtype", "loss", "lost"))
    held_out = "" if loss is None else f", with a loss of {loss:.4g} on held-out rows"
    terminal.say(f"Saved in {dtype}{held_out}.")
    if lost > _MOST_LOST:
        terminal.warn(
            f"{lost:.0%} of what training changed was lost by rounding to {dtype}: "
            "--save-dtype float32 keeps it"
        )


def _summary(record: TrainRecord) -> str:
    share = record.parameters / max(record.total_parameters, 1)
    steps = f"{record.steps:,} steps in {duration(record.seconds.get('train', 0.0))}"
    trunk = record.trunk
    reused = f", {trunk['reused']:,} of them reused" if trunk.get("reused") else ""
    below = duration(record.seconds.get("trunk", 0.0))
    early = f"stopped early, with the weights of step {record.best_step}"
    return (
        f"{record.parameters:,} parameters ({share:.1%}) of blocks "
        f"{', '.join(map(str, record.blocks))}: {steps}, after {below} for "
        f"{trunk.get('texts', 0):,} texts below them{reused}; "
        f"{early if record.stopped == 'early' else record.stopped}."
    )


def _print_curve(record: TrainRecord) -> None:
    """The losses before and after, on held-out rows if there are any."""
    points = record.points("held_out") or record.points("train")
    if not points:
        return
    best = [point for point in points[1:-1] if point.step == record.best_step]
    ends = sorted(points[:1] + points[1:][-1:] + best, key=lambda point: point.step)
    head = ["rows", "step", "loss", *points[0].terms]
    rows = []
    for point in ends:
        kind = "held out" if point.split == "held_out" else "training"
        values = (point.loss, *point.terms.values())
        mark = " (best)" if point.step == record.best_step else ""
        rows.append([kind + mark, f"{point.step:,}", *(f"{value:.4g}" for value in values)])
    terminal.print_table(head, rows, right=head[1:])


def _plain(record: TrainRecord, out: Path, files: list[Path]) -> dict[str, Any]:
    held_out: list[Mapping[str, Any]] = [asdict(point) for point in record.points("held_out")]
    return {
        **record.to_dict(),
        "held_out": held_out,
        "out": str(out),
        "files": [str(file) for file in files],
    }
