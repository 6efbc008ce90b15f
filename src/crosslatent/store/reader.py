"""`RunReader`: a finished or unfinished run folder as DuckDB views; needs no model and no torch."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from crosslatent.errors import RunFolderError
from crosslatent.store.extras import read_extra
from crosslatent.store.manifest import CLEARING, read_manifest
from crosslatent.store.parts import PATTERN
from crosslatent.store.places import is_local, place_of
from crosslatent.store.schema import ATTRIBUTION_TABLE, FAILURES, ITEMS, ROWS, SAMPLES_TABLE
from crosslatent.store.tables import is_entries

if TYPE_CHECKING:
    from crosslatent.store.places import Place


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

    def attribution(self) -> pa.Table | None:
        """Pairs ranked by gradients (`schema.ATTRIBUTION`); None if the run has none."""
        return read_extra(self.path, ATTRIBUTION_TABLE)

    def samples(self) -> pa.Table | None:
        """Sampled answers (`schema.SAMPLES`); None if the run has none."""
        return read_extra(self.path, SAMPLES_TABLE)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with the views ``rows``, ``items`` and ``failures`` (see `schema`)."""
        connection = duckdb.connect()
        if not is_local(self.path):
            connection.register_filesystem(self.path.fs)
        _view(connection, "rows", self.path / "rows", PATTERN, ROWS)
        _view(connection, "items", self.path, "items.parquet", ITEMS)
        _view(connection, "failures", self.path, "failures.parquet", FAILURES)
        return connection


def _view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    folder: Place,
    pattern: str,
    schema: pa.Schema,
) -> None:
    if any(folder.glob(pattern)):
        # Only the last part of the path is a pattern; the folder may have any name.
        files = f"{glob.escape(str(folder))}/{pattern}".replace("'", "''")
        source = f"read_parquet('{files}')"
    else:
        source = f"{name}_empty"
        connection.register(source, schema.empty_table())
    connection.execute(f"CREATE VIEW {name} AS SELECT {_columns(schema)} FROM {source}")


def _columns(schema: pa.Schema) -> str:
    """Mappings as what DuckDB calls maps."""
    mappings = [column.name for column in schema if is_entries(column.type)]
    if not mappings:
        return "*"
    replaced = ", ".join(f"map_from_entries({name}) AS {name}" for name in mappings)
    return f"* REPLACE ({replaced})"
