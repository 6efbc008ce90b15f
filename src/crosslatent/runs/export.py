"""A run's rows as one table for other tools: each row beside what is known of its item."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import duckdb

from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.runs.files import whole_file
from crosslatent.runs.reader import RunReader

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
