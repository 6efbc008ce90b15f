"""`RunReader`: a finished or unfinished run folder as DuckDB views; needs no model and no torch."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from crosslatent.errors import RunFolderError
from crosslatent.store.contents import check_columns, check_values, readable
from crosslatent.store.extras import read_extra
from crosslatent.store.manifest import CLEARING, read_manifest
from crosslatent.store.parts import PATTERN
from crosslatent.store.places import is_local, place_of
from crosslatent.store.schema import (
    ATTRIBUTION_TABLE,
    FILE_TABLES,
    PART_TABLES,
    ROWS,
    ROWS_TABLE,
    SAMPLES_TABLE,
)
from crosslatent.store.tables import is_entries

if TYPE_CHECKING:
    from crosslatent.store.places import Place


_VIEWS = {ROWS_TABLE: ROWS, **FILE_TABLES}

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
"""Of connections to DuckDB: whatever a file asks for, no code is fetched or loaded to read it."""


class RunReader:
    """A run folder open for reading."""

    def __init__(self, path: str | Path | Place) -> None:
        """Open a run folder, by its path or its URL.

        Raises:
            RunFolderError: it is not one, or has no rows yet.
        """
        self.path = place_of(path)
        self.manifest: dict[str, Any] = read_manifest(self.path)
        if self.manifest.get(CLEARING) or not any((self.path / "rows").glob(PATTERN)):
            raise RunFolderError(
                f"The run in {str(self.path)!r} has no rows yet: run the same sweep command again "
                "to go on."
            )
        self._checked = False

    def attribution(self) -> pa.Table | None:
        """Pairs ranked by gradients (`schema.ATTRIBUTION`); None if the run has none."""
        return read_extra(self.path, ATTRIBUTION_TABLE)

    def samples(self) -> pa.Table | None:
        """Sampled answers (`schema.SAMPLES`); None if the run has none."""
        return read_extra(self.path, SAMPLES_TABLE)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with the views ``rows``, ``items`` and ``failures`` (see `schema`)."""
        connection = duckdb.connect(config=_CLOSED)
        if not is_local(self.path):
            connection.register_filesystem(self.path.fs)
        for name, schema in _VIEWS.items():
            source = self._source(connection, name, schema)
            if not self._checked:
                check_columns(connection, source, schema, self.path)
            with readable(self.path):
                connection.execute(f"CREATE VIEW {name} AS SELECT {_columns(schema)} FROM {source}")
        if not self._checked:
            n_layers = self.manifest.get("model", {}).get("n_layers")
            check_values(connection, _VIEWS, n_layers, self.path)
            self._checked = True
        return connection

    def _source(self, connection: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> str:
        """A table as SQL names it."""
        in_parts = name in PART_TABLES
        folder = self.path / name if in_parts else self.path
        pattern = PATTERN if in_parts else f"{name}.parquet"
        if not any(folder.glob(pattern)):
            connection.register(f"{name}_empty", schema.empty_table())
            return f"{name}_empty"
        # Only the last part of the path is a pattern; the folder may have any name, and one such as
        # lang=sw is no column.
        files = f"{glob.escape(str(folder))}/{pattern}".replace("'", "''")
        return f"read_parquet('{files}', hive_partitioning = false)"


def _columns(schema: pa.Schema) -> str:
    """Mappings as what DuckDB calls maps."""
    mappings = [column.name for column in schema if is_entries(column.type)]
    if not mappings:
        return "*"
    replaced = ", ".join(f"map_from_entries({name}) AS {name}" for name in mappings)
    return f"* REPLACE ({replaced})"
