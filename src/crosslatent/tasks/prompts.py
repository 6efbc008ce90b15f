"""A user's own prompt pairs, from a file or from memory, without a task's file around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.tasks.files import check_item, read_items
from crosslatent.tasks.item import Item, with_one_cluster_each
from crosslatent.tasks.rules import rule_for
from crosslatent.tasks.sources import read_text
from crosslatent.tasks.task import DEFAULT_NEW_TOKENS, Task


def load_prompts(path: str | Path, *, counterparts: bool = True) -> Task:
    """Load prompts: JSON Lines, or a JSON list, of objects with `main`, `aux` and more of an item.

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


def is_prompts(name: str | Path) -> bool:
    """Whether a name is that of prompts, and not of a task: .jsonl, or .json that holds a list."""
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        return path.suffix == ".jsonl"
    return read_text(path).lstrip()[:1] == "["


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
        if not isinstance(fields, Mapping):
            raise TaskError(
                f"{where}: an Item, or a mapping of its fields, belongs here, not {fields!r}."
            )
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
