"""`RunReader`: a finished or unfinished run folder as DuckDB views; needs no model and no torch."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.runs.contents import ADDED, check_columns, check_values, readable
from crosslatent.runs.extras import read_extra
from crosslatent.runs.manifest import CLEARING, read_manifest
from crosslatent.runs.parts import END, START, UNREADABLE, PartTable, able_to_read, damaged
from crosslatent.runs.run_path import is_file, reaching, run_path, unreachable, why
from crosslatent.runs.schema import (
    ATTRIBUTION_TABLE,
    FILE_TABLES,
    KEY,
    LATER,
    ROWS,
    ROWS_TABLE,
    SAMPLES_TABLE,
)
from crosslatent.runs.tables import is_entries

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath

    from crosslatent.runs.run_path import RunPath

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
            UsageError: polars is not installed.
            RunFolderError: a part is damaged.
        """
        try:
            import polars as pl
        except ImportError as error:
            raise UsageError(
                "polars is not installed: install it, or crosslatent[polars]; to_pandas needs "
                "nothing more."
            ) from error
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
