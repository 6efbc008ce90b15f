"""Text files, and the JSON in them, so that every mistake is reported with its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from string import Formatter
from typing import Any, NamedTuple, NoReturn

from crosslatent.core.errors import TaskError
from crosslatent.core.untrusted import no_key_twice

_BLANK = re.compile(r"[ \t\r\n]*")
_PLAIN = json.JSONDecoder()


def read_text(path: Traversable) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises:
        TaskError: there is no such file, or it is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TaskError(f"Cannot read {path} ({error.strerror or error}): give a file.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TaskError(
            f"{path}:{line}: this is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    if "\0" in text:
        where = f"{path}:{_line_of(text, text.index(chr(0)))}"
        raise TaskError(f"{where}: this is not UTF-8 text (a NUL character); save it as UTF-8.")
    return text


def read_json_lines(path: Traversable) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file with their line numbers, blank lines left out.

    Raises:
        TaskError: the file cannot be read, or a line is not JSON.
    """
    return _lines(read_text(path), path)


class JsonObject(NamedTuple):
    """A JSON object, the line where it begins, and its key if it is part of another object."""

    line: int
    key: str | None
    data: dict[str, Any]


def read_objects(path: Traversable, field: str | None = None) -> Iterator[JsonObject]:
    """The objects of a JSON Lines file, or of a file that is one JSON value.

    One value is a list of objects, or an object that holds objects by their keys. A file called
    .jsonl is always read line by line.

    Args:
        path: the file.
        field: the file is one object, and this field of it holds the others.

    Raises:
        TaskError: the file cannot be read, is not JSON, or holds something else.
    """
    text = read_text(path)
    single = field is not None or (not path.name.endswith(".jsonl") and _is_single(text))
    found = (
        _members(text, path, field)
        if single
        else ((line, None, value) for line, value in _lines(text, path))
    )
    for line, key, value in found:
        if not isinstance(value, dict):
            shown = json.dumps(value, ensure_ascii=False)[:40]
            listed = isinstance(value, list) and not single
            way_out = "; a file that is one list is called .json" if listed else ""
            raise TaskError(
                f"{path}:{line}: a JSON object such as {{...}} belongs here, not {shown}{way_out}."
            )
        yield JsonObject(line, key, value)


def read_value(path: Traversable) -> Any:
    """The one value of a JSON file, on however many lines.

    Raises:
        TaskError: the file cannot be read, is not JSON, or has several values.
    """
    text = read_text(path)
    if _is_single(text):
        _check_whole(text, path)
        return _parse(text, str(path))
    values = [value for _, value in _lines(text, path)]
    if len(values) != 1:
        raise TaskError(f"{path} has {len(values)} lines, but one object belongs there.")
    return values[0]


def _lines(text: str, path: Traversable) -> Iterator[tuple[int, Any]]:
    offset = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = _parse(line, f"{path}:{number}")
            except TaskError as error:
                if isinstance(error.__cause__, json.JSONDecodeError) and _goes_on(text, offset):
                    raise TaskError(
                        f"{path}:{number}: a JSON value goes over several lines here, but this is "
                        "read as JSON Lines: write every value on one line, or give one list of "
                        "objects in a file called .json."
                    ) from error
                raise
            yield number, value
        offset += len(line) + 1


def _goes_on(text: str, offset: int) -> bool:
    """Whether a JSON value begins at a line that is none by itself."""
    start = _past_blanks(text, offset)
    try:
        _, end = _PLAIN.raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[start:end]


def _is_single(text: str) -> bool:
    """Whether a text is one JSON value (over lines, or a list or object of objects)."""
    first, _, rest = text.strip().partition("\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return bool(rest) and first[:1] in ("[", "{")
    return not rest and (isinstance(value, list) or _holds_objects(value))


def _holds_objects(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    return bool(parts) and all(isinstance(part, dict) for part in parts)


def _members(
    text: str, path: Traversable, field: str | None
) -> Iterator[tuple[int, str | None, Any]]:
    """Line, key and value of what the list or object has that a file, or a field of it, is."""
    rows = _check_whole(text, path)
    start = _past_blanks(text, 0)
    if field is not None:
        if not isinstance(rows, dict) or field not in rows:
            has = f"the fields {', '.join(rows)}" if isinstance(rows, dict) else "a list"
            raise TaskError(f"{path}: there is no field {field!r} to hold the rows: it has {has}.")
        start = next(at for at, _, key in _parts(text, start) if key == field)
        rows = rows[field]
    if not isinstance(rows, list) and not (isinstance(rows, dict) and _holds_objects(rows)):
        raise TaskError(f"{path}:{_line_of(text, start)}: {_no_rows(rows)}")
    seen, line, counted = set(), 1, 0
    for at, end, key in _parts(text, start):
        line, counted = line + text.count("\n", counted, at), at
        if key is not None and key in seen:
            raise TaskError(f"{path}:{line}: the key {key!r} is repeated here: keep one of them.")
        seen.add(key)
        yield line, key, _parse(text[at:end], f"{path}:{line}")


def _no_rows(value: Any) -> str:
    if not isinstance(value, dict):
        return "a list of objects, or an object of objects, belongs here."
    fields = [name for name, part in value.items() if isinstance(part, list | dict)]
    named = next(iter(fields), "data")
    return (
        f"this is one JSON object with the fields {', '.join(map(repr, value))}, not a list of "
        f"objects: name the field that holds the rows (rows, field: {named}), or write one object "
        "a line."
    )


def _parts(text: str, at: int) -> Iterator[tuple[int, int, str | None]]:
    """Start, end and key of what a list or an object has, in a text that is known to be JSON."""
    keyed, closing = text[at] == "{", "}" if text[at] == "{" else "]"
    at = _past_blanks(text, at + 1)
    while text[at] != closing:
        key = None
        if keyed:
            key, at = _PLAIN.raw_decode(text, at)
            at = _past_blanks(text, _past_blanks(text, at) + 1)
        _, end = _PLAIN.raw_decode(text, at)
        yield at, end, key
        at = _past_blanks(text, end)
        if text[at] == ",":
            at = _past_blanks(text, at + 1)


def _past_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _check_whole(text: str, path: Traversable) -> Any:
    """The value of a text, as json takes it; what that lets pass is looked for part by part."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskError(
            f"{path}:{error.lineno}: this is not JSON ({error.msg}, column {error.colno})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unusual(error, str(path)) from error


def _parse(text: str, where: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=_checked_pairs)
        if "\\ud" in text.lower():
            # Such an escape may be half of a character, which no tokenizer takes.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise TaskError(
            f"{where}: this line has half of a character ({error.object[error.start]!a}): write "
            "the whole character."
        ) from error
    except json.JSONDecodeError as error:
        raise TaskError(
            f"{where}: this is not JSON ({error.msg}, column {error.colno}): write one JSON object "
            'per line, such as {"main": "...", "aux": "..."}.'
        ) from error
    except _MistakeError as error:
        raise TaskError(f"{where}: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise _unusual(error, where) from error
    return value


def _unusual(error: Exception, where: str) -> TaskError:
    """A number of thousands of digits, or brackets."""
    return TaskError(
        f"{where}: this JSON cannot be read ({error}): write numbers of ordinary size, and few "
        "brackets within brackets."
    )


class _MistakeError(ValueError):
    """What json lets pass; the message is a sentence without its end."""


def _checked_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return no_key_twice(pairs)
    except ValueError as error:
        raise _MistakeError(f"{error}: keep one of them") from error


def _no_number(name: str) -> NoReturn:
    raise _MistakeError(f"{name} is no number of JSON: write null where a value is missing")


def formatted(pattern: str, where: str, **values: str | None) -> str:
    """A pattern with its places filled in.

    Args:
        pattern: such as ``split/{code}.json``.
        where: file and line of the pattern, for the message of a mistake.
        values: what may stand in it.

    Raises:
        TaskError: it names something else, or is no pattern.
    """
    known = ", ".join(f"{{{name}}}" for name in values)
    problem = f"{where}: the pattern {pattern!r} cannot be filled in ("
    try:
        # "{code.__class__}" is a place for Python too, but not one of a file's name.
        asked = [name for _, name, *_ in Formatter().parse(pattern) if name is not None]
        strange = [name for name in asked if name not in values]
        filled = "" if strange else pattern.format(**values)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise TaskError(f"{problem}{error}): it may contain only {known}.") from error
    if strange:
        raise TaskError(f"{problem}{strange[0]!r}): it may contain only {known}.")
    return filled
