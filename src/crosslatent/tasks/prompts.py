"""A user's own prompt pairs, from a file or from memory, without a task's file around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crosslatent.errors import TaskError
from crosslatent.tasks.files import check_item, read_items
from crosslatent.tasks.item import Item
from crosslatent.tasks.repeats import with_one_cluster_each
from crosslatent.tasks.rules import rule_for
from crosslatent.tasks.task import DEFAULT_NEW_TOKENS, Task


def load_prompts(path: str | Path, *, counterparts: bool = True) -> Task:
    """Load prompts from JSON Lines: objects with `main` and `aux`, and what else an item may have.

    The answer rule is ``option`` if the items have options, else ``contains``.

    Args:
        path: the file.
        counterparts: whether every item must have its aux prompt.

    Raises:
        TaskError: the file cannot be read or has a mistake; the message names the file, the line
            and the field.
    """
    path = Path(path)
    return _task(read_items(path, counterparts=counterparts), path.stem, f"Prompts of {path.name}")


def task_of(items: Iterable[Item | Mapping[str, Any]], name: str = "items") -> Task:
    """Make a task of items in memory: `Item`, or mappings with the same fields as in a file.

    Raises:
        TaskError: there are no items, an id appears twice, or an item has a mistake; the message
            names its place in the sequence.
    """
    checked: dict[str, Item] = {}
    for number, given in enumerate(items, start=1):
        where = f"item {number}"
        fields = given.to_dict() if isinstance(given, Item) else given
        item = check_item(fields, where, str(number))
        if item.id in checked:
            raise TaskError(f"{where}: the id {item.id!r} appears a second time.")
        checked[item.id] = item
    if not checked:
        raise TaskError("There are no items: give one or more.")
    return _task(tuple(checked.values()), name, f"{len(checked)} items")


def _task(items: tuple[Item, ...], name: str, title: str) -> Task:
    return Task(
        name=name,
        title=title,
        description="",
        direction="custom",
        type="custom",
        rule=rule_for(items),
        max_new_tokens=DEFAULT_NEW_TOKENS,
        items=with_one_cluster_each(items),
    )
