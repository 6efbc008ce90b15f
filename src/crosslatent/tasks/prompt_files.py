"""Prompts without a task's file: read from JSON Lines, JSON or tables, or given as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.core.languages import code_of
from crosslatent.core.untrusted import short
from crosslatent.tasks.data_rows import Dialect, read_delimited
from crosslatent.tasks.definition import ENDINGS
from crosslatent.tasks.item import (
    FIELDS,
    TEXT,
    Item,
    item_from_dict,
    items_from,
    read_items,
    with_one_cluster_each,
)
from crosslatent.tasks.rules import rule_for
from crosslatent.tasks.sources import read_text
from crosslatent.tasks.task import DEFAULT_NEW_TOKENS, Task


def load_prompts(
    path: str | Path | Iterable[Item | Mapping[str, Any]], *, counterparts: bool = True
) -> Task:
    """Load prompts: objects with `main`, `aux` and more of an item.

    The answer rule is ``option`` if the items have options, else ``contains``. Languages may be
    given by name ("Swahili"), and become their codes.

    Args:
        path: a file: JSON Lines, a JSON list, or a table (.csv, .tsv) whose first line names the
            fields, and whose cells hold texts, JSON lists or nothing; or the objects themselves.
        counterparts: whether every item must have its aux prompt.

    Raises:
        TaskError: the file cannot be read or has a mistake; the message names the file, the line
            and the field.
    """
    if not isinstance(path, str | Path):
        return _task(items_of(path, counterparts=counterparts), "prompts", "Prompts")
    path = Path(path)
    if path.suffix.lower() in _OTHER_FILES:
        raise TaskError(
            f"Cannot read prompts from {path}: save them as CSV, TSV, JSON Lines or JSON, in UTF-8."
        )
    if path.suffix in ENDINGS:
        rows = read_delimited(path, Dialect.of(path.name, None, None))
        objects = ((line, None, _fields(row, f"{path}:{line}")) for line, row in rows)
        items = items_from(objects, path, counterparts=counterparts)
    else:
        items = read_items(path, counterparts=counterparts)
    return _task(_with_codes(items, str(path)), path.stem, f"Prompts of {path.name}")


_OTHER_FILES = (".xlsx", ".xls", ".ods", ".numbers", ".docx", ".pdf", ".parquet", ".zip", ".gz")


def _fields(row: Mapping[str, str], where: str) -> dict[str, Any]:
    """The cells of a row of prompts as the fields of an item: empty ones are left out."""
    found: dict[str, Any] = {}
    for name, text in row.items():
        try:
            listed = FIELDS.get(name, TEXT) is not TEXT and text[:1] in ("[", "{")
            found[name] = json.loads(text) if listed else str(text)
        except ValueError as error:
            raise TaskError(
                f"{where}: the field {name!r} is {short(text)!r}, which begins like JSON and is "
                'none: write a list as ["(1)", "(2)"].'
            ) from error
    return {name: value for name, value in found.items() if value != ""}


def _with_codes(items: Sequence[Item], where: str) -> tuple[Item, ...]:
    """Items whose languages are codes, whatever names they were given by.

    Raises:
        TaskError: a language is neither a code nor a name.
    """
    found = []
    for item in items:
        try:
            lang, aux_lang = code_of(item.lang), code_of(item.aux_lang)
        except LookupError as error:
            reason = error.args[0]
            raise TaskError(f"{where}: the language of item {item.id!r}, {reason}.") from None
        same = (lang, aux_lang) == (item.lang, item.aux_lang)
        found.append(item if same else replace(item, lang=lang, aux_lang=aux_lang))
    return tuple(found)


def is_prompts(name: str | Path) -> bool:
    """Whether a name is that of prompts, and not of a task: a table, .jsonl, or a list in .json."""
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        return path.suffix in (".jsonl", *ENDINGS)
    return read_text(path).lstrip()[:1] == "["


def task_of(items: Iterable[Item | Mapping[str, Any]], name: str = "items") -> Task:
    """Make a task of items in memory; see `items_of`.

    Raises:
        TaskError: see `items_of`; or some items have options and some have not.
    """
    checked = items_of(items)
    return _task(checked, name, f"{len(checked)} items")


def items_of(
    items: Iterable[Item | Mapping[str, Any]], *, counterparts: bool = True
) -> tuple[Item, ...]:
    """Items in memory: `Item`, or mappings with the same fields as in a file.

    Args:
        items: the items.
        counterparts: whether every item must have its aux prompt.

    Raises:
        TaskError: there are no items, an id appears twice, or an item has a mistake; the message
            names its place in the sequence.
    """
    if isinstance(items, str | bytes | Mapping):
        raise TaskError(
            f"The questions are {short(repr(items))}: give a task (xl.load_task), or a list of "
            "objects with main and aux."
        )
    checked: dict[str, Item] = {}
    for number, given in enumerate(items, start=1):
        where = f"item {number}"
        fields = given.to_dict() if isinstance(given, Item) else given
        if not isinstance(fields, Mapping):
            raise TaskError(
                f"{where}: an Item, or a mapping of its fields, belongs here, not {fields!r}."
            )
        item = item_from_dict(fields, where, str(number), counterparts=counterparts)
        if item.id in checked:
            raise TaskError(f"{where}: the id {item.id!r} appears a second time.")
        checked[item.id] = item
    if not checked:
        raise TaskError("There are no items: give one or more.")
    return _with_codes(tuple(checked.values()), "items")


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
