"""Files of texts by language, row by row: every error names its file, line and field.

One row of a file may hold the same text in several languages (``{"en": ..., "sw": ...}``), or one
text with its language beside it. See `lens.text_streams` for what is done with rows.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from crosslatent.core.errors import SpaceError
from crosslatent.core.untrusted import no_key_twice

PLACE = "{lang}"
"""Placeholder for the code of the language in the name of a field."""

TEMPLATES = (PLACE, f"input_{PLACE}", f"text_{PLACE}")
"""Names of fields that are found by default."""

LANGUAGE_FIELDS = ("lang", "language")
TEXT_FIELD = "text"
_INSTANCES = "Instances"
_CODE = r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*"
_ENDINGS = (".txt", ".jsonl")


class TextRow(NamedTuple):
    """What one row of a source says: language -> text, None where it has none."""

    number: int
    texts: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Keyed:
    """Objects with one field for each language."""

    template: str

    def fields(self, languages: Sequence[str]) -> dict[str, str]:
        """Names of the fields of languages."""
        return {lang: self.template.replace(PLACE, lang) for lang in languages}

    def read(self, data: Mapping[str, Any], where: str, languages: Sequence[str]) -> dict[str, Any]:
        """The texts of one object in `languages`."""
        fields = self.fields(languages).items()
        return {lang: _text(data.get(name), name, where) for lang, name in fields}

    def available(self, data: Mapping[str, Any]) -> list[str]:
        """The languages of one object."""
        before, after = map(re.escape, self.template.split(PLACE))
        found = (re.fullmatch(f"{before}({_CODE}){after}", name) for name in data)
        return [match[1] for match in found if match]


@dataclass(frozen=True, slots=True)
class Tagged:
    """Objects with one text each, and a field that names its language."""

    text: str

    def read(self, data: Mapping[str, Any], where: str, languages: Sequence[str]) -> dict[str, Any]:
        """The text of one object, if it is in one of `languages`."""
        found = self.available(data)
        if not found:
            raise SpaceError(
                f"{where}: no language is named: give every object a field {LANGUAGE_FIELDS[0]!r} "
                f"beside {self.text!r}."
            )
        return {
            lang: _text(data.get(self.text), self.text, where)
            for lang in found
            if lang in languages
        }

    def available(self, data: Mapping[str, Any]) -> list[str]:
        """The language of one object."""
        named = (data.get(name) for name in LANGUAGE_FIELDS)
        return [value for value in named if isinstance(value, str)][:1]


Layout = Keyed | Tagged


@dataclass(slots=True)
class TextFile:
    """A file or folder with texts.

    Attributes:
        path: JSON Lines, JSON, or a folder with a file for each language.
        languages: which ones are wanted.
        field: name of the field that holds a text, with ``{lang}`` for the code of its language, or
            without it beside a field "lang"; None finds it.
        available: languages that it was seen to have, in order.
        aligned: whether a row holds the same text in several languages; known once a row is read.
    """

    path: Path
    languages: tuple[str, ...]
    field: str | None = None
    available: dict[str, None] = dataclasses.field(default_factory=dict)
    aligned: bool = True

    def __post_init__(self) -> None:
        """Refuse what can be refused unread."""
        if self.field is not None:
            check_field(self.field)
        if not self.path.exists():
            raise SpaceError(
                f"Cannot read {str(self.path)!r} (there is no such file): give a JSON Lines or "
                "JSON file, or a folder with a file for each language."
            )
        if self.path.is_dir():
            self.available = dict.fromkeys(_files_in(self.path))

    def rows(self) -> Iterator[TextRow]:
        """Every row, read as it is asked for (a JSON file that is one value is read whole).

        Raises:
            SpaceError: the file cannot be read, or a row is not what it should be.
        """
        return self._folder_rows() if self.path.is_dir() else self._file_rows()

    def _file_rows(self) -> Iterator[TextRow]:
        layout: Layout | None = None
        for number, where, data in _objects(self.path):
            if layout is None:
                layout = _layout_of(data, where, self.languages, self.field)
                self.aligned = isinstance(layout, Keyed)
            if len(self.available) < 1000:
                self.available |= dict.fromkeys(layout.available(data))
            yield TextRow(number, layout.read(data, where, self.languages))
        if layout is None:
            raise SpaceError(f"{self.path}: the file is empty: write one JSON object per line.")

    def _folder_rows(self) -> Iterator[TextRow]:
        """The k-th row holds the k-th line of every language's file."""
        files = {lang: self._file_of(lang) for lang in self.languages}
        return rows_of({lang: _column(file, lang, self.field) for lang, file in files.items()})

    def _file_of(self, lang: str) -> Path:
        paths = (self.path / f"{lang}{ending}" for ending in _ENDINGS)
        files = [path for path in paths if path.is_file()]
        if not files:
            raise SpaceError(
                f"The folder {str(self.path)!r} has no file {lang}.txt or {lang}.jsonl: it has "
                f"{', '.join(self.available) or 'none of any language'}."
            )
        if len(files) > 1:
            raise SpaceError(
                f"The folder {str(self.path)!r} has both {files[0].name} and {files[1].name}: keep "
                "one of them."
            )
        return files[0]


_END: Any = object()
"""Fills up languages that have fewer texts than others."""


def rows_of(columns: Mapping[str, Iterable[str | None]]) -> Iterator[TextRow]:
    """The k-th texts of all languages as rows."""
    for number, texts in enumerate(zip_longest(*columns.values(), fillvalue=_END), start=1):
        beside = zip(columns, texts, strict=True)
        yield TextRow(number, {lang: text for lang, text in beside if text is not _END})


def check_field(name: str) -> None:
    """Refuse a name of a field that no file can have.

    Raises:
        SpaceError: it is empty, or has braces around something else than lang, or twice.
    """
    rest = name.replace(PLACE, "", 1)
    if not name.strip() or "{" in rest or "}" in rest:
        raise SpaceError(
            f"The field is {name!r}, but it must be a name that contains {PLACE} once, in the "
            f"place of the language's code, such as input_{PLACE}."
        )


def _layout_of(
    data: Mapping[str, Any], where: str, languages: Sequence[str], field: str | None
) -> Layout:
    """How the texts stand in the objects of a file, from its first one."""
    if field is not None and PLACE not in field:
        return Tagged(field)
    if field is None and isinstance(data.get(TEXT_FIELD), str) and Tagged("").available(data):
        return Tagged(TEXT_FIELD)
    layouts = [Keyed(template) for template in ((field,) if field else TEMPLATES)]
    hits = [sum(name in data for name in layout.fields(languages).values()) for layout in layouts]
    if max(hits):
        return layouts[hits.index(max(hits))]
    names = [repr(layout.fields(languages)[languages[0]]) for layout in layouts]
    others = list(dict.fromkeys(lang for layout in layouts for lang in layout.available(data)))
    has = f"languages {', '.join(others)}" if others else f"fields {_some(list(data))}"
    raise SpaceError(
        f"{where}: there is no text in {', '.join(languages)} (no field such as "
        f"{' or '.join(names)}): it has the {has}; choose among them, or name the field "
        f"(--field 'prefix_{PLACE}')."
    )


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def _text(value: Any, name: str, where: str) -> str | None:
    """The value of a field that must be a text, if it is there."""
    if value is None:
        return None
    if not isinstance(value, str):
        shown = json.dumps(value, ensure_ascii=False)[:40]
        raise SpaceError(f"{where}: the field {name!r} is {shown}, but a text belongs there.")
    check_characters(value, f"{where}: the field {name!r}")
    return value


def check_characters(text: str, subject: str) -> None:
    """Refuse half a character (a lone surrogate), which no tokenizer takes.

    Raises:
        SpaceError: there is one; `subject` begins the message.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpaceError(
            f"{subject} has half of a character ({text[error.start]!a}): write the whole of it."
        ) from error


def _files_in(folder: Path) -> list[str]:
    names = sorted(file.stem for file in folder.iterdir() if file.suffix in _ENDINGS)
    return list(dict.fromkeys(name for name in names if re.fullmatch(_CODE, name)))


def _column(file: Path, lang: str, field: str | None) -> Iterator[str | None]:
    """The texts of a file that has one language."""
    if file.suffix == ".txt":
        yield from (line for _, line in _lines(file))
        return
    templates = (field,) if field else (TEXT_FIELD, *TEMPLATES)
    names = [template.replace(PLACE, lang) for template in templates]
    for number, line in _lines(file):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        value, name = _json(line, file, number), "text"
        if isinstance(value, dict):
            present = [name for name in names if name in value]
            if not present:
                raise SpaceError(
                    f"{where}: none of the fields {_some(names)} is here: it has the fields "
                    f"{_some(list(value))}; name the one with the text (--field)."
                )
            value, name = value[present[0]], present[0]
        yield _text(value, name, where)


def _objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, place and content of the objects of a file."""
    if _is_one_value(path):
        rows = _rows_of_one(path)
        values = ((number, f"{path}, object {number}", row) for number, row in enumerate(rows, 1))
    else:
        lines = ((number, line) for number, line in _lines(path) if line.strip())
        values = (
            (number, f"{path}:{number}", _json_line(line, path, number)) for number, line in lines
        )
    for number, where, value in values:
        if not isinstance(value, dict):
            shown = json.dumps(value, ensure_ascii=False)[:40]
            raise SpaceError(f"{where}: a JSON object such as {{...}} belongs here, not {shown}.")
        yield number, where, value


def _rows_of_one(path: Path) -> list[Any]:
    """The objects of a file that is one value."""
    value = _whole(path)
    rows = value.get(_INSTANCES) if isinstance(value, dict) else value
    if isinstance(rows, list):
        return rows
    has = _some(list(value)) if isinstance(value, dict) else "something else"
    raise SpaceError(
        f"{path}: the file is neither JSON Lines, nor a list of objects, nor an object with "
        f"{_INSTANCES!r}: it has {has}."
    )


def _is_one_value(path: Path) -> bool:
    """Whether a file is one JSON value, and not one a line."""
    first = next((line for _, line in _lines(path) if line.strip()), "")
    try:
        value = json.loads(first)
    except json.JSONDecodeError:
        return path.suffix != ".jsonl" and first.lstrip()[:1] in ("{", "[")
    if isinstance(value, list):
        return path.suffix != ".jsonl"
    return isinstance(value, dict) and isinstance(value.get(_INSTANCES), list)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, without their ends."""
    number = 0
    try:
        with path.open("rb") as handle:
            for number, raw in enumerate(handle, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                # Whether a carriage return ends a line is in doubt, and texts may be parallel by
                # line.
                if strange := next((letter for letter in "\r\0" if letter in line), None):
                    raise SpaceError(
                        f"{path}:{number}: {strange!a} occurs within this line: save the file as "
                        "UTF-8 with line feeds (\\n) between lines."
                    )
                yield number, line
    except OSError as error:
        raise SpaceError(f"Cannot read {str(path)!r} ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise SpaceError(
            f"{path}:{number}: this is not UTF-8 text (byte {error.start} of the line): save it as "
            "UTF-8."
        ) from error


def _json_line(line: str, path: Path, number: int) -> Any:
    """The value of a line; the error says if the whole file is one value over several lines."""
    try:
        return _json(line, path, number)
    except SpaceError as error:
        if line.strip()[:1] not in ("{", "[") or not _is_whole(path):
            raise
        raise SpaceError(
            f"{path}:{number}: this file is JSON, but not JSON Lines: write one value per line, or "
            "call the file .json."
        ) from error


def _is_whole(path: Path) -> bool:
    try:
        _whole(path)
    except SpaceError:
        return False
    return True


def _whole(path: Path) -> Any:
    return _json("\n".join(line for _, line in _lines(path)), path)


def _json(text: str, path: Path, number: int | None = None) -> Any:
    """The value of a file, or of its line of this number."""
    try:
        return json.loads(text, object_pairs_hook=no_key_twice)
    except (json.JSONDecodeError, RecursionError) as error:
        line = number or getattr(error, "lineno", 1)
        reason = getattr(error, "msg", "too many brackets")
        advice = "write one value per line" if number else "mend it, or write one object per line"
        raise SpaceError(
            f"{path}:{line}: this is not JSON ({reason}, column {getattr(error, 'colno', 1)}): "
            f"{advice}."
        ) from error
    except ValueError as error:
        where = path if number is None else f"{path}:{number}"
        raise SpaceError(f"{where}: {error}: keep one of them.") from error
