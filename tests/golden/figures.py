"""Every number of a report or an evaluation by what it is of, whatever the shape of its file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

IDENTITY = (
    "task", "run", "name", "condition", "component", "control", "stratum", "pooling", "metric",
    "rule", "answered_by", "split", "lang", "role", "pair", "pairs", "side", "layer", "source",
    "target", "selector", "strategy", "method", "value_of", "value", "feature", "relation", "by",
    "label", "kind", "quantity",
)  # fmt: skip
"""Fields that say what a record is of, and are not measured."""

UNSTABLE = ("seconds", "rows_per_second", "created", "versions", "peak_bytes")
"""What differs between two runs of the same arguments."""

Figures = dict[str, float | None]


def of_report(folder: Path) -> Figures:
    """All numbers of a report's summary.json and tables."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    figures = dict(_walk(summary, "summary"))
    for file in sorted((folder / "tables").glob("*.csv")):
        if file.name == "estimates.csv":  # the same figures again: tests/analysis/test_estimates.py
            continue
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])
        records = table.astype(object).where(table.notna(), None).to_dict("records")
        figures.update(_walk(records, file.stem))
    return figures


def of_evaluation(file: Path) -> Figures:
    """All numbers of an evaluation of conditions."""
    return dict(_walk(json.loads(file.read_text(encoding="utf-8")), "evaluation"))


def differences(golden: Figures, found: Figures, *, relative: float = 1e-7) -> list[str]:
    """What is missing, new or another value, a line each."""
    lines = [f"missing: {key}" for key in golden.keys() - found.keys()]
    lines += [f"new: {key}" for key in found.keys() - golden.keys()]
    for key in golden.keys() & found.keys():
        old, new = golden[key], found[key]
        if old is None or new is None:
            same = old is new
        else:
            same = math.isclose(old, new, rel_tol=relative, abs_tol=1e-12)
        if not same:
            lines.append(f"{key}: {old} -> {new}")
    return sorted(lines)


def save(figures: Figures, file: Path) -> None:
    """Write figures as a table of key and value."""
    frame = pd.DataFrame({"key": list(figures), "value": list(figures.values())})
    frame.astype({"value": "float64"}).sort_values("key").to_parquet(
        file, compression="zstd", index=False
    )


def read(file: Path) -> Figures:
    """The figures of a file that `save` wrote."""
    frame = pd.read_parquet(file)
    values = [None if math.isnan(value) else value for value in frame["value"]]
    return dict(zip(frame["key"], values, strict=True))


def _walk(value: Any, path: str) -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name not in UNSTABLE:
                yield from _walk(part, f"{path}/{name}")
    elif isinstance(value, list):
        for label, part in zip(_labels(value), value, strict=True):
            yield from _walk(part, f"{path}[{label}]")
    elif value is None or isinstance(value, int | float):
        number = None if value is None or math.isnan(value) else float(value)
        yield path, number


def _labels(values: list[Any]) -> list[str]:
    """What tells the entries of a list apart: what they are of, or else their place."""
    if values and all(isinstance(value, dict) for value in values):
        labels = [
            ",".join(f"{name}={value[name]}" for name in IDENTITY if _names(value.get(name)))
            for value in values
        ]
        if len(set(labels)) == len(labels):
            return labels
    return [str(place) for place in range(len(values))]


def _names(value: Any) -> bool:
    """Whether a value may name something: a text, or a whole number such as a layer's."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
