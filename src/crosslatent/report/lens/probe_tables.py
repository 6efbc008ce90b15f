"""The numbers of a probe as flat tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from crosslatent.analysis.figure_tables import Record, flat
from crosslatent.lens.space import Space
from crosslatent.report import formatting
from crosslatent.report.drawing import layer_name
from crosslatent.report.lens.marks import name
from crosslatent.report.lens.views import LayerView, known
from crosslatent.report.safe import write_csv
from crosslatent.report.views import Table


def write_tables(space: Space, views: Sequence[LayerView], folder: Path) -> None:
    """Write ``layers.csv``, ``angles.csv`` and ``core.languages.csv``."""
    folder.mkdir()
    tables = {
        "layers": [_layer(space, view) for view in views],
        "angles": list(_angles(space, views)),
        "languages": list(_languages(space)),
    }
    for title, records in tables.items():
        write_csv(pd.DataFrame.from_records(records), folder / f"{title}.csv")


def _layer(space: Space, view: LayerView) -> Record:
    measured = view.separability
    record: Record = {
        "layer": view.layer,
        "rank": space.rank,
        "between": view.between,
        "chance": measured.chance if measured else None,
        "held_out": measured.n if measured else 0,
        **flat("separability_linear", measured.linear if measured else None),
        **flat("separability_full", measured.full if measured else None),
        **flat("separability_specific", measured.specific if measured else None),
        "agnostic_norm": float(np.linalg.norm(space.at(view.layer).agnostic)),
    }
    for place, value in enumerate(view.singular_values, start=1):
        record[f"singular_value_{place}"] = float(value)
    for place, value in enumerate(view.explained, start=1):
        record[f"explained_{place}"] = float(value)
    return record


def _angles(space: Space, views: Sequence[LayerView]) -> Iterator[Record]:
    """One row a layer and pair of languages."""
    for view in views:
        for first, lang in enumerate(space.languages):
            for second in range(first + 1, len(space.languages)):
                yield {
                    "layer": view.layer,
                    "lang": lang,
                    "other": space.languages[second],
                    "degrees": float(view.angles[first, second]),
                }


def _languages(space: Space) -> Iterator[Record]:
    record = space.record
    for lang in space.languages:
        yield {
            "lang": lang,
            "name": name(lang),
            "central": lang == space.central,
            "texts": record.texts.get(lang, 0),
            "held_out": record.held_out.get(lang, 0),
            "cut": record.cut.get(lang, 0),
            "empty": record.empty.get(lang, 0),
        }


def layer_table(views: Sequence[LayerView]) -> Table:
    """The same, as the page shows it."""
    return Table(
        head=[
            "layer",
            "variance between languages",
            "separability",
            "in the specific subspace alone",
            "first two axes hold",
            "largest singular value",
        ],
        rows=[
            [
                layer_name(view.layer),
                formatting.percent(view.between),
                _share(view, "full"),
                _share(view, "specific"),
                formatting.percent(known(view.explained[:2].sum())),
                f"{view.singular_values[0]:.3g}",
            ]
            for view in views
        ],
        caption="Singular values grow with the states: compare them within a layer.",
        numeric=frozenset(range(1, 6)),
    )


def _share(view: LayerView, kind: str) -> str:
    measured = view.separability
    one = getattr(measured, kind) if measured is not None else None
    return "\u2013" if one is None else formatting.with_interval(one, difference=False)
