"""Raw rows of a data set: from a repository of the Hugging Face Hub, a clone of it, or local files.

Data sets are loaded by `datasets`, which reads data-only repositories; files of one's own by line,
so that a mistake has a place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.tasks.definition import RowsSection
from crosslatent.tasks.delimited import ENDINGS, Dialect, read_delimited
from crosslatent.tasks.expressions import compiled
from crosslatent.tasks.sources import formatted, read_objects
from crosslatent.tasks.yaml_file import YamlFile


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows are wanted.

    Attributes:
        lang: their language; `code` as the data spells it.
        split: our name of the split.
        main_lang: where a counterpart is wanted: the language of its main prompt, and `main_code`.
    """

    lang: str
    code: str
    split: str | None
    main_lang: str | None = None
    main_code: str | None = None


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
    """

    file: YamlFile
    rows: RowsSection
    folder: Traversable
    data: Path | None = None
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
        name = formatted(pattern, place, code=asked.code, lang=asked.lang, split=split)
        path = self.folder.joinpath(name)
        if not path.is_file():
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
    import datasets
    from datasets.exceptions import DatasetsError

    what = f"the data set {source}" + (f" ({config})" if config else "")
    quiet = datasets.utils.logging
    quiet.disable_progress_bar()
    try:
        return datasets.load_dataset(
            source, config, split=split, data_files=files, revision=revision
        )
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
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
