"""What ``crosslatent lens train`` trains on: subspaces, parallel texts or questions, the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosslatent.cli.options import names
from crosslatent.core.errors import UsageError

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.texts.streams import ParallelRows
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task

_PILOT = "pilot"


def read_space(folder: Path, central: str, wanted: tuple[str, ...]) -> Space:
    """The subspaces, which must have the languages."""
    from crosslatent.lens.space import load_space
    from crosslatent.lens.training.settings import check_languages

    found = load_space(folder)
    if wanted:
        check_languages(found, central, wanted)
    return found


def read_questions(
    name: str,
    data: Path | None,
    wanted: tuple[str, ...],
    split: str | None,
    limit: int | None,
    field: str | None,
) -> Task:
    """The task's questions to train on."""
    from crosslatent.tasks import load_task

    if field is not None:
        raise UsageError(f"--field is {field!r}, but a task has no fields to name: leave it out.")
    task = load_task(name, data=data, languages=wanted or None)
    splits = names(split, "--split")
    if not splits and any(item.split == _PILOT for item in task.items):
        splits = (_PILOT,)
    return task.select(splits=splits or None, limit=limit)


def read_rows(
    task: Task | None,
    data: Path | None,
    wanted: tuple[str, ...],
    central: str,
    field: str | None,
    split: str | None,
    limit: int | None,
) -> ParallelRows:
    """Parallel texts."""
    from crosslatent.lens.texts.streams import ParallelRows, parallel_of_items, read_parallel

    if task is not None:
        return ParallelRows(parallel_of_items(task.items))
    if data is None:
        raise UsageError("Parallel texts come from --data or --task, and neither is given.")
    if split is not None:
        raise UsageError(f"--split is {split!r}, but only a task has splits: give --task too.")
    if not wanted:
        raise UsageError(
            f"--langs is missing: name the target languages of {str(data)!r}, such as --langs sw."
        )
    rows = read_parallel(data, wanted, central, field=field)
    if limit is None or limit >= len(rows):
        return rows
    first = ParallelRows(rows[:limit])
    first.left_out = rows.left_out
    return first


def groups_of(rows: ParallelRows, items: Sequence[Item]) -> list[str]:
    """The fact that each row asks; rows of one fact are held out together, as its answers are."""
    cluster: dict[tuple[str, str], str] = {}
    for item in items:
        cluster.setdefault((item.lang, item.main), item.cluster)
        if item.aux:
            cluster.setdefault((item.aux_lang, item.aux), item.cluster)
    return [next(cluster[text] for text in row.items() if text in cluster) for row in rows]


def load_for_training(name: str, revision: str | None, device: str, dtype: str) -> Model:
    """Load the model; of several processes on a machine with GPUs, each has its own."""
    from crosslatent.cli.models import load_model

    local = os.environ.get("LOCAL_RANK")
    if device == "auto" and local is not None and "ACCELERATE_USE_CPU" not in os.environ:
        import torch

        device = f"cuda:{local}" if torch.cuda.is_available() else "auto"
    return load_model(name, revision, device, dtype)
