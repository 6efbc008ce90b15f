"""`RunReader`: a finished or unfinished run folder as DuckDB views, and its rows for other tools.

Needs no model and no torch.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.imports import need
from crosslatent.runs.contents import ADDED, check_columns, check_values, readable
from crosslatent.runs.files import whole_file
from crosslatent.runs.manifest import CLEARING, read_manifest
from crosslatent.runs.parts import END, START, UNREADABLE, PartTable, able_to_read, damaged
from crosslatent.runs.run_path import RunPath, is_file, reaching, run_path, unreachable, why
from crosslatent.runs.schema import (
    ATTRIBUTION_TABLE,
    FILE_TABLES,
    KEY,
    LATER,
    PART_TABLES,
    ROWS,
    ROWS_TABLE,
    SAMPLES_TABLE,
    is_entries,
)

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath


_OPENED_AT_ONCE = 16


_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
"""Settings of DuckDB connections: no extension is fetched or loaded, whatever a file requests."""


class RunReader:
    """A run folder open for reading."""

    def __init__(self, path: str | Path | UPath) -> None:
        """Open a run folder, by its path or its URL.

        Raises:
            RunFolderError: it is not one, has no rows yet, or has a part that is no table.
        """
        self.path = run_path(path)
        with reaching(self.path):
            self.manifest: dict[str, Any] = read_manifest(self.path)
            parts = PartTable(self.path / ROWS_TABLE, ROWS).files()
            if self.manifest.get(CLEARING) or not parts:
                raise RunFolderError(
                    f"The run in {str(self.path)!r} has no rows yet: run the same sweep command "
                    "again to go on."
                )
            found = _checked(parts, KEY)
            self._columns = {ROWS_TABLE: _with_later(found)}
            self._uneven = {ROWS_TABLE} if len({_later(one) for one in found}) > 1 else set()
            for name in FILE_TABLES:
                if is_file(file := self.path / f"{name}.parquet"):
                    (self._columns[name],) = _checked([file], ("item",))
        self._database: duckdb.DuckDBPyConnection | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    def attribution(self) -> pa.Table | None:
        """Pairs ranked by gradients (`schema.ATTRIBUTION`); None if the run has none."""
        return read_extra(self.path, ATTRIBUTION_TABLE)

    def samples(self) -> pa.Table | None:
        """Sampled answers (`schema.SAMPLES`); None if the run has none."""
        return read_extra(self.path, SAMPLES_TABLE)

    def to_polars(self) -> pl.DataFrame:
        """The rows for polars, mappings as lists of keys and values.

        Raises:
            MissingExtraError: polars is not installed.
            RunFolderError: a part is damaged.
        """
        need("polars")
        import polars as pl

        frame = pl.from_arrow(PartTable(self.path / ROWS_TABLE, ROWS).read())
        assert isinstance(frame, pl.DataFrame)
        return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with the views ``rows``, ``items`` and ``failures`` (see `schema`).

        Temporary tables are its own; the views are made, and what they show checked, once.
        """
        if self._database is None:
            self._database = self._open()
        return self._database.cursor()

    def _open(self) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(config=_CLOSED)
        if not isinstance(self.path, Path):
            database.register_filesystem(self.path.fs)
        self._view(database, ROWS_TABLE, f"{ROWS_TABLE}/{START}*{END}", ROWS)
        for name, schema in FILE_TABLES.items():
            self._view(database, name, f"{name}.parquet", schema)
        n_layers = self.manifest.get("model", {}).get("n_layers")
        check_values(database, {ROWS_TABLE: ROWS, **FILE_TABLES}, n_layers, self.path)
        return database

    def _view(
        self, database: duckdb.DuckDBPyConnection, name: str, pattern: str, schema: pa.Schema
    ) -> None:
        if name in self._columns:
            # Only the last part of the path is a pattern; the folder may have any name, and one
            # such as lang=sw is no column.
            files = f"{glob.escape(str(self.path))}/{pattern}".replace("'", "''")
            # Parts of an earlier release may lack columns that those after them have.
            by_name = ", union_by_name = true" if name in self._uneven else ""
            source = f"read_parquet('{files}', hive_partitioning = false{by_name})"
        else:
            source = f"no_{name}"
            # What is registered is seen by one connection only, a table by all.
            database.register("empty", schema.empty_table())
            database.execute(f"CREATE TABLE {source} AS SELECT * FROM empty")
        check_columns(database, source, schema, self.path)
        columns = self._columns.get(name, schema)
        added = [one for one in ADDED if one in schema.names and one not in columns.names]
        chosen = ", ".join([_selected(columns), *(f"NULL::VARCHAR[] AS {one}" for one in added)])
        with readable(self.path):
            database.execute(f"CREATE VIEW {name} AS SELECT {chosen} FROM {source}")


def read_extra(run: str | Path | UPath, name: str) -> pa.Table | None:
    """`schema.ATTRIBUTION_TABLE` or `SAMPLES_TABLE` of a run folder; None if the run has none.

    Raises:
        RunFolderError: it cannot be read.
    """
    table = PartTable(run_path(run) / name, PART_TABLES[name])
    return table.read() if table.files() else None


def _selected(schema: pa.Schema) -> str:
    """All columns, mappings as what DuckDB calls maps."""
    mappings = [column.name for column in schema if is_entries(column.type)]
    if not mappings:
        return "*"
    replaced = ", ".join(f"map_from_entries({name}) AS {name}" for name in mappings)
    return f"* REPLACE ({replaced})"


def _checked(files: list[RunPath], needed: tuple[str, ...]) -> list[pa.Schema]:
    """The columns of Parquet files, whose footers must be whole.

    Raises:
        RunFolderError: one is no table, or lacks a column that is needed.
    """
    at_once = (
        min(_OPENED_AT_ONCE, os.cpu_count() or 1) if isinstance(files[0], Path) else _OPENED_AT_ONCE
    )
    with ThreadPoolExecutor(at_once) as pool:
        schemas = list(pool.map(_footer, files))
    for file, schema in zip(files, schemas, strict=True):
        if missing := [name for name in needed if name not in schema.names]:
            raise RunFolderError(damaged(file, f"it has no column {missing[0]!r}"))
    return [pa.schema(map(_as_stored, schema)) for schema in schemas]


def _later(schema: pa.Schema) -> tuple[str, ...]:
    """Which columns it has of those that were added later."""
    return tuple(name for name in LATER if name in schema.names)


def _with_later(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of the first part, and those that were added later and another one has."""
    first = schemas[0]
    for schema in schemas[1:]:
        for name in _later(schema):
            if name not in first.names:
                first = first.append(schema.field(name))
    return first


def _as_stored(column: pa.Field) -> pa.Field:
    """A column as its storage type, without an extension type of Python, for DuckDB."""
    kind = column.type
    return column.with_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else column


def _footer(file: RunPath) -> pa.Schema:
    try:
        with (
            able_to_read(file),
            _opened(file) as source,
            closing(pq.ParquetFile(source)) as parquet,
        ):
            return parquet.schema_arrow
    except unreachable(*UNREADABLE) as error:
        raise RunFolderError(damaged(file, why(error))) from error


@contextmanager
def _opened(file: RunPath) -> Iterator[Any]:
    if isinstance(file, Path):
        yield str(file)
    else:
        with file.fs.open(file.path, "rb") as handle:
            yield handle


Format = Literal["parquet", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)

_OF_ITEM = (
    "aux_lang",
    "answer",
    "options",
    "split",
    "cluster",
    "strata",
    "main_token",
    "aux_token",
)
"""Columns of the item that stand beside each of its rows; its prompts are in items.parquet."""

_NESTED = (
    "output_ids",
    "correct_by_rule",
    "scores",
    "option_logprobs",
    "option_scores",
    "option_means",
    "options",
    "strata",
)
"""Columns with lists or maps, which CSV holds as JSON."""

_WRITERS: dict[Format, str] = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER",
    "jsonl": "FORMAT json, ARRAY false",
}


_MEMORY = "1GB"
"""What sorting the rows may hold; the rest lies beside the file that is written, meanwhile."""


def check_format(name: str) -> Format:
    """Return `name` as a format.

    Raises:
        UsageError: it is none.
    """
    for known in FORMATS:
        if name == known:
            return known
    raise UsageError(f"Unknown format {name!r}: use one of {', '.join(FORMATS)}.")


def export_rows(run: str | Path, out: Path, kind: Format) -> int:
    """Write the rows of a run to one file, whole or not at all.

    The order is that of item, control, stratum, component, source and target, so a resumed run
    gives the same file as an uninterrupted one, but for `seconds`. In CSV and JSON Lines, infinite
    numbers are null.

    Args:
        run: a run folder.
        out: the file; replaced if it exists.
        kind: what to write.

    Returns:
        How many rows the file has.

    Raises:
        RunFolderError: the run cannot be read, or the file cannot be written.
    """
    reader = RunReader(run)
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise RunFolderError(f"Cannot write {str(out)!r}: give a file in a folder that exists.")
    try:
        return _copy(reader, out, kind)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise RunFolderError(
            f"Cannot export the run in {str(reader.path)!r} to {str(out)!r} ({reason}): run its "
            "sweep again if a table is damaged, or write somewhere else."
        ) from error


def _copy(reader: RunReader, out: Path, kind: Format) -> int:
    with (
        reader.connect() as connection,
        whole_file(out) as temporary,
        tempfile.TemporaryDirectory(prefix=".export-", dir=out.absolute().parent) as spill,
    ):
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = '{_quoted(spill)}'")
        described = connection.execute("DESCRIBE rows").fetchall()
        query = _query({name: sql_type for name, sql_type, *_ in described}, kind)
        result = connection.execute(f"COPY ({query}) TO '{_quoted(temporary)}' ({_WRITERS[kind]})")
        return int(result.fetchall()[0][0])


def _quoted(path: str | Path) -> str:
    return str(path).replace("'", "''")


def _query(columns: Mapping[str, str], kind: Format) -> str:
    selected = [_column(name, "rows", sql_type, kind) for name, sql_type in columns.items()]
    selected += [_column(name, "items", "", kind) for name in _OF_ITEM]
    return (
        f"SELECT {', '.join(selected)} FROM rows LEFT JOIN items USING (item) "
        "ORDER BY item, control, stratum, component, source, target"
    )


def _column(name: str, table: str, sql_type: str, kind: Format) -> str:
    value = "item" if name == "item" else f"{table}.{name}"
    if kind != "parquet":
        value = _finite(value, sql_type)
    if kind == "csv" and name in _NESTED:
        value = f"to_json({value})"
    return f"{value} AS {name}"


def _finite(value: str, sql_type: str) -> str:
    """Infinite and undefined numbers as null: JSON has none of them."""
    if sql_type == "FLOAT":
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if sql_type == "FLOAT[]":
        return f"[CASE WHEN isfinite(x) THEN x END FOR x IN {value}]"
    return value
