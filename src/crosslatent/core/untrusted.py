"""Texts that others wrote: read without surprises, and shown so that they steer nothing.

A run folder, a selector or a task may come from anybody, and the answers of models are untrusted as
well. So JSON is read with `parse_json`, and texts are printed with `shown`, and written into
pages through `in_page`. Figures and tables have their own functions, in `crosslatent.report.safe`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

_STEERING = re.compile(
    r"\r(?!\n)"  # goes back to the start of the line and overwrites it
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # control characters: colours, cursor, clipboard
    r"|[\u202a-\u202e\u2066\u2067]"  # turn the direction of all that follows
    r"|[\ud800-\udfff]"  # halves of characters, which no encoding has
)
_NOT_IN_PAGE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters: none of HTML's
    r"\u202d\u202e"  # write backwards what follows, so that it reads as something else
    r"\ud800-\udfff\ufffe\uffff]"  # halves of characters, and what is none
)
_IN_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066\u2067\ud800-\udfff]")
_HALF = re.compile(r"[\ud800-\udfff]")
_TOO_DEEP = "its brackets are nested too deep"

MOST_TOLD = 200
"""Most characters of an untrusted text that an error message quotes."""
MOST_NESTED = 100
"""Brackets within brackets that are read; no file of ours has ten."""


def parse_json(data: str | bytes) -> Any:
    """Parse untrusted JSON.

    Args:
        data: one JSON value; bytes are UTF-8.

    Returns:
        Plain data: all of its texts can be encoded, and all of its numbers are finite.

    Raises:
        ValueError: it is no JSON, too deeply nested, or holds half of a character, a number that
            JSON does not have, or an object with a key twice. The message says which, on one line.
    """
    text = data if isinstance(data, str) else data.decode()
    try:
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=no_key_twice)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _check_depth(value)
    if "\\ud" in text.lower() and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("it has half of a character")
    return value


def no_key_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of its pairs, as an `object_pairs_hook`: json itself keeps the last of two.

    Raises:
        ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = Counter(key for key, _ in pairs)
        raise ValueError(
            f"the key {short(repr(max(seen, key=seen.__getitem__)))} occurs twice in one object"
        )
    return found


def _check_depth(value: Any) -> None:
    """Refuse nesting so deep that a recursive function would exhaust the stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_NESTED):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [one for each in inner for one in each if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _refused(name: str) -> NoReturn:
    raise ValueError(f"the number {name} is none of JSON's")


def one_line(error: Exception) -> str:
    """The first line of an exception's message, or its type, to quote in an error message.

    For an error of pydantic, the first wrong field and the reason.
    """
    errors = getattr(error, "errors", None)
    if callable(errors):
        first = errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        return f"{place} is {short(repr(first['input']))}: {short(first['msg'])}"
    return short(next(iter(str(error).strip().splitlines()), type(error).__name__))


def short(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= MOST_TOLD else f"{text[: MOST_TOLD - 1]}\u2026"


def shown(text: str) -> str:
    r"""Text for a terminal: what would steer it is spelled out, such as ``\x1b``.

    Line breaks and tabs stay, and so does every letter of every script.
    """
    return _STEERING.sub(lambda found: _spelled(found[0]), text)


def _spelled(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 0x100 else f"\\u{ord(letter):04x}"


def in_page(value: Any) -> Any:
    """What a template shows, without characters that a page cannot hold; escaping comes after it.

    For Jinja's ``finalize``, which hands every value of a template through here.
    """
    return _NOT_IN_PAGE.sub("\ufffd", value) if type(value) is str else value


def ends_in_blank(text: str) -> bool:
    """Whether the last letter of a text is a blank of any width, or a tab; a line break is none.

    A model mostly writes a blank together with the word after it, so a prompt that ends in one goes
    on with what the model has hardly ever seen.
    """
    last = text[-1:]
    return last != "" and (last in "\t\u200b\ufeff" or unicodedata.category(last) == "Zs")


def json_text(data: Any, *, indent: int | None = None) -> str:
    r"""Plain data as JSON that a terminal and a script can take: ``\u009b`` instead of the letter.

    Reading it gives the same data as ever.

    Raises:
        ValueError: a number is not finite.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        data, indent=indent, ensure_ascii=False, allow_nan=False, separators=separators
    )
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def check_type(value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Refuse an argument of another type than belongs there.

    Args:
        value: what was given.
        kinds: what it may be.
        wanted: that in words, such as "main is a text".

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{wanted}, not {type(value).__name__} ({short(repr(value))}).")


def nearest(given: str, known: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """The known name that was probably meant, for the end of a message.

    Args:
        given: what was given.
        known: the names that there are.
        others: what some people call them, in small letters -> the name here.

    Returns:
        " (did you mean 'ffn'?)", or nothing.
    """
    names = {name.casefold(): name for name in known} | dict(others or {})
    found = get_close_matches(given.casefold(), names, n=1, cutoff=0.7)
    return f" (did you mean {names[found[0]]!r}?)" if found else ""
