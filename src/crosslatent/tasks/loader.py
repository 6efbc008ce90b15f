"""Loading a task: the YAML file that describes it, and the items of the languages asked for.

Items stand ready in JSON Lines files, are made from the rows of a data set, or come in the layout
that the authors of XTransplant released. See ``docs/tasks.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from crosslatent.core.errors import TaskError
from crosslatent.tasks.build import Builder
from crosslatent.tasks.definition import Definition, check_definition, only
from crosslatent.tasks.files import read_items
from crosslatent.tasks.item import Item, with_one_cluster_each
from crosslatent.tasks.naming import clash
from crosslatent.tasks.released import ReleasedReader
from crosslatent.tasks.rows import RowSource
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


def read_definition(path: Traversable, folder: Traversable) -> Definition:
    """What a task's file says, without its items.

    Raises:
        TaskError: the file cannot be read or has a mistake.
    """
    return check_definition(read_yaml(path, folder))


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
    return tuple(Builder(file, task, source).items(pairs))


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
