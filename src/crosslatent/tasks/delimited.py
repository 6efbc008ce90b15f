"""Tables in text, such as CSV and TSV: what a line means is said, not guessed."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, Literal

from crosslatent.core.errors import TaskError
from crosslatent.tasks.row_values import KeptAsFloat, some
from crosslatent.tasks.sources import read_text

Quoting = Literal["none", "double"]
_DEFAULTS: Mapping[str, tuple[str, Quoting]] = {".csv": (",", "double"), ".tsv": ("\t", "none")}
ENDINGS = tuple(_DEFAULTS)
_OTHER_DELIMITERS = (";", "\t", "|", ",")
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_WHOLE_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.0")


@dataclass(frozen=True, slots=True)
class _Line:
    """The fields of one row, and the lines from and to which they stand."""

    fields: list[str]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text table is written.

    Attributes:
        delimiter: between fields.
        quoting: "double" where fields may stand in double quotes, and hold line breaks then;
            "none" where a quote is a letter like any other.
        sure: whether somebody said which quoting it is.
    """

    delimiter: str
    quoting: Quoting
    sure: bool = False

    @classmethod
    def of(cls, name: str, delimiter: str | None, quoting: Quoting | None) -> Dialect:
        """The dialect of a file by its name, with what the task's file says instead."""
        usual = _DEFAULTS[name[-4:]]
        return cls(delimiter or usual[0], quoting or usual[1], quoting is not None)


def read_delimited(path: Traversable, dialect: Dialect) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table with the line in which each begins; every value is a text.

    Texts of a column in which all end in .0 are `KeptAsFloat`; 007 may be a name.

    Raises:
        TaskError: a row has other fields than the first line, a quote swallows rows or leaves them
            in doubt, or two columns have one name.
    """
    text = read_text(path)
    lines = _lines(text, path, dialect)
    first = next(lines, None)
    if first is None:
        raise TaskError(f"{path}: the file is empty: its first line names the columns.")
    header = first.fields
    _check_header(path, first, dialect)
    rows, physical = [], text.split("\n")
    for row in lines:
        _check_row(path, header, row, dialect)
        if row.end > row.start and not dialect.sure:
            _check_swallowed(path, row, header, dialect, physical[row.start - 1 : row.end])
        rows.append(row)
    floats = [_kept_as_floats([row.fields[at] for row in rows]) for at in range(len(header))]
    for row in rows:
        values = [
            KeptAsFloat(value) if as_float and value else value
            for value, as_float in zip(row.fields, floats, strict=True)
        ]
        yield row.start, dict(zip(header, values, strict=True))


def _lines(text: str, path: Traversable, dialect: Dialect) -> Iterator[_Line]:
    """Blank lines are left out."""
    reader = csv.reader(
        io.StringIO(text),
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_NONE if dialect.quoting == "none" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    start = 1
    try:
        for fields in reader:
            if fields:
                yield _Line(fields, start, reader.line_num)
            start = reader.line_num + 1
    except csv.Error as error:
        raise TaskError(
            f"{path}:{start}: the row that begins here cannot be read ({error}): mend its quotes, "
            "or say that quotes are letters like any other (rows, quoting: none)."
        ) from error


def _check_header(path: Traversable, first: _Line, dialect: Dialect) -> None:
    where, header = f"{path}:{first.start}", first.fields
    name, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise TaskError(
            f"{where}: the column {name!r} occurs {count} times here: keep one of them."
        )
    if len(header) == 1:
        for other in _OTHER_DELIMITERS:
            if other in header[0]:
                raise TaskError(
                    f"{where}: with {dialect.delimiter!r} between columns, there is one column, "
                    f"{header[0]!r}: name the delimiter (rows, delimiter: {other!r})."
                )
    _check_quotes(where, header, dialect, all(map(_QUOTED.fullmatch, header)))


def _check_row(path: Traversable, header: Sequence[str], row: _Line, dialect: Dialect) -> None:
    where = f"{path}:{row.start}"
    if len(row.fields) != len(header):
        raise TaskError(
            f"{where}: this row has more or fewer fields than the first line: {len(row.fields)}, "
            f"not {len(header)} ({some(header)}); quoting is {dialect.quoting!r} here."
        )
    if dialect.quoting == "none":
        doubled = (_QUOTED.fullmatch(field) and '""' in field[1:-1] for field in row.fields)
        _check_quotes(where, row.fields, dialect, any(doubled))


def _check_quotes(where: str, fields: Sequence[str], dialect: Dialect, quoted: bool) -> None:
    if quoted and dialect.quoting == "none" and not dialect.sure:
        field = next(field for field in fields if field[:1] == '"')
        raise TaskError(
            f"{where}: the field {field[:40]!r} looks quoted, but quotes are letters like any "
            "other in this kind of file: say which it is (rows, quoting: double or none)."
        )


def _check_swallowed(
    path: Traversable, row: _Line, header: Sequence[str], dialect: Dialect, lines: Sequence[str]
) -> None:
    """Refuse a row over several lines each of which could be a row of its own.

    A comma before a blank is one of a sentence, unless the names of the columns have blanks too.
    """
    spaced = any(name[:1] == " " for name in header)
    between = re.compile(re.escape(dialect.delimiter) + ("" if spaced else "(?! )"))
    if all(len(between.findall(line)) >= len(header) - 1 for line in lines):
        raise TaskError(
            f"{path}:{row.start}: quotes make one row of the lines {row.start} to {row.end}, each "
            "of which has the fields of a row: mend a quote that is not closed, or say what quotes "
            "are (rows, quoting: none for letters like any other; double if the row is right)."
        )


def _kept_as_floats(values: Sequence[str]) -> bool:
    there = [value for value in values if value]
    return bool(there) and all(map(_WHOLE_FLOAT.fullmatch, there))
