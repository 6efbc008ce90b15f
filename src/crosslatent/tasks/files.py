"""Reading JSON Lines so that every mistake is reported with its file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any

from crosslatent.errors import TaskError
from crosslatent.normal import fold, says_something
from crosslatent.tasks.item import Item, item_from_dict


def read_items(path: Traversable, *, counterparts: bool = True) -> tuple[Item, ...]:
    """Read a JSON Lines file of items: one object a line, blank lines left out.

    Args:
        path: the file.
        counterparts: whether every item must have its aux prompt.

    Raises:
        TaskError: the file cannot be read or holds no item; a line is no JSON object; a field is
            missing, unknown or of the wrong type; an id appears twice.
    """
    items: dict[str, Item] = {}
    for number, data in read_json_lines(path):
        where = f"{path}:{number}"
        if not isinstance(data, dict):
            shown = json.dumps(data, ensure_ascii=False)[:40]
            raise TaskError(f"{where}: a JSON object such as {{...}} belongs here, not {shown}.")
        item = check_item(data, where, str(number), counterparts=counterparts)
        if item.id in items:
            raise TaskError(f"{where}: the field 'id' is {item.id!r} a second time.")
        items[item.id] = item
    if not items:
        raise TaskError(f"{path}: the file holds no items; write one JSON object per line.")
    return tuple(items.values())


def read_json_lines(path: Traversable) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file with their line numbers, blank lines left out.

    Raises:
        TaskError: the file cannot be read, or a line is not JSON.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, _parse(line, f"{path}:{number}")


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
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TaskError(
            f"{path}:{line}: this is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error


def _parse(line: str, where: str) -> Any:
    try:
        value = json.loads(line)
        if "\\ud" in line.lower():
            # Such an escape may be half of a character, which no tokenizer takes.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise TaskError(
            f"{where}: half of a character stands here ({error.object[error.start]!a}): write the "
            "whole of it."
        ) from error
    except json.JSONDecodeError as error:
        raise TaskError(
            f"{where}: this is not JSON ({error.msg}, column {error.colno}); write one value per "
            "line."
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets
        raise TaskError(
            f"{where}: this JSON cannot be read ({error}): write numbers of ordinary size, and few "
            "brackets within brackets."
        ) from error
    return value


def check_item(
    data: Mapping[str, Any], where: str, default_id: str, *, counterparts: bool = True
) -> Item:
    """Build an item from plain data; `where` stands in the message of a mistake.

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
