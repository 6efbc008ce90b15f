"""`RunReader`: a finished or unfinished run folder as DuckDB views; needs no model and no torch."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from crosslatent.errors import RunFolderError
from crosslatent.store.folder import read_manifest
from crosslatent.store.schema import FAILURES, ITEMS, ROWS


class RunReader:
    """A run folder open for reading."""

    def __init__(self, path: str | Path) -> None:
        """Open a run folder.

        Raises:
            RunFolderError: it is not one, or has no rows yet.
        """
        self.path = Path(path)
        self.manifest: dict[str, Any] = read_manifest(self.path)
        if not any((self.path / "rows").glob("part-*.parquet")):
            raise RunFolderError(
                f"The run in {str(self.path)!r} has no rows yet: run the same sweep command again "
                "to go on."
            )

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with the views ``rows``, ``items`` and ``failures`` (see `schema`)."""
        connection = duckdb.connect()
        _view(connection, "rows", self.path / "rows" / "part-*.parquet", ROWS)
        _view(connection, "items", self.path / "items.parquet", ITEMS)
        _view(connection, "failures", self.path / "failures.parquet", FAILURES)
        return connection


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: Path, schema: pa.Schema) -> None:
    if any(files.parent.glob(files.name)):
        # Only the last part of the path is a pattern; the folder may have any name.
        pattern = f"{glob.escape(str(files.parent))}/{files.name}".replace("'", "''")
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}')")
    else:
        connection.register(name, schema.empty_table())
