"""Run folders written straight in the schema: by hand for tests, or a realistic one to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.runs.parts import PartTable
from crosslatent.runs.schema import FAILURES, ITEMS, PART_TABLES, ROWS, SCHEMA_VERSION, table_of

Record = dict[str, Any]


def item(name: str, **changes: Any) -> Record:
    """One question of the items table: two options, right answer "(1)", split "pilot"."""
    return {
        "item": name,
        "lang": "sw",
        "aux_lang": "en",
        "main": f"Swali {name}:",
        "aux": f"Question {name}:",
        "answer": "(1)",
        "options": ["(1)", "(2)"],
        "labels": ["ndiyo", "la"],
        "aux_answer": None,
        "aux_labels": None,
        "shares": None,
        "shots": [],
        "cluster": name,
        "split": "pilot",
        "strata": {},
        "main_token": ":",
        "aux_token": ":",
        "main_length": 5,
        "aux_length": 4,
    } | changes


def row(name: str, control: str = "none", correct: bool | None = True, **changes: Any) -> Record:
    """One row of question `name`; by default a true ffn transplant of pair 0->0."""
    plain = control in ("vanilla", "translate_test")
    prediction = "(1)" if correct else "(2)"
    record = {
        "item": name,
        "lang": "sw",
        "component": None if plain else "ffn",
        "source": None if plain else 0,
        "target": None if plain else 0,
        "control": control,
        "stratum": None,
        "donor": None,
        "prediction": prediction,
        "output_ids": [7, 8],
        "output_lang": None,
        "correct": correct,
        "correct_by_rule": {} if correct is None else {"option": correct},
        "scores": {},
        "option_logprobs": None,
        "gold_logprob": -0.5 if correct else -2.0,
        "min_margin": 1.0,
        "finite": True,
        "path": "oracle",
        "seconds": 0.01,
    } | changes
    return {"output": record["prediction"] or "?"} | record


def write_run(
    path: Path,
    items: Iterable[Record],
    rows: Iterable[Record],
    *,
    n_layers: int = 2,
    failures: Iterable[Record] = (),
    **manifest: Any,
) -> Path:
    """Write a run folder and return its path; `manifest` replaces entries of run.json."""
    (path / "rows").mkdir(parents=True)
    _write(path / "items.parquet", items, ITEMS)
    _write(path / "rows" / "part-00001-000000.parquet", rows, ROWS)
    if failures := list(failures):
        _write(path / "failures.parquet", [{"kind": "prompt"} | one for one in failures], FAILURES)
    content: Mapping[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {"crosslatent": "0.1.0"},
        "model": {"name": "tiny", "n_layers": n_layers},
        "task": {"name": "facts", "title": "Facts", "direction": "en->x", "rule": "option"},
        "spec": {"seed": 0},
    } | manifest
    (path / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def write_extra(path: Path, name: str, rows: Any) -> None:
    """Add rows, or a table, to a run folder as its "attribution" or "samples"."""
    PartTable(path / name, PART_TABLES[name]).write("part-00001-000000", rows)


def _write(path: Path, records: Iterable[Record], schema: pa.Schema) -> None:
    pq.write_table(table_of(list(records), schema), path)
