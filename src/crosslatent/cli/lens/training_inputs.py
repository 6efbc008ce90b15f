"""What ``crosslatent lens train`` trains on: subspaces, parallel texts or questions, the model."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

from crosslatent.cli.options import PlainModelSettings
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import Setting, names, positive

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.text_streams import ParallelRows
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task

_PILOT = "pilot"
LENS, ANSWERS = "lens", "answers"


class TrainingTexts(TypedDict, total=False):
    """What is trained on."""

    space: Annotated[
        Path | None,
        Setting(
            help="Language subspaces, from 'crosslatent lens probe'.", metavar="SPACE", read=Path
        ),
    ]
    data: Annotated[
        Path | None,
        Setting(
            help="Parallel texts: JSON Lines, JSON, or a folder; with --task, its data folder.",
            metavar="FILE|DIR",
            read=Path,
        ),
    ]
    task: Annotated[
        str | None, Setting(help="Instead: the questions of a task.", metavar="NAME|FILE")
    ]
    split: Annotated[
        tuple[str, ...],
        Setting(
            help="Splits of the task; pilot by default, if it has one.",
            default=(),
            metavar="S,S",
            read=names,
        ),
    ]
    langs: Annotated[
        tuple[str, ...],
        Setting(
            help="Target languages; the task's by default.",
            default=(),
            metavar="L,L",
            flags=("--langs", "--lang"),
            read=names,
        ),
    ]
    central: Annotated[
        str, Setting(help="The language that is kept as it is.", default="en", metavar="L")
    ]
    field: Annotated[
        str | None,
        Setting(help="Field of a text, such as input_{lang}; found by default.", metavar="NAME"),
    ]
    limit: Annotated[
        int | None,
        Setting(help="The first N rows, or items a language.", metavar="N", read=positive),
    ]
    objective: Annotated[
        str,
        Setting(
            help="Subspaces, or a task's gold answers (xSFT).", default=LENS, metavar="lens|answers"
        ),
    ]


def read_space(texts: TrainingTexts) -> "Space | None":
    """The subspaces, which must have the languages; None if none are asked for."""
    from crosslatent.lens.compatibility import check_languages
    from crosslatent.lens.space import load_space

    if texts["space"] is None:
        return None
    space = load_space(texts["space"])
    if texts["langs"]:
        check_languages(space, texts["central"], texts["langs"])
    return space


def read_questions(texts: TrainingTexts) -> "Task | None":
    """The task's questions to train on; None if no task is asked for."""
    from crosslatent.tasks import load_task

    name, field = texts["task"], texts["field"]
    if name is None:
        return None
    if field is not None:
        raise UsageError(f"--field is {field!r}, but a task has no fields to name: leave it out.")
    targets = tuple(lang for lang in texts["langs"] if lang != texts["central"])
    task = load_task(name, data=texts["data"], languages=targets or None)
    splits = texts["split"]
    if not splits and any(item.split == _PILOT for item in task.items):
        splits = (_PILOT,)
    return task.select(splits=splits or None, limit=texts["limit"])


def read_rows(task: "Task | None", texts: TrainingTexts) -> "ParallelRows":
    """Parallel texts: of a task's questions, or of files."""
    from crosslatent.lens.text_streams import ParallelRows, parallel_of_items, read_parallel

    data, limit = texts["data"], texts["limit"]
    if task is not None:
        return ParallelRows(parallel_of_items(task.items))
    if data is None:
        raise UsageError("Parallel texts come from --data or --task, and neither is given.")
    if texts["split"]:
        raise UsageError(
            f"--split is {','.join(texts['split'])!r}, but only a task has splits: give --task too."
        )
    if not texts["langs"]:
        raise UsageError(
            f"--langs is missing: name the target languages of {str(data)!r}, such as --langs sw."
        )
    rows = read_parallel(data, texts["langs"], texts["central"], field=texts["field"])
    if limit is None or limit >= len(rows):
        return rows
    first = ParallelRows(rows[:limit])
    first.left_out = rows.left_out
    return first


def groups_of(rows: "ParallelRows", items: "Sequence[Item]") -> list[str]:
    """The fact that each row asks; rows of one fact are held out together, as its answers are."""
    cluster: dict[tuple[str, str], str] = {}
    for item in items:
        cluster.setdefault((item.lang, item.main), item.cluster)
        if item.aux:
            cluster.setdefault((item.aux_lang, item.aux), item.cluster)
    return [next(cluster[text] for text in row.items() if text in cluster) for row in rows]


def load_for_training(settings: PlainModelSettings) -> "Model":
    """Load the model; of several processes on a machine with GPUs, each has its own."""
    from crosslatent.cli.models import load_model

    local = os.environ.get("LOCAL_RANK")
    unplaced = settings["device"] == "auto" and "ACCELERATE_USE_CPU" not in os.environ
    if unplaced and local is not None:
        import torch

        device = f"cuda:{local}" if torch.cuda.is_available() else "auto"
        settings = {**settings, "device": device}
    return load_model(**settings)
