"""A user's own prompt pairs, without a task file around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosslatent.errors import TaskError
from crosslatent.tasks.files import read_items
from crosslatent.tasks.item import Item, item_from_dict
from crosslatent.tasks.rules import rule_for
from crosslatent.tasks.task import DEFAULT_NEW_TOKENS, Task


def load_prompts(path: str | Path) -> Task:
    """Load prompts from JSON Lines: objects with `main` and `aux`, and what else an item may have.

    The answer rule is ``option`` if the items have options, else ``contains``.

    Raises:
        TaskError: the file cannot be read or has a mistake; the message names the file, the line
            and the field.
    """
    path = Path(path)
    return _prompt_task(path.stem, f"Prompts of {path.name}", read_items(path))


def task_of(items: Sequence[Item | Mapping[str, Any]], name: str = "items") -> Task:
    """A task made of items, or of objects as `load_prompts` reads them.

    Raises:
        TaskError: an object has a mistake, or an id stands twice.
    """
    made = tuple(
        item
        if isinstance(item, Item)
        else item_from_dict(item, f"item {number} of {name}", f"{name}-{number}")
        for number, item in enumerate(items)
    )
    for item_id, count in Counter(item.id for item in made).items():
        if count > 1:
            raise TaskError(f"The id {item_id!r} stands {count} times in {name}: ids must differ.")
    return _prompt_task(name, f"{len(made)} items", made)


def _prompt_task(name: str, title: str, items: tuple[Item, ...]) -> Task:
    return Task(
        name=name,
        title=title,
        description="",
        direction="custom",
        type="custom",
        rule=rule_for(items),
        max_new_tokens=DEFAULT_NEW_TOKENS,
        items=items,
    )
