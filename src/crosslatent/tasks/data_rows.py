"""Raw rows of a data set: from a repository of the Hugging Face Hub, a clone of it, or local files.

Data sets are loaded by `datasets`, which reads data-only repositories; files of one's own by line,
so that a mistake has a place. What a line of a text table means is said, not guessed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.core.hub import tried_once
from crosslatent.core.imports import need
from crosslatent.tasks.definition import ENDINGS, Quoting, RowsSection
from crosslatent.tasks.expressions import compiled
from crosslatent.tasks.row_values import KeptAsFloat, some
from crosslatent.tasks.sources import formatted, read_objects, read_text
from crosslatent.tasks.yaml_file import YamlFile


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows are wanted.

    Attributes:
        lang: their language; `code` as the data spells it.
        split: our name of the split.
        main_lang: where a counterpart is wanted: the language of its main prompt, and `main_code`.
        part: which of several files, where the task has `parts`.
    """

    lang: str
    code: str
    split: str | None
    main_lang: str | None = None
    main_code: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row of a data set, with its file and line for messages.

    `key` is its key where a JSON object holds the rows; None elsewhere.
    """

    number: int
    columns: Mapping[str, Any]
    where: str
    key: str | None = None


@dataclass(slots=True)
class RowSource:
    """The rows of one task.

    Attributes:
        file: the task's file, for messages.
        rows: what it says of its rows.
        folder: where the task's own files lie.
        data: the user's folder with clones of repositories; None to ask the hub.
        absent: files of parts that are not there.
    """

    file: YamlFile
    rows: RowsSection
    folder: Traversable
    data: Path | None = None
    absent: list[str] = field(default_factory=list)
    _opened: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str | None, ...]:
        """Our names of the splits; a single None if the data has none."""
        return tuple(self.rows.splits) or (None,)

    def read(self, asked: RowQuery) -> Iterator[DataRow]:
        """The rows of one language and split, in the order of the data.

        Raises:
            TaskError: they cannot be loaded; the message says what was looked for.
        """
        if self.rows.files is not None:
            return self._local(self.rows.files, asked)
        return self._hub(asked)

    def _local(self, pattern: str, asked: RowQuery) -> Iterator[DataRow]:
        split = self.rows.splits.get(asked.split or "")
        place = self._place("files")
        values = {"code": asked.code, "lang": asked.lang, "split": split, "part": asked.part}
        path = self.folder.joinpath(name := formatted(pattern, place, **values))
        if not path.is_file():
            if asked.part is not None:
                self.absent.append(str(path))
                return iter(())
            raise TaskError(f"{self._place('files')}: there is no file {path}.")
        if name.endswith(".parquet"):
            table = _parquet(Path(str(path)))
            return (DataRow(at, row, f"row {at + 1} of {path}") for at, row in enumerate(table))
        if name.endswith(ENDINGS):
            dialect = Dialect.of(name, self.rows.delimiter, self.rows.quoting)
            rows = read_delimited(path, dialect)
            return (DataRow(at, row, f"{path}:{line}") for at, (line, row) in enumerate(rows))
        objects = read_objects(path, self.rows.field)
        return (
            DataRow(at, data, f"{path}:{line}", key) for at, (line, key, data) in enumerate(objects)
        )

    def _hub(self, asked: RowQuery) -> Iterator[DataRow]:
        assert self.rows.hub is not None
        hub = self.rows.hub
        if asked.main_lang is not None:
            hub = self.rows.counterpart_hub.get(asked.lang, hub)
        values = {
            "lang": asked.lang,
            "code": asked.code,
            "split": asked.split,
            "main_lang": asked.main_lang,
            "main_code": asked.main_code,
        }
        config = self._value("config", values)
        files = self._value("data_files", values)
        split = self.rows.splits[asked.split or ""]
        table = self._table(hub, config, files, split)
        where = f"{hub} ({', '.join(part for part in (config, split) if part)})"
        return (DataRow(at, row, f"row {at + 1} of {where}") for at, row in enumerate(table))

    def _value(self, name: str, values: Mapping[str, Any]) -> str | None:
        text = getattr(self.rows, name)
        if text is None:
            return None
        return str(compiled(text, self._place(name))(values, f"the language {values['lang']!r}"))

    def _table(self, hub: str, config: str | None, files: str | None, split: str) -> Any:
        key = (hub, config, files, split)
        if key not in self._opened:
            source = hub if self.data is None else str(_clone(self.data, hub))
            # A clone has one revision checked out already.
            revision = self.rows.revision if self.data is None else None
            self._opened[key] = _load(source, config, files, split, revision)
        return self._opened[key]

    def _place(self, name: str) -> str:
        return self.file.where("rows", name)


def _clone(data: Path, hub: str) -> Path:
    """The user's copy of a repository.

    Raises:
        TaskError: it is in none of the places where it is looked for.
    """
    places = [data / hub, data / hub.rsplit("/", 1)[-1]]
    for place in places:
        if place.is_dir():
            return place
    raise TaskError(
        f"There is no copy of the data repository {hub} in {data}: put a clone of it at "
        f"{' or '.join(map(str, places))}, or leave --data out to load it from the hub."
    )


def _load(
    source: str, config: str | None, files: str | None, split: str, revision: str | None
) -> Any:
    need("tasks")
    import datasets
    from datasets.exceptions import DatasetsError

    what = f"the data set {source}" + (f" ({config})" if config else "")
    quiet = datasets.utils.logging
    quiet.disable_progress_bar()
    offline = ""
    try:
        with tried_once(source) as offline:
            return datasets.load_dataset(
                source, config, split=split, data_files=files, revision=revision
            )
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = offline or str(error).strip().split("\n")[0] or type(error).__name__
        raise TaskError(
            f"Cannot load {what}, split {split!r} ({reason}): check the name and the network, or "
            "give a folder with a copy of it (--data DIR)."
        ) from error
    finally:
        quiet.enable_progress_bar()


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        _check_names(path, parquet.read_schema(path).names)
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split(". ", maxsplit=1)[0].rstrip(".")
        raise TaskError(f"Cannot read {path} ({reason}).") from error
    for batch in _shortened(table).to_batches():
        yield from batch.to_pylist()


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TaskError(f"{path}: the column {twice[0]!r} is there more than once: keep one.")


def _shortened(table: Any) -> Any:
    """The table with numbers of single precision as they are written: 0.1, not 0.10000000149."""
    import pyarrow as pa

    for at, column in enumerate(table.schema):
        if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
            exact = table.column(at).cast(pa.float32()).cast(pa.string()).cast(pa.float64())
            table = table.set_column(at, column.name, exact)
    return table


_DEFAULTS: Mapping[str, tuple[str, Quoting]] = {".csv": (",", "double"), ".tsv": ("\t", "none")}
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
