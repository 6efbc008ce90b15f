"""The long table of figures: nothing of the summary is missing from it, and nothing differs."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import crosslatent as xl
from crosslatent.analysis import Summary, estimates, summarise
from crosslatent.analysis.data import RunData
from crosslatent.analysis.figure_tables import LONG_COLUMNS, long_table
from crosslatent.runs import RunReader
from crosslatent.selectors import Choosing, summarise_choosing
from crosslatent.stats import Estimate
from golden.cases import DATA

RUN = DATA / "runs" / "gemma"
KEYS = list(LONG_COLUMNS[: LONG_COLUMNS.index("value")])


@pytest.fixture(scope="module")
def made() -> tuple[Summary, Choosing, pd.DataFrame]:
    summary = summarise([RUN])
    choosing = summarise_choosing(RunData(RunReader(RUN)))
    return summary, choosing, long_table(summary, [choosing])


def parts_of(value: Any) -> Iterator[Any]:
    """Everything in plain frozen data, at any depth."""
    yield value
    inner: list[Any] = []
    if is_dataclass(value):
        inner = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    for part in inner:
        yield from parts_of(part)


def figure(*cells: Any) -> tuple[Any, ...]:
    return tuple(None if cell is None or pd.isna(cell) else cell for cell in cells)


def test_no_estimate_of_the_summary_is_missing(made):
    summary, choosing, table = made
    there = {
        figure(row.value, row.low, row.high, row.n, row.clusters, row.seed)
        for row in table.itertuples()
    }
    estimated = [one for one in parts_of((summary, choosing)) if isinstance(one, Estimate)]
    assert len(estimated) > 300
    for one in estimated:
        assert figure(one.value, one.low, one.high, one.n, one.clusters, one.seed) in there


def test_every_value_is_a_number_of_the_summary(made):
    summary, choosing, table = made
    numbers = {part for part in parts_of((summary, choosing)) if isinstance(part, int | float)}
    for column in ("value", "low", "high", "n", "clusters", "p", "p_adjusted"):
        assert set(table[column].dropna()) <= numbers, column


def test_values_are_those_of_what_their_keys_say(made):
    summary, choosing, table = made
    (run,) = summary.runs

    def cell(**keys: Any) -> Any:
        found = table.loc[(table[list(keys)] == pd.Series(keys)).all(axis=1)]
        (row,) = found.itertuples()
        return row

    for entry in run.accuracy:
        row = cell(
            table="accuracy",
            quantity="accuracy",
            control=entry.name,
            split=entry.split,
            lang=entry.lang,
        )
        assert figure(row.value, row.low, row.n) == figure(
            entry.accuracy.value, entry.accuracy.low, entry.accuracy.n
        )
    for grid in run.grids:
        where = {"component": grid.component, "split": grid.split, "lang": grid.lang}
        for name in ("accuracy", "gain", "changed"):
            row = cell(table="grid", quantity=name, pair="1-2", **where)
            assert row.value == getattr(grid, name)[1][2]
            assert (row.n, row.clusters, row.control) == (grid.n, grid.clusters, "none")
        row = cell(table="grid", quantity="gain", pair="1-2", **where)
        assert figure(row.low, row.high) == figure(grid.gain_low[1][2], grid.gain_high[1][2])
    for bound in run.bounds_versus:
        name = f"{bound.control}/{bound.stratum}" if bound.stratum else bound.control
        where = {"component": bound.component, "table": "bounds", "lang": "all"}
        assert cell(quantity="control_union", control=name, **where).value == (
            bound.overall.control.value
        )
        row = cell(quantity="true", control="none", group=f"beside={name}", **where)
        assert row.value == bound.overall.true.value
        row = cell(
            table="bounds_by_layer",
            quantity="difference",
            component=bound.component,
            control=name,
            pair="*-2",
        )
        assert figure(row.value) == figure(bound.by_target[2].difference.value)
    assert choosing.evaluation is not None
    for selector in choosing.evaluation.selectors:
        row = cell(table="selectors", quantity="gain", control=selector.name)
        assert (row.value, row.split) == (selector.gain.value, choosing.evaluation.test)
        row = cell(table="selectors", quantity="recovered", control=selector.name)
        assert pd.isna(row.p)
        if selector.versus_pilot is not None:
            row = cell(table="selectors", quantity="difference", control=selector.name)
            assert figure(row.p, row.p_adjusted) == (selector.p_value, selector.p_holm)


def test_keys_tell_all_rows_apart_and_undefined_is_missing(made):
    table = made[2]
    assert list(table.columns) == list(LONG_COLUMNS)
    assert not table.duplicated(KEYS).any()
    empty = table[table.n == 0]
    assert empty[["value", "low", "high"]].isna().all().all()


def test_of_a_folder_and_of_a_run(made):
    summary, _, _ = made
    of_folder = estimates(RUN)
    pd.testing.assert_frame_equal(of_folder, long_table(summary))
    pd.testing.assert_frame_equal(of_folder, xl.Run(RUN).estimates())
    assert not of_folder.table.isin(["selectors"]).any()


def test_keys_tell_runs_of_one_task_apart(tmp_path: Path):
    run = DATA / "runs" / "t5"
    copy = shutil.copytree(run, tmp_path / "again")
    manifest = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    changed = json.dumps(manifest | {"created": "2026-01-01T00:00:00+00:00"})
    (copy / "run.json").write_text(changed, encoding="utf-8")
    table = long_table(summarise([run, copy]))
    assert not table.duplicated(KEYS).any()
    several = Counter(table.group.str.contains("run=again").dropna())
    assert several[True] > 100
    agreement = table[table.table == "repeats"]
    assert set(agreement.quantity) >= {"spearman", "largest_difference"}
    assert all(
        math.isclose(value, 0, abs_tol=1e-12)
        for value in agreement.loc[agreement.quantity == "largest_difference", "value"]
    )
