"""Reading files of items so that every mistake is reported with its file, line and field."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.core.normal import fold, says_something
from crosslatent.tasks.item import Item, item_from_dict
from crosslatent.tasks.sources import read_objects


def read_items(path: Traversable, *, counterparts: bool = True) -> tuple[Item, ...]:
    """Read a file of items: JSON Lines, or JSON that is a list of objects.

    Args:
        path: the file.
        counterparts: whether every item must have its aux prompt.

    Raises:
        TaskError: the file cannot be read or holds no item; a line is no JSON object; a field is
            missing, unknown or of the wrong type; an id appears twice.
    """
    items: dict[str, Item] = {}
    for line, key, data in read_objects(path):
        where = f"{path}:{line}"
        item = check_item(data, where, key or str(line), counterparts=counterparts)
        if item.id in items:
            raise TaskError(f"{where}: the field 'id' is {item.id!r} a second time.")
        items[item.id] = item
    if not items:
        raise TaskError(f"{path}: the file holds no items; write one JSON object per line.")
    return tuple(items.values())


def check_item(
    data: Mapping[str, Any], where: str, default_id: str, *, counterparts: bool = True
) -> Item:
    """Build an item from plain data; error messages begin with `where`.

    Raises:
        TaskError: a field is missing, unknown, of the wrong type or empty.
    """
    item = item_from_dict(data, where, default_id, counterparts=counterparts)
    check_gold(item, where)
    return item


def check_gold(item: Item, where: str) -> None:
    """Refuse gold answers that appear in every output.

    Raises:
        TaskError: one is empty, or nothing but punctuation.
    """
    for name, golds in (("answer", item.golds), ("aux_answer", item.aux_golds)):
        for gold in golds:
            if not fold(gold):
                raise TaskError(
                    f"{where}: the field {name!r} is empty; leave it out if it is not known."
                )
            if item.options is None and not says_something(gold):
                raise TaskError(
                    f"{where}: the field {name!r} is {gold!r}, which other answers hold by "
                    "accident: give an answer with a letter, number or symbol, or leave it out."
                )
