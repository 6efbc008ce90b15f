"""Loading a task: a YAML file that describes it, beside one or more JSON Lines files of items.

Fields of the YAML file: ``name`` and ``items`` (needed), ``title``, ``description``, ``direction``,
``type``, ``rule``, ``max_new_tokens``, ``sources``. See ``docs/tasks.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any, get_args

from crosslatent.errors import TaskError
from crosslatent.tasks.files import YamlFile, read_items, read_yaml
from crosslatent.tasks.item import Item
from crosslatent.tasks.rules import RULES, rule_for
from crosslatent.tasks.task import DEFAULT_NEW_TOKENS, Direction, Task, TaskType

_TEXTS = ("name", "title", "description")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "direction": get_args(Direction),
    "type": get_args(TaskType),
    "rule": tuple(RULES),
}
FIELDS = (*_TEXTS, *_CHOICES, "max_new_tokens", "items", "sources")


def read_task(path: Traversable, folder: Traversable) -> Task:
    """Read a task.

    Args:
        path: its YAML file.
        folder: where the files of items lie; for a user's file, the folder that holds it.

    Raises:
        TaskError: a file cannot be read or has a mistake; the message names the file, the line and
            the field.
    """
    file = read_yaml(path)
    _check(file)
    data = file.data
    items = _items(file, folder)
    rule = data.get("rule") or rule_for(items)
    _check_rule(file, rule, items)
    return Task(
        name=data["name"],
        title=data.get("title") or data["name"],
        description=(data.get("description") or "").strip(),
        direction=data.get("direction") or "custom",
        type=data.get("type") or "custom",
        rule=rule,
        max_new_tokens=data.get("max_new_tokens") or DEFAULT_NEW_TOKENS,
        items=items,
        sources=tuple(_list(data.get("sources"))),
    )


def _items(file: YamlFile, folder: Traversable) -> tuple[Item, ...]:
    items: dict[str, Item] = {}
    for name in _list(file.data["items"]):
        source = folder.joinpath(name)
        if not source.is_file():
            raise TaskError(
                f"{file.where('items')}: the field 'items' names {name!r}, but {source} is no file."
            )
        for item in read_items(source):
            if item.id in items:
                raise TaskError(f"{source}: the id {item.id!r} is also that of an earlier file.")
            items[item.id] = item
    return tuple(items.values())


def _check(file: YamlFile) -> None:
    for name in ("name", "items"):
        if not file.data.get(name):
            raise TaskError(f"{file.where(name)}: the field {name!r} is missing; a task needs it.")
    for name, value in file.data.items():
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise TaskError(f"{file.where(str(name))}: unknown field {name!r}; known are {known}.")
        right = None if value is None else _mistake(name, value)
        if right:
            where = file.where(name)
            raise TaskError(f"{where}: the field {name!r} is {value!r}, but {right} belongs there.")


def _check_rule(file: YamlFile, rule: str, items: tuple[Item, ...]) -> None:
    for item in items:
        if item.answer is not None and not RULES[rule].fits(item):
            raise TaskError(
                f"{file.where('rule')}: the field 'rule' is {rule!r}, but item {item.id!r} lacks "
                "the options or labels by which it judges: add them, or use the rule contains."
            )


def _mistake(name: str, value: Any) -> str | None:
    """What belongs in the field, if `value` does not."""
    if name in _TEXTS:
        return None if isinstance(value, str) else "a text"
    if name in _CHOICES:
        return None if value in _CHOICES[name] else f"one of {', '.join(_CHOICES[name])}"
    if name == "max_new_tokens":
        return None if type(value) is int and value >= 1 else "a whole number from 1 up"
    fits = all(isinstance(part, str) for part in _list(value))
    return None if fits else "a text or a list of texts"


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
