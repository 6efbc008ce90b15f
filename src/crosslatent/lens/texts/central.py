"""Held-out texts in the central language from a file, which need not say what language it is in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from crosslatent.core.errors import SpaceError
from crosslatent.lens.texts.streams import read_texts
from crosslatent.tasks.sources import read_json_lines, read_text

_FIELD = "text"
_NAMES_LANGUAGE = ("lang", "language")


def read_central(path: Path, central: str, *, field: str | None = None) -> list[str]:
    """The texts of a file in the central language; blank ones are left out.

    Args:
        path: a text file, a text a line; JSON Lines with a text in `field` and no language; or
            what `read_texts` takes, of which the central language is read.
        central: the central language.
        field: the field of a text; "text" by default, where no language is named.

    Raises:
        SpaceError, TaskError: the file cannot be read, or holds no text in that language.
    """
    if path.is_file() and path.suffix == ".txt":
        found = read_text(path).split("\n")
    elif path.is_file() and path.suffix == ".jsonl":
        found = list(_json_lines(path, central, field))
    else:
        found = [each.text for each in read_texts(path, [central], field=field)]
    texts = [text.strip() for text in found if text.strip()]
    if not texts:
        raise SpaceError(f"{path}: there is no text: write one a line.")
    return texts


def _json_lines(path: Path, central: str, field: str | None) -> Iterator[str]:
    lines = read_json_lines(path)
    first = next(lines, None)
    name = field or _FIELD
    if first is None or not _is_plain(first[1], name):
        yield from (each.text for each in read_texts(path, [central], field=field))
        return
    for number, data in chain([first], lines):
        if not _is_plain(data, name):
            raise SpaceError(
                f"{path}:{number}: an object with a text in {name!r}, and without a language, "
                "belongs here as on the first line."
            )
        yield data[name]


def _is_plain(data: Any, name: str) -> bool:
    """Whether an object has a text, and does not name its language."""
    return (
        isinstance(data, dict)
        and isinstance(data.get(name), str)
        and not any(key in data for key in _NAMES_LANGUAGE)
    )
