"""Texts by language, as a stream: from files, from a task, from lists and generators.

A stream hands out one text after the other, so that memory does not grow with the data. Empty texts
are counted and left out. Blanks and line breaks around a text of a file are no part of it: what is
read is the state of the last token, and that would be a line break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from crosslatent.core.errors import SpaceError
from crosslatent.lens.text_files import (
    LANGUAGE_FIELDS,
    TEXT_FIELD,
    TextFile,
    TextRow,
    check_characters,
    rows_of,
)
from crosslatent.tasks import Item
from crosslatent.tasks.sources import read_json_lines, read_text

ParallelRow = Mapping[str, str]
"""Language -> the same text; some languages may be missing."""


class Text(NamedTuple):
    """One text, with the number of its row: texts of one row may be translations of each other."""

    lang: str
    text: str
    row: int


@dataclass(slots=True)
class TextStream:
    """Texts in some languages, one after the other.

    Iterating begins anew each time, unless the texts come from something that is read only once.

    Attributes:
        languages: the ones wanted.
        rows: starts reading.
        origin: where texts come from, for messages.
        limit: texts of each language after which no more are read; None for all.
        strip: whether blanks around a text are taken away.
        available: languages that there are, as far as it is known.
        texts, empty, stripped: language -> texts handed out, empty texts left out, and texts that
            blanks were taken from, in the last iteration.
    """

    languages: tuple[str, ...]
    rows: Callable[[], Iterator[TextRow]] = field(repr=False)
    origin: str
    limit: int | None = None
    strip: bool = False
    available: Callable[[], Iterable[str]] = field(default=tuple, repr=False)
    texts: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    stripped: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Text]:
        """Every text that is not empty.

        Raises:
            SpaceError: see `read_texts`; at the end, a language has no text.
        """
        self.texts, self.empty, self.stripped = Counter(), Counter(), Counter()
        for row in self.rows():
            yield from self._texts_of(row)
            if all(map(self._has_enough, self.languages)):
                break
        self._check_languages()

    def survey(self) -> TextStream:
        """Read everything once, so that mistakes are found and texts counted.

        Raises:
            SpaceError: see `read_texts`.
        """
        for _ in self:
            pass
        return self

    def _texts_of(self, row: TextRow) -> Iterator[Text]:
        for lang, given in row.texts.items():
            if self._has_enough(lang):
                continue
            if given is None or not given.strip():
                self.empty[lang] += 1
                continue
            text = given.strip() if self.strip else given
            self.stripped[lang] += text != given
            self.texts[lang] += 1
            yield Text(lang, text, row.number)

    def _has_enough(self, lang: str) -> bool:
        return self.limit is not None and self.texts[lang] >= self.limit

    def _check_languages(self) -> None:
        for lang in self.languages:
            if self.texts[lang]:
                continue
            there = list(self.available())
            others = ", ".join(other for other in there if other != lang) or "no other language"
            why = f" that is not empty ({self.empty[lang]} are)" if lang in there else ""
            raise SpaceError(f"{self.origin}: there is no text in {lang!r}{why}: it has {others}.")


def read_texts(
    path: str | Path,
    languages: Sequence[str],
    *,
    field: str | None = None,
    limit: int | None = None,
) -> TextStream:
    """Texts of a file or folder.

    Known forms: JSON Lines of objects with a field for each language ("sw", "input_sw", "text_sw"
    or what `field` says); JSON Lines of {"lang": ..., "text": ...}; the same objects as a JSON list
    or in {"Instances": [...]}, which is read whole; a folder with sw.txt (a text a line) or
    sw.jsonl for each language.

    Args:
        path: the file or folder.
        languages: which ones to read.
        field: name of the field of a text, such as ``"input_{lang}"``; None finds it.
        limit: the first so many texts of each language; None for all.

    Raises:
        SpaceError: no language, or a limit below 1; while it is read: the file is not there, is
            neither JSON nor UTF-8, a field is missing or no text, or a language has no text. The
            message names file, line and field.
    """
    wanted = _languages(languages)
    if limit is not None and limit < 1:
        raise SpaceError(f"The limit is {limit}, but it must be 1 or more texts per language.")
    file = TextFile(Path(path), wanted, field)
    return TextStream(
        wanted, file.rows, str(path), limit, strip=True, available=lambda: file.available
    )


def texts_of(texts: Mapping[str, Iterable[str]]) -> TextStream:
    """Texts of lists or generators, read in turns and as they are.

    The k-th texts of all languages are one row.

    Raises:
        SpaceError: a language's texts are one string; while it is read: a text is no string or has
            half a character, or a language has no text.
    """
    for lang, given in texts.items():
        if isinstance(given, str):
            raise SpaceError(
                f"The texts of {lang!r} are one string ({given[:40]!r}): give a list of texts."
            )

    def rows() -> Iterator[TextRow]:
        for row in rows_of(texts):
            for lang, text in row.texts.items():
                _check_text(lang, text, row.number)
            yield row

    return TextStream(tuple(texts), rows, "The texts", available=lambda: texts)


def _check_text(lang: str, text: Any, number: int) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise SpaceError(
            f"Text {number} of {lang!r} is {type(text).__name__} {repr(text)[:40]}, but a string "
            "belongs there."
        )
    check_characters(text, f"Text {number} of {lang!r}")


def texts_of_items(
    items: Iterable[Item], languages: Sequence[str], *, limit: int | None = None
) -> TextStream:
    """The prompts of a task's items, each of them once.

    Raises:
        SpaceError: while it is read: a language has no prompt.
    """
    wanted = _languages(languages)
    rows = parallel_of_items(items)
    seen = list(dict.fromkeys(chain.from_iterable(rows)))

    def read() -> Iterator[TextRow]:
        known: set[tuple[str, str]] = set()
        for number, row in enumerate(rows, start=1):
            new = {
                lang: row[lang] for lang in wanted if lang in row and (lang, row[lang]) not in known
            }
            known |= set(new.items())
            yield TextRow(number, new)

    return TextStream(wanted, read, "The task", limit, available=lambda: seen)


class ParallelRows(list[ParallelRow]):
    """Rows of the same text in several languages; `left_out` were of no use."""

    left_out: int = 0


def read_parallel(
    path: str | Path, languages: Sequence[str], central: str, *, field: str | None = None
) -> ParallelRows:
    """The rows of a file or folder that have a text in the central language and in another one.

    Args:
        path: as for `read_texts`, but rows must hold several languages; in a folder, the k-th
            lines of all files are one row.
        languages: which ones to read; the central one is read in any case.
        central: the language that all rows must have.
        field: as for `read_texts`.

    Raises:
        SpaceError: see `read_texts`; rows hold one language each; the files of a folder have
            different numbers of texts; no row is of use.
    """
    wanted = _languages((central, *languages))
    if len(wanted) < 2:
        raise SpaceError(f"Parallel rows need a language beside {central!r}: name one.")
    file = TextFile(Path(path), wanted, field)
    rows, found = ParallelRows(), Counter[str]()
    for row in file.rows():
        if not file.aligned:
            raise SpaceError(
                f"{path}: every object has one text with its language, so it is not known which "
                "texts are translations of each other: give objects with a field for each language."
            )
        _check_even(file, row)
        texts = {lang: text.strip() for lang, text in row.texts.items() if text and text.strip()}
        if central in texts and len(texts) > 1:
            rows.append(texts)
            found.update(list(texts))
        else:
            rows.left_out += 1
    for lang in wanted:
        if not found[lang]:
            partner = "another language" if lang == central else repr(central)
            others = ", ".join(other for other in file.available if other != lang)
            raise SpaceError(
                f"{path}: no row has a text in {lang!r} together with {partner}: it has "
                f"{others or 'no other language'}."
            )
    return rows


def _check_even(file: TextFile, row: TextRow) -> None:
    if len(row.texts) < len(file.languages):
        short = next(lang for lang in file.languages if lang not in row.texts)
        raise SpaceError(
            f"{file.path}: the file of {short!r} ends before line {row.number} and others do not: "
            "the same line of all files must be the same text."
        )


def parallel_of_items(items: Iterable[Item]) -> list[ParallelRow]:
    """A task's items as rows: main in its language, aux in its own; equal prompts make one row.

    Items that share their aux prompt (a fact asked in several languages), or in a task that asks in
    the central language their main prompt, are one row, unless it has another text in the other
    language already. Shots before a question are no part of it.
    """
    rows: list[dict[str, str]] = []
    row_of: dict[tuple[str, str], dict[str, str]] = {}
    for item in items:
        texts = {item.aux_lang: item.aux} if item.aux else {}
        texts[item.lang] = item.main
        known = [row_of[pair] for pair in texts.items() if pair in row_of]
        row = next((row for row in known if {**row, **texts} == {**texts, **row}), None)
        if row is None:
            row = {}
            rows.append(row)
        row.update(texts)
        row_of |= dict.fromkeys(texts.items(), row)
    return list(rows)


def _languages(languages: Sequence[str]) -> tuple[str, ...]:
    if isinstance(languages, str) or not languages:
        raise SpaceError(f"The languages are {languages!r}: give a list of one or more codes.")
    return tuple(dict.fromkeys(languages))


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
        lines: Iterable[str] = read_text(path).split("\n")
    elif path.is_file() and path.suffix == ".jsonl":
        lines = _central_lines(path, central, field)
    else:
        lines = (each.text for each in read_texts(path, [central], field=field))
    texts = [text.strip() for text in lines if text.strip()]
    if not texts:
        raise SpaceError(f"{path}: there is no text: write one a line.")
    return texts


def _central_lines(path: Path, central: str, field: str | None) -> Iterator[str]:
    lines = read_json_lines(path)
    first = next(lines, None)
    name = field or TEXT_FIELD
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
        and not any(key in data for key in LANGUAGE_FIELDS)
    )
