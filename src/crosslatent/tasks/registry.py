"""The shipped tasks by name, and the one way to get a task: `load_task`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.tasks.definition import Definition
from crosslatent.tasks.loader import Wanted, read_definition, read_task
from crosslatent.tasks.prompts import is_prompts
from crosslatent.tasks.task import Task


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One line about a task: what `crosslatent tasks ls` prints.

    Attributes:
        items: how many questions; None if the data is not part of the package.
        languages, aux_languages: of main and aux.
        rule: None if it depends on the data.
    """

    name: str
    title: str
    direction: str
    type: str
    rule: str | None
    metric: str
    items: int | None
    languages: tuple[str, ...]
    aux_languages: tuple[str, ...]
    splits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def summarize(task: Task) -> TaskSummary:
    """The summary of a task."""
    return TaskSummary(
        name=task.name,
        title=task.title,
        direction=task.direction,
        type=task.type,
        rule=task.rule,
        metric=task.metric,
        items=len(task.items),
        languages=task.languages,
        aux_languages=task.aux_languages,
        splits=task.splits,
    )


def _outline(task: Definition) -> TaskSummary:
    """The summary of a task whose data is elsewhere."""
    pairs = task.chosen(None, None)
    parts = task.rows or task.released
    return TaskSummary(
        name=task.name,
        title=task.title or task.name,
        direction=task.direction,
        type=task.type,
        rule=task.rule,
        metric=task.metric,
        items=None,
        languages=tuple(dict.fromkeys(main for main, _ in pairs)),
        aux_languages=tuple(dict.fromkeys(aux for _, aux in pairs)),
        splits=tuple(parts.splits) if parts else (),
    )


def _folders() -> list[Traversable]:
    data = resources.files("crosslatent") / "data"
    return [data / "demo" / "tasks", data / "tasks"]


def shipped_files() -> dict[str, tuple[Traversable, Traversable]]:
    """YAML file and folder of the shipped tasks by name; a task's file is called NAME.yaml."""
    return {
        file.name.removesuffix(".yaml"): (file, folder)
        for folder in _folders()
        if folder.is_dir()
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }


def list_tasks() -> list[TaskSummary]:
    """Summaries of the shipped tasks; where the data is not shipped, of their description.

    Raises:
        TaskError: a shipped file has a mistake.
    """
    found = []
    for file, folder in shipped_files().values():
        definition = read_definition(file, folder)
        ready = bool(definition.items)
        found.append(summarize(read_task(file, folder)) if ready else _outline(definition))
    return found


def load_task(
    name_or_path: str | Path,
    *,
    data: str | Path | None = None,
    languages: Sequence[str] | None = None,
    aux_languages: Sequence[str] | None = None,
    counterparts: bool = True,
) -> Task:
    """Load a shipped task by its name, or a task of the user by the path of its YAML file.

    Args:
        name_or_path: the task.
        data: a folder with the task's data: in the layout that the authors of XTransplant released,
            or with clones of the repositories that the task names. None loads them from the hub.
        languages: those that the task is about: of main, or of aux where its direction is
            ``x->en``; None for all.
        aux_languages: those of aux; None for English, or the local language where the direction is
            ``x->en``.
        counterparts: whether every item must have its aux prompt; if not, `Item.aux` may be empty.

    Raises:
        TaskError: there is no such task or language, the data cannot be loaded, or a file has a
            mistake; the message names the file, the line and the field.
    """
    folder = None if data is None else Path(data)
    wanted = Wanted(folder, languages, aux_languages, counterparts)
    shipped = shipped_files()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return read_task(*shipped[name_or_path], wanted)
    path = Path(name_or_path)
    if is_prompts(path):
        raise TaskError(
            f"{path} is a file of items, not a task: give the YAML file that describes them, or "
            "pass them as prompts (--prompts, load_prompts)."
        )
    if path.is_file():
        return read_task(path, path.parent, wanted)
    raise TaskError(
        f"Unknown task {str(name_or_path)!r}: give one of {', '.join(shipped) or 'none'}, or the "
        "path of a task's YAML file."
    )
