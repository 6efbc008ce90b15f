"""Optional tables of a run folder beside its rows: attribution scores and sampled answers.

Tables in parts, like the rows. Never sees a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crosslatent.core.specs import Component
from crosslatent.runs.parts import PartTable
from crosslatent.runs.run_path import run_path
from crosslatent.runs.schema import ATTRIBUTION, PART_TABLES

if TYPE_CHECKING:
    from upath import UPath


def attribution_table(
    scores: Mapping[str, Mapping[Component, NDArray[np.float32]]],
) -> pa.Table:
    """Scores as rows of `schema.ATTRIBUTION`.

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


def read_extra(run: str | Path | UPath, name: str) -> pa.Table | None:
    """One of the tables of a run; None if the run has none.

    Args:
        run: the run folder.
        name: `schema.ATTRIBUTION_TABLE` or `schema.SAMPLES_TABLE`.

    Raises:
        RunFolderError: it cannot be read.
    """
    table = PartTable(run_path(run) / name, PART_TABLES[name])
    return table.read() if table.files() else None
