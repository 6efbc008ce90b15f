"""What a sweep may leave in a run folder beside its rows: attribution scores and sampled answers.

One file each, written whole after the rows. Never sees a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crosslatent.errors import RunFolderError
from crosslatent.specs import Component
from crosslatent.store.files import whole_file, write_table
from crosslatent.store.schema import describe

__all__ = [
    "ATTRIBUTION",
    "ATTRIBUTION_FILE",
    "SAMPLES",
    "SAMPLES_FILE",
    "attribution_table",
    "describe",
    "discard",
    "items_in",
    "read_extra",
    "write_attribution",
    "write_samples",
]

ATTRIBUTION_FILE: Final = "attribution.parquet"
SAMPLES_FILE: Final = "samples.parquet"


def _column(name: str, kind: pa.DataType, meaning: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


_TEXT = pa.dictionary(pa.int32(), pa.string())

ATTRIBUTION = pa.schema(
    [
        _column("item", _TEXT, "id of the item; see items.parquet", False),
        _column("component", _TEXT, "attn, ffn, attn_residual, block or cross_attn", False),
        _column("source", pa.int16(), "source layer in aux's run, from 0", False),
        _column("target", pa.int16(), "target layer in main's run, from 0", False),
        _column(
            "score",
            pa.float32(),
            "by how much (nats) the pair would lift the first-step log-probability of the option "
            "that it lifts most, estimated from gradients at the unmodified run; of the likeliest "
            "first tokens, where options cannot be told apart by theirs. No gold answer is used",
            False,
        ),
    ]
)
"""One row per item, component and pair of layers, in this order."""

SAMPLES = pa.schema(
    [
        _column("item", pa.string(), "id of the item; see items.parquet", False),
        _column("number", pa.int16(), "which of the item's samples, from 0", False),
        _column("output", pa.string(), "sampled text, special tokens left out", False),
        _column("prediction", pa.string(), "the option that the output names; null if none"),
        _column("correct", pa.bool_(), "right under the task's rule; null without gold answer"),
    ]
)
"""One row per sampled answer of the unmodified model to main."""


def attribution_table(
    scores: Mapping[str, Mapping[Component, NDArray[np.float32]]],
) -> pa.Table:
    """Scores as rows of `ATTRIBUTION`.

    Args:
        scores: item -> component -> N sources N targets.
    """
    tables = [
        _cells(item, component, grid)
        for item, by_component in scores.items()
        for component, grid in by_component.items()
    ]
    if not tables:
        return ATTRIBUTION.empty_table()
    return pa.concat_tables(tables).unify_dictionaries().cast(ATTRIBUTION)


def _cells(item: str, component: str, grid: NDArray[np.float32]) -> pa.Table:
    sources, targets = np.indices(grid.shape, dtype=np.int16)
    columns = [
        _repeated(item, grid.size),
        _repeated(component, grid.size),
        pa.array(sources.ravel()),
        pa.array(targets.ravel()),
        pa.array(grid.ravel().astype(np.float32)),
    ]
    return pa.table(columns, schema=ATTRIBUTION)


def _repeated(text: str, times: int) -> pa.Array:
    indices = pa.array(np.zeros(times, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text]))


def write_attribution(path: Path, table: pa.Table) -> None:
    """Write the attribution scores of a run, whole or not at all.

    Args:
        path: the run folder.
        table: rows of `ATTRIBUTION`.
    """
    with whole_file(path / ATTRIBUTION_FILE) as temporary:
        pq.write_table(table.cast(ATTRIBUTION), temporary, compression="zstd")


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the sampled answers of a run, whole or not at all.

    Args:
        path: the run folder.
        rows: the columns of `SAMPLES`.
    """
    write_table(path / SAMPLES_FILE, [dict(row) for row in rows], SAMPLES)


def read_extra(path: Path, name: str) -> pa.Table | None:
    """One of the tables of a run; None if the run has none.

    Args:
        path: the run folder.
        name: `ATTRIBUTION_FILE` or `SAMPLES_FILE`.

    Raises:
        RunFolderError: it cannot be read.
    """
    file = path / name
    if not file.is_file():
        return None
    schema = {ATTRIBUTION_FILE: ATTRIBUTION, SAMPLES_FILE: SAMPLES}[name]
    try:
        return pq.read_table(file).cast(schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunFolderError(
            f"Cannot read {str(file)!r} ({error}): remove it and run the sweep again, which makes "
            "it anew."
        ) from error


def items_in(table: pa.Table | None) -> set[str]:
    """The items that a table has rows of."""
    return set() if table is None else set(table["item"].unique().to_pylist())


def discard(path: Path) -> None:
    """Remove the tables of an earlier run."""
    for name in (ATTRIBUTION_FILE, SAMPLES_FILE):
        (path / name).unlink(missing_ok=True)
