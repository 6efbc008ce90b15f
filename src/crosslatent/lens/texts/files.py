"""Files of texts by language, row by row: every error names its file, line and field.

One row of a file may hold the same text in several languages (``{"en": ..., "sw": ...}``), or one
text with its language beside it. See `crosslatent.lens.texts.streams` for what is done with rows.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
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

_LANGUAGE_FIELDS = ("lang", "language")
_TEXT_FIELD = "text"
_INSTANCES = "Instances"
_CODE = r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*"
_ENDINGS = (".txt", ".jsonl")


class Row(NamedTuple):
    """What one row of a source says: language -> text, None where it has none."""

    number: int
    texts: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Keyed:
    """Objects with one field for each language."""

    template: str

    def read(self, data: Mapping[str, Any], where: str, languages: Sequence[str]) -> dict[str, Any]:
        """The texts of one object in `languages`."""
        fields = {lang: self.template.replace(PLACE, lang) for lang in languages}
        return {lang: _text(data.get(name), name, where) for lang, name in fields.items()}

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
                f"{where}: no language is named: give every object a field {_LANGUAGE_FIELDS[0]!r} "
                f"beside {self.text!r}."
            )
        return {
            lang: _text(data.get(self.text), self.text, where)
            for lang in found
            if lang in languages
        }

    def available(self, data: Mapping[str, Any]) -> list[str]:
        """The language of one object."""
        named = (data.get(name) for name in _LANGUAGE_FIELDS)
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

    def rows(self) -> Iterator[Row]:
        """Every row, read as it is asked for (a JSON file that is one value is read whole).

        Raises:
            SpaceError: the file cannot be read, or a row is not what it should be.
        """
        return self._folder_rows() if self.path.is_dir() else self._file_rows()

    def _file_rows(self) -> Iterator[Row]:
        layout: Layout | None = None
        for number, where, data in _objects(self.path):
            if layout is None:
                layout = _layout_of(data, where, self.languages, self.field)
                self.aligned = isinstance(layout, Keyed)
            if len(self.available) < 1000:
                self.available |= dict.fromkeys(layout.available(data))
            yield Row(number, layout.read(data, where, self.languages))
        if layout is None:
            raise SpaceError(f"{self.path}: the file is empty: write one JSON object per line.")

    def _folder_rows(self) -> Iterator[Row]:
        """The k-th row holds the k-th line of every language's file."""
        files = [self._file_of(lang) for lang in self.languages]
        columns = (
            _column(file, lang, self.field)
            for file, lang in zip(files, self.languages, strict=True)
        )
        for number, texts in enumerate(zip_longest(*columns, fillvalue=_END), start=1):
            beside = zip(self.languages, texts, strict=True)
            yield Row(number, {lang: text for lang, text in beside if text is not _END})

    def _file_of(self, lang: str) -> Path:
        found = [self.path / f"{lang}{ending}" for ending in _ENDINGS]
        found = [file for file in found if file.is_file()]
        if not found:
            raise SpaceError(
                f"The folder {str(self.path)!r} has no file {lang}.txt or {lang}.jsonl: it has "
                f"{', '.join(self.available) or 'none of any language'}."
            )
        if len(found) > 1:
            raise SpaceError(
                f"The folder {str(self.path)!r} has both {found[0].name} and {found[1].name}: keep "
                "one of them."
            )
        return found[0]


_END: Any = object()
"""Fills up files that have fewer lines than others."""


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
    if field is None and isinstance(data.get(_TEXT_FIELD), str) and Tagged("").available(data):
        return Tagged(_TEXT_FIELD)
    layouts = [Keyed(template) for template in ((field,) if field else TEMPLATES)]
    hits = [sum(_hits(layout, data, languages)) for layout in layouts]
    if max(hits):
        return layouts[hits.index(max(hits))]
    raise SpaceError(_no_field(data, where, languages, layouts))


def _hits(layout: Keyed, data: Mapping[str, Any], languages: Sequence[str]) -> Iterator[bool]:
    return (layout.template.replace(PLACE, lang) in data for lang in languages)


def _no_field(
    data: Mapping[str, Any], where: str, languages: Sequence[str], layouts: Sequence[Keyed]
) -> str:
    names = [repr(layout.template.replace(PLACE, languages[0])) for layout in layouts]
    found = list(dict.fromkeys(lang for each in layouts for lang in each.available(data)))
    has = f"languages {', '.join(found)}" if found else f"fields {_some(list(data))}"
    return (
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
        for _, line in _lines(file):
            yield line
        return
    names = [field.replace(PLACE, lang)] if field else [_TEXT_FIELD]
    names += [template.replace(PLACE, lang) for template in TEMPLATES] if not field else []
    for number, line in _lines(file):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        value = _parse(line, where)
        if isinstance(value, dict):
            name = next((name for name in names if name in value), None)
            if name is None:
                raise SpaceError(
                    f"{where}: none of the fields {_some(names)} is here: it has the fields "
                    f"{_some(list(value))}; name the one with the text (--field)."
                )
            yield _text(value[name], name, where)
        else:
            yield _text(value, "text", where)


def _objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, place and content of the objects of a file."""
    if _is_one_value(path):
        yield from _objects_of_one(path)
        return
    for number, line in _lines(path):
        if line.strip():
            where = f"{path}:{number}"
            yield number, where, _object(_parse(line, where, path), where)


def _objects_of_one(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    value = _parse_whole(path)
    rows = value.get(_INSTANCES) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        found = _some(list(value)) if isinstance(value, dict) else "something else"
        raise SpaceError(
            f"{path}: the file is neither JSON Lines, nor a list of objects, nor an object with "
            f"{_INSTANCES!r}: it has {found}."
        )
    for number, row in enumerate(rows, start=1):
        where = f"{path}, object {number}"
        yield number, where, _object(row, where)


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


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        shown = json.dumps(value, ensure_ascii=False)[:40]
        raise SpaceError(f"{where}: a JSON object such as {{...}} belongs here, not {shown}.")
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, without their ends."""
    for number, line in _decoded(path):
        # Whether a carriage return ends a line is in doubt, and texts may belong together by line.
        strange = next((letter for letter in "\r\0" if letter in line), None)
        if strange is not None:
            raise SpaceError(
                f"{path}:{number}: {strange!a} occurs within this line: save the file as UTF-8 "
                "with line feeds (\\n) between lines."
            )
        yield number, line


def _decoded(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with path.open("rb") as handle:
            for number, raw in enumerate(handle, start=1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except OSError as error:
        raise SpaceError(f"Cannot read {str(path)!r} ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise SpaceError(
            f"{path}:{number}: this is not UTF-8 text (byte {error.start} of the line): save it as "
            "UTF-8."
        ) from error


def _parse(line: str, where: str, path: Path | None = None) -> Any:
    """The value of a line; with `path`, a file that is one value over several lines is named so."""
    try:
        return json.loads(line, object_pairs_hook=no_key_twice)
    except (json.JSONDecodeError, RecursionError) as error:
        if path is not None and line.strip()[:1] in ("{", "[") and _is_whole(path):
            raise SpaceError(
                f"{where}: this file is JSON, but not JSON Lines: write one value per line, or "
                "call the file .json."
            ) from error
        reason = getattr(error, "msg", "too many brackets")
        raise SpaceError(
            f"{where}: this is not JSON ({reason}, column {getattr(error, 'colno', 1)}): write one "
            "value per line."
        ) from error
    except ValueError as error:
        raise SpaceError(f"{where}: {error}: keep one of them.") from error


def _is_whole(path: Path) -> bool:
    try:
        _parse_whole(path)
    except SpaceError:
        return False
    return True


def _parse_whole(path: Path) -> Any:
    try:
        whole = "\n".join(line for _, line in _lines(path))
        return json.loads(whole, object_pairs_hook=no_key_twice)
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        reason = getattr(error, "msg", "too many brackets")
        raise SpaceError(
            f"{path}:{line}: this is not JSON ({reason}, column {getattr(error, 'colno', 1)}): "
            "mend it, or write one object per line."
        ) from error
    except ValueError as error:
        raise SpaceError(f"{path}: {error}: keep one of them.") from error
