"""``crosslatent lens train``: the top blocks of a model, towards subspaces or on answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosslatent.cli.errors import warn
from crosslatent.cli.lens.training_checks import (
    LENS,
    check_objective,
    check_places,
    check_used,
    is_first,
)
from crosslatent.cli.lens.training_inputs import (
    groups_of,
    load_for_training,
    read_questions,
    read_rows,
    read_space,
)
from crosslatent.cli.lens.training_view import blocks_of, clip_of, layers_of, show_training, tell
from crosslatent.cli.lens.training_view import strength_of as strengths
from crosslatent.cli.options import (
    ChatArgOption,
    ChatOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    FieldOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    chat_arguments,
    names,
    positive,
    real,
    whole,
)
from crosslatent.cli.stopping import stoppable

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.texts.streams import ParallelRows
    from crosslatent.lens.training.job import Trained
    from crosslatent.lens.training.settings import LoraSpec, TrainSpec
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task


def train(
    context: typer.Context,
    model: ModelOption,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="For the trained model; the same command again goes on with it."
        ),
    ],
    space: Annotated[
        Path | None,
        typer.Option(metavar="SPACE", help="Language subspaces, from 'crosslatent lens probe'."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Parallel texts: JSON Lines, JSON, or a folder; with --task, its data folder.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Instead: the questions of a task.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="S,S", help="Splits of the task; pilot by default, if it has one."),
    ] = None,
    langs: Annotated[
        str | None,
        typer.Option(
            "--langs", "--lang", metavar="L,L", help="Target languages; the task's by default."
        ),
    ] = None,
    central: Annotated[
        str, typer.Option(metavar="L", help="The language that is kept as it is.")
    ] = "en",
    field: FieldOption = None,
    limit: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="The first N rows, or items a language."),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(metavar="lens|answers", help="Subspaces, or a task's gold answers (xSFT)."),
    ] = LENS,
    blocks: Annotated[
        str, typer.Option(metavar="N|I,J", help="How many top blocks to train, or which: 22,23.")
    ] = "2",
    at: Annotated[
        str,
        typer.Option(metavar="L,L|all", help="Where losses are read: blocks, final, or all."),
    ] = "final",
    align: Annotated[
        float, typer.Option(parser=real, metavar="W", help="Weight: bring together what is shared.")
    ] = 1.0,
    separate: Annotated[
        float, typer.Option(parser=real, metavar="W", help="Weight: push targets to their place.")
    ] = 1.0,
    retain: Annotated[
        float, typer.Option(parser=real, metavar="W", help="Weight: keep the central language.")
    ] = 1.0,
    strength: Annotated[
        str, typer.Option(metavar="X|L=X,L=X", help="How far to push, in language directions.")
    ] = "1",
    central_answers: Annotated[
        bool, typer.Option(help="With answers: train on the central prompts too.")
    ] = True,
    epochs: Annotated[int, typer.Option(parser=positive, metavar="N", help="Passes.")] = 1,
    max_steps: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="Exactly N steps, in place of passes."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(parser=positive, metavar="N", help="Rows of a batch, over all processes.")
    ] = 8,
    lr: Annotated[float, typer.Option(parser=real, metavar="X", help="Learning rate.")] = 1e-5,
    weight_decay: Annotated[float, typer.Option(parser=real, metavar="X", help="Of AdamW.")] = 0.1,
    warmup: Annotated[
        float, typer.Option(parser=real, metavar="SHARE", help="Of all steps, with rising rate.")
    ] = 0.05,
    schedule: Annotated[
        str, typer.Option(metavar="NAME", help="After it: cosine, linear or constant.")
    ] = "cosine",
    accumulate: Annotated[
        int, typer.Option(parser=positive, metavar="N", help="Batches of a step.")
    ] = 1,
    clip: Annotated[str, typer.Option(metavar="X|none", help="Largest norm of a gradient.")] = "1",
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="S", help="Of order, held-out rows and dropout.")
    ] = 0,
    held_out: Annotated[
        float, typer.Option(parser=real, metavar="SHARE", help="Rows that are evaluated only.")
    ] = 0.1,
    patience: Annotated[
        int | None,
        typer.Option(
            parser=positive,
            metavar="N",
            help="Stop after N evaluations without a better one, and take the best weights.",
        ),
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="Steps; after each epoch by default."),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="Steps; about every minute by default."),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(parser=positive, metavar="N", help="Cut longer texts.")
    ] = 512,
    chat: ChatOption = False,
    chat_arg: ChatArgOption = None,
    lora: Annotated[
        bool, typer.Option("--lora", help="Train low-rank adapters on these blocks instead.")
    ] = False,
    lora_rank: Annotated[
        int, typer.Option(parser=positive, metavar="R", help="Rank of adapters.")
    ] = 8,
    lora_alpha: Annotated[
        float, typer.Option(parser=real, metavar="A", help="Adapters count A / rank.")
    ] = 16.0,
    lora_dropout: Annotated[
        float, typer.Option(parser=real, metavar="P", help="Dropout before adapters.")
    ] = 0.0,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option("--gradient-checkpointing", help="Less memory, more time."),
    ] = False,
    precision: Annotated[
        str, typer.Option(metavar="P", help="auto, float32, or bfloat16 (float32 weights).")
    ] = "auto",
    save_dtype: Annotated[
        str,
        typer.Option(
            metavar="T",
            help="float32; model (the model's own); auto: float32 if it was trained in that.",
        ),
    ] = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the states below the trained blocks here, for other runs."
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    new: Annotated[bool, typer.Option("--new", help="Start over, also if a run is there.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a model's top blocks: towards its language subspaces (Lens), or on gold answers."""
    from crosslatent.lens.training.settings import TrainSpec

    spec = TrainSpec(
        blocks=blocks_of(blocks),
        at=layers_of(at),
        align=align,
        separate=separate,
        retain=retain,
        strength=strengths(strength),
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        schedule=schedule,
        accumulate=accumulate,
        clip=clip_of(clip),
        seed=seed,
        held_out=held_out,
        patience=patience,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        max_tokens=max_tokens,
        chat=chat,
        chat_args=chat_arguments(chat_arg, chat=chat),
        lora=_lora(lora_rank, lora_alpha, lora_dropout) if lora else None,
        gradient_checkpointing=gradient_checkpointing,
        precision=precision,
        save_dtype=save_dtype,
        central_answers=central_answers,
    )
    check_objective(objective, task, space)
    check_used(context, objective, lora=lora)
    check_places(out, cache)
    wanted = names(langs, "--langs")
    found = None if space is None else read_space(space, central, wanted)
    targets = tuple(lang for lang in wanted if lang != central)
    questions = None if task is None else read_questions(task, data, targets, split, limit, field)
    rows = None
    if found is not None:
        rows = read_rows(questions, data, wanted, central, field, split, limit)
    loaded = load_for_training(model, revision, device, dtype)
    trained = _train(
        loaded, found, rows, questions, central, wanted, spec, out, cache, space, new=new
    )
    if is_first():
        if found is not None:
            _warn_of(found, spec)
        _leave(trained, out, json=json)


def _lora(rank: int, alpha: float, dropout: float) -> LoraSpec:
    from crosslatent.lens.training.settings import LoraSpec

    return LoraSpec(rank, alpha, dropout)


def _warn_of(space: Space, spec: TrainSpec) -> None:
    from crosslatent.lens.training.settings import read_otherwise

    for sentence in read_otherwise(space, spec):
        warn(sentence)


def _train(
    model: Model,
    space: Space | None,
    rows: ParallelRows | None,
    questions: Task | None,
    central: str,
    wanted: tuple[str, ...],
    spec: TrainSpec,
    out: Path,
    cache: Path | None,
    folder: Path | None,
    *,
    new: bool,
) -> Trained:
    from crosslatent.lens.training.run import train as on_texts
    from crosslatent.lens.training.run import train_answers

    about = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "space": None if folder is None else str(folder),
    }
    with stoppable(), show_training(quiet=not is_first()) as show:
        if space is not None and rows is not None:
            return on_texts(
                model,
                space,
                rows,
                central=central,
                languages=wanted or None,
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
