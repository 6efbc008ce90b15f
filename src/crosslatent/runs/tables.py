"""Rows as Arrow tables in a schema: what writers pass as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


def entries(key: pa.DataType, value: pa.DataType) -> pa.DataType:
    """The type of a mapping: a list of keys and values, which more tools read than Parquet maps."""
    return pa.list_(pa.struct([pa.field("key", key, nullable=False), pa.field("value", value)]))


def is_entries(kind: pa.DataType) -> bool:
    """Whether a column holds mappings as lists of keys and values."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    struct = kind.value_type
    return [struct.field(at).name for at in range(struct.num_fields)] == ["key", "value"]


def table_of(rows: Sequence[Mapping[str, Any]] | pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows as a table of `schema`.

    Args:
        rows: records, mappings as plain dicts, columns that are missing are null; or a table of the
            same columns.
        schema: the columns.
    """
    if isinstance(rows, pa.Table):
        return rows.select(schema.names).cast(schema)
    mappings = [column.name for column in schema if is_entries(column.type)]
    records = [_listed(row, mappings) for row in rows]
    return pa.Table.from_pylist(records, schema=schema)


def _listed(row: Mapping[str, Any], mappings: Sequence[str]) -> dict[str, Any]:
    record = dict(row)
    for name in mappings:
        value = record.get(name)
        if isinstance(value, Mapping):
            record[name] = [{"key": key, "value": held} for key, held in value.items()]
    return record
