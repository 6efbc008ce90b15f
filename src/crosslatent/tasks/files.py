"""Reading JSON Lines and YAML so that every mistake is reported with its file, line and field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from crosslatent.errors import TaskError
from crosslatent.tasks.item import Item, item_from_dict


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The top level of a YAML file, and the line on which each of its fields stands."""

    path: Traversable
    data: Mapping[str, Any]
    lines: Mapping[str, int]

    def where(self, field: str) -> str:
        """File and line of a field, for a message; the file alone for a field that is missing."""
        line = self.lines.get(field)
        return str(self.path) if line is None else f"{self.path}:{line}"


def read_yaml(path: Traversable) -> YamlFile:
    """Read a YAML file whose top level is a mapping.

    Raises:
        TaskError: the file cannot be read, or is no such YAML.
    """
    import yaml

    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise TaskError(f"{where}: this is not valid YAML ({problem}).") from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise TaskError(f"{path}: a task file holds fields such as 'name: ...' at its top level.")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    return YamlFile(path, data, lines)


def read_items(path: Traversable) -> tuple[Item, ...]:
    """Read a JSON Lines file of items: one object a line, blank lines left out.

    Raises:
        TaskError: the file cannot be read or holds no item; a line is no JSON object; a field is
            missing, unknown or of the wrong type; an id appears twice.
    """
    items: dict[str, Item] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            item = _read_item(line, f"{path}:{number}", str(number))
            if item.id in items:
                raise TaskError(f"{path}:{number}: the field 'id' is {item.id!r} a second time.")
            items[item.id] = item
    if not items:
        raise TaskError(f"{path}: the file holds no items; write one JSON object per line.")
    return tuple(items.values())


def read_text(path: Traversable) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises:
        TaskError: there is no such file, or it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TaskError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path}: this is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error


def _read_item(line: str, where: str, default_id: str) -> Item:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise TaskError(
            f"{where}: this is not JSON ({error.msg}, column {error.colno}); "
            "write one object per line."
        ) from error
    if not isinstance(data, dict):
        raise TaskError(
            f"{where}: a JSON object such as {{...}} belongs here, not {line.strip()[:40]!r}."
        )
    return check_item(data, where, default_id)


def check_item(data: Mapping[str, Any], where: str, default_id: str) -> Item:
    """Build an item from plain data; `where` stands in the message of a mistake.

    Raises:
        TaskError: a field is missing, unknown, of the wrong type or empty.
    """
    item = item_from_dict(data, where, default_id)
    if item.answer is not None and not item.answer.strip():
        # An empty text appears in every output: every answer would count as right.
        raise TaskError(f"{where}: the field 'answer' is empty; leave it out if it is not known.")
    return item
