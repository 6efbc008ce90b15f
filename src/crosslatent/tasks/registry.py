"""The shipped tasks by name, and the one way to get a task: `load_task`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crosslatent.errors import TaskError
from crosslatent.tasks.loader import read_task
from crosslatent.tasks.task import Task


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One line about a task: what `crosslatent tasks ls` prints."""

    name: str
    title: str
    direction: str
    type: str
    rule: str
    items: int
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
        items=len(task.items),
        languages=task.languages,
        aux_languages=task.aux_languages,
        splits=task.splits,
    )


def shipped_folder() -> Traversable:
    """Where the package keeps its own tasks."""
    return resources.files("crosslatent") / "data" / "demo" / "tasks"


def shipped_files() -> dict[str, Traversable]:
    """The YAML files of the shipped tasks by name; a task's file is called NAME.yaml."""
    folder = shipped_folder()
    if not folder.is_dir():
        return {}
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {f.name.removesuffix(".yaml"): f for f in files if f.name.endswith(".yaml")}


def list_tasks() -> list[TaskSummary]:
    """Summaries of the shipped tasks, by name.

    Raises:
        TaskError: a shipped file has a mistake.
    """
    folder = shipped_folder()
    return [summarize(read_task(file, folder)) for file in shipped_files().values()]


def load_task(name_or_path: str | Path) -> Task:
    """Load a shipped task by its name, or a task of the user by the path of its YAML file.

    Raises:
        TaskError: there is no such task, or its files have a mistake; the message names the file,
            the line and the field.
    """
    shipped = shipped_files()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return read_task(shipped[name_or_path], shipped_folder())
    path = Path(name_or_path)
    if path.suffix == ".jsonl":
        raise TaskError(
            f"{path} is a file of items, not a task: give the YAML file that describes them, or "
            "pass them as prompts (--prompts, load_prompts)."
        )
    if path.is_file():
        return read_task(path, path.parent)
    raise TaskError(
        f"Unknown task {str(name_or_path)!r}: give one of {', '.join(shipped) or 'none'}, or the "
        "path of a task's YAML file."
    )
