"""Loading a task, shipped or the user's, from its YAML file; or prompts without one.

Items come ready in JSON Lines files, are made from the rows of a data set, or come in the layout
that the authors of XTransplant released. See ``docs/tasks.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.core.untrusted import check_type, nearest
from crosslatent.tasks.data_rows import RowSource
from crosslatent.tasks.definition import Definition, check_definition, only
from crosslatent.tasks.item import (
    Item,
    read_items,
    with_one_cluster_each,
)
from crosslatent.tasks.naming import clash
from crosslatent.tasks.prompt_files import is_prompts
from crosslatent.tasks.released import ReleasedReader
from crosslatent.tasks.row_items import Builder
from crosslatent.tasks.rules import RULES, contains, rule_for
from crosslatent.tasks.task import Task
from crosslatent.tasks.yaml_file import YamlFile, read_yaml


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a task to load.

    Attributes:
        data: the user's folder with the data; None for the hub, or the task's own files.
        languages, aux_languages: see `Definition.chosen`; None for all.
        counterparts: whether every item must have its aux prompt.
    """

    data: Path | None = None
    languages: Sequence[str] | None = None
    aux_languages: Sequence[str] | None = None
    counterparts: bool = True


def read_task(path: Traversable, folder: Traversable, wanted: Wanted | None = None) -> Task:
    """Read a task.

    Args:
        path: its YAML file.
        folder: where the files of items lie; for a user's file, the folder that holds it.
        wanted: what of it to load; all by default.

    Raises:
        TaskError: a file cannot be read or has a mistake; the message names the file, the line and
            the field.
    """
    wanted = wanted or Wanted()
    file = read_yaml(path, folder)
    definition = check_definition(file)
    items = _items(file, definition, folder, wanted)
    if not items:
        raise TaskError(f"{path}: the data of {definition.name!r} gives no items.")
    if wanted.counterparts:
        _check_counterparts(definition, items)
    items = _one_cluster_each(definition, items)
    rule = definition.rule or rule_for(items)
    _check_rule(file, rule, items)
    task = Task(
        name=definition.name,
        title=definition.title or definition.name,
        description=definition.description.strip(),
        direction=definition.direction,
        type=definition.type,
        rule=rule,
        metric=definition.metric,
        max_new_tokens=definition.max_new_tokens,
        items=items,
        sources=tuple(only(definition.sources)),
    )
    if definition.items:
        # What is still to be translated is in no language yet.
        aux_languages = wanted.aux_languages if wanted.counterparts else None
        return task.about(wanted.languages, aux_languages)
    return task


def _items(
    file: YamlFile, task: Definition, folder: Traversable, wanted: Wanted
) -> tuple[Item, ...]:
    if task.items:
        return _ready(file, task, folder, counterparts=wanted.counterparts)
    pairs = task.chosen(wanted.languages, wanted.aux_languages)
    if wanted.data is not None and not wanted.data.is_dir():
        raise TaskError(f"The data folder {wanted.data} is not there: give an existing one.")
    layout = task.released
    if layout and wanted.data is not None and ReleasedReader.serves(layout, wanted.data):
        reader = ReleasedReader(file, task, wanted.data)
        mains, auxes = wanted.languages or (), wanted.aux_languages or ()
        if task.direction == "x->en" and not auxes:
            mains, auxes = (), mains
        found = reader.items(pairs, mains=mains, auxes=auxes, counterparts=wanted.counterparts)
        return tuple(found)
    if task.rows is None:
        assert layout is not None
        places = ", ".join(layout.splits.values())
        raise TaskError(
            f"The questions of task {task.name!r} stand in a folder of your own: give the one that "
            f"holds {places} (--data DIR)."
        )
    source = RowSource(file, task.rows, wanted.data or folder, wanted.data)
    items = tuple(Builder(file, task, source).items(pairs))
    if not items and source.absent:
        raise TaskError(
            f"There is no file such as {source.absent[0]}, which the data of {task.name!r} is in: "
            "give the folder that holds it (--data DIR)."
        )
    return items


def _ready(
    file: YamlFile, task: Definition, folder: Traversable, *, counterparts: bool
) -> tuple[Item, ...]:
    items: dict[str, Item] = {}
    for name in only(task.items):
        source = folder.joinpath(name)
        if not source.is_file():
            raise TaskError(
                f"{file.where('items')}: the field 'items' names {name!r}, but {source} is no file."
            )
        for item in read_items(source, counterparts=counterparts):
            if item.id in items:
                raise TaskError(f"{source}: the id {item.id!r} is also that of an earlier file.")
            items[item.id] = item
    return tuple(items.values())


def _one_cluster_each(task: Definition, items: tuple[Item, ...]) -> tuple[Item, ...]:
    if task.items:
        return with_one_cluster_each(items)
    owners = (task, task.released, *task.languages.values())
    declared = any(getattr(owner, "cluster", None) is not None for owner in owners)
    return with_one_cluster_each(items, declared=declared)


def _check_counterparts(task: Definition, items: Iterable[Item]) -> None:
    for item in items:
        if not item.aux:
            raise TaskError(
                f"The data of task {task.name!r} has no counterparts in {item.aux_lang!r}: have "
                "them translated (--aux auto), or choose another --aux-lang."
            )


def _check_rule(file: YamlFile, rule: str, items: tuple[Item, ...]) -> None:
    sides = (side for item in items for side in (item, item.as_aux()))
    for item in sides:
        if item.answer is None or RULES[rule].fits(item):
            _check_contained(file, rule, item)
            continue
        place = f"{file.where('rule')}: the field 'rule' is {rule!r}, but item {item.id!r}"
        alike = clash(item.options, item.labels) if item.options and item.labels else None
        if alike:
            raise TaskError(
                f"{place} has options {list(item.options or ())} with labels "
                f"{list(item.labels or ())} that cannot be distinguished, as {alike}: make them "
                "differ, or use the rule option."
            )
        raise TaskError(
            f"{place} lacks the options or labels by which it judges: add them, or use the rule "
            "contains."
        )


def _check_contained(file: YamlFile, rule: str, item: Item) -> None:
    """Refuse options of which one holds the right one, where the rule looks for that alone."""
    others = [name for name in item.options or () if name != item.answer]
    wrong = [name for name in others if rule == "contains" and contains(name, item).correct]
    if wrong:
        raise TaskError(
            f"{file.where('rule')}: the field 'rule' is 'contains', which cannot tell the option "
            f"{wrong[0]!r} from the answer {item.answer!r} of item {item.id!r}, as it holds it: "
            "use the rule option."
        )


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
    return _summary(task, len(task.items), task.languages, task.aux_languages, task.splits)


def _summary(
    task: Task | Definition,
    items: int | None,
    languages: Iterable[str],
    aux_languages: Iterable[str],
    splits: Iterable[str],
) -> TaskSummary:
    return TaskSummary(
        name=task.name,
        title=task.title or task.name,
        direction=task.direction,
        type=task.type,
        rule=task.rule,
        metric=task.metric,
        items=items,
        languages=tuple(dict.fromkeys(languages)),
        aux_languages=tuple(dict.fromkeys(aux_languages)),
        splits=tuple(splits),
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
    summaries = []
    for file, folder in shipped_files().values():
        task = check_definition(read_yaml(file, folder))
        if task.items:
            summaries.append(summarize(read_task(file, folder)))
            continue
        pairs, parts = task.chosen(None, None), task.rows or task.released
        mains, auxes = [main for main, _ in pairs], [aux for _, aux in pairs]
        summaries.append(_summary(task, None, mains, auxes, parts.splits if parts else ()))
    return summaries


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
    check_type(
        name_or_path,
        (str, Path),
        "A task is a name or a file (questions of your own: load_prompts)",
    )
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
        f"Unknown task {str(name_or_path)!r}{nearest(str(name_or_path), shipped)}: give one of "
        f"{', '.join(shipped) or 'none'}, or the path of a task's YAML file."
    )
