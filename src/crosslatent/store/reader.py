"""`RunReader`: a finished or unfinished run folder as DuckDB views; needs no model and no torch."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.errors import RunFolderError
from crosslatent.foreign import one_line
from crosslatent.store.contents import check_columns, check_manifest, check_values, readable
from crosslatent.store.folder import read_manifest
from crosslatent.store.schema import FAILURES, ITEMS, ROWS

SCHEMAS = {"rows": ROWS, "items": ITEMS, "failures": FAILURES}

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    # Whatever a file asks for: no code is fetched or loaded to read it.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
"""Of connections to DuckDB."""


class RunReader:
    """A run folder open for reading."""

    def __init__(self, path: str | Path) -> None:
        """Open a run folder.

        Raises:
            RunFolderError: it is not one, or has no rows yet.
        """
        self.path = Path(path)
        self.manifest: dict[str, Any] = read_manifest(self.path)
        check_manifest(self.manifest, self.path)
        self._checked = False
        if not any((self.path / "rows").glob("part-*.parquet")):
            raise RunFolderError(
                f"The run in {str(self.path)!r} has no rows yet: run the same sweep command again "
                "to go on."
            )

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with the views ``rows``, ``items`` and ``failures`` (see `schema`)."""
        connection = duckdb.connect(config=_CLOSED)
        for name, files in self._files().items():
            if not self._checked:
                for file in sorted(files.parent.glob(files.name)):
                    check_columns(_schema_of(file), SCHEMAS[name], file)
            with readable(self.path):
                _view(connection, name, files, SCHEMAS[name])
        if not self._checked:
            layers = self.manifest.get("model", {}).get("n_layers")
            check_values(connection, SCHEMAS, layers, self.path)
            self._checked = True
        return connection

    def _files(self) -> dict[str, Path]:
        return {
            "rows": self.path / "rows" / "part-*.parquet",
            "items": self.path / "items.parquet",
            "failures": self.path / "failures.parquet",
        }


def _schema_of(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunFolderError(
            f"Cannot read {str(file)!r} ({one_line(error)}): run the sweep again, or give another "
            "folder."
        ) from error


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: Path, schema: pa.Schema) -> None:
    if any(files.parent.glob(files.name)):
        # Only the last part of the path is a pattern; the folder may have any name.
        pattern = f"{glob.escape(str(files.parent))}/{files.name}".replace("'", "''")
        connection.execute(
            f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}', "
            # A folder called lang=sw is a folder, and no column.
            "hive_partitioning = false)"
        )
    else:
        connection.register(name, schema.empty_table())
