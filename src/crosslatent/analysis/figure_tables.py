"""Every figure of a summary in tables: one declaration of the wide tables and of the long one.

A wide table has a row for each group of questions and columns for its figures; a report writes it
as CSV and LaTeX. The long table has a row for each figure (`LONG_COLUMNS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crosslatent.analysis.bounds import bound_versus, controls, upper_bound
from crosslatent.analysis.data import RunData, control_name
from crosslatent.analysis.declared_tables import TABLES, FigureTable
from crosslatent.analysis.items import ALL
from crosslatent.runs.contents import readable
from crosslatent.runs.reader import RunReader
from crosslatent.stats import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from crosslatent.analysis import Summary

Cell = str | int | float | bool | None
Record = dict[str, Cell]

LONG_COLUMNS = (
    "task", "table", "quantity", "component", "control", "split", "lang", "pair", "group",
    "value", "low", "high", "n", "clusters", "seed", "p", "p_adjusted",
)  # fmt: skip

_PARTS = ("low", "high", "n", "clusters", "seed")
_COUNTS = ("n", "clusters", "seed")
_P_VALUES = {"p": "p", "p_value": "p", "p_holm": "p_adjusted", "holm": "p_adjusted"}
_TESTED = ("difference", "gain", "spearman")
"""Figures that p-values are of: the first one that a record has."""

_GROUPS = (
    "pooling", "in_sample", "stratum", "value", "metric", "rule", "k", "trait", "figure", "spelled",
    "measure", "type", "part", "run", "other_run", "tune", "test", "other", "outcome", "among",
    "id", "without_shared_facts",
)  # fmt: skip
"""Columns that tell figures apart and have no column of their own in the long table."""

_ANSWERED_BY = ("control", "answered_by", "selector", "condition")
"""Columns that say what gave the answers."""

_NOTES = ("source", "target", "layer", "tests", "permutations", "resamples", "cells", "p_bh",
    "languages", "first_source", "first_target", "second_source", "second_target",
)  # fmt: skip
"""Numbers that are no figures."""

_GIVEN_BY = {
    "vanilla": "vanilla",
    "vanilla_share": "vanilla",
    "vanilla_unparseable": "vanilla",
    "vanilla_identified": "vanilla",
    "true": "none",
    "best_accuracy": "none",
    "shuffled_gain": "shuffled",
}
"""Figures whose answers another control gave than the one that their record is of."""


def flat(name: str, estimate: Any) -> Record:
    """An estimate as columns: value, interval, n, clusters, seed; empty ones if it is missing."""
    if estimate is None:
        return {
            name: None,
            **{f"{name}_{part}": None if part in _PARTS[:2] else 0 for part in _PARTS},
        }
    return {
        name: estimate.value,
        **{f"{name}_{part}": getattr(estimate, part, None) for part in _PARTS},
    }


class _Step(NamedTuple):
    """What a source goes through: a value, its field, and its key in a mapping or list."""

    value: Any
    field: str = ""
    key: Any = None


Scope = tuple[_Step, ...]
"""From the summary inwards to what a row is of."""


class _GridCell(NamedTuple):
    source: int
    target: int
    accuracy: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    changed: float


class _Alone(NamedTuple):
    """A union that is compared with nothing."""

    control: Any


def records(table: FigureTable, root: Any, *, long: bool = False) -> Iterator[Record]:
    """The rows of a table.

    Args:
        table: its declaration.
        root: the summary of a run or of all, or what selectors say of it, see `FigureTable.of`.
        long: with the columns of the long table alone, and without those of missing estimates.
    """
    columns = f"{table.columns} {table.more}" if long else table.columns
    for scope in _scopes((_Step(root),), (table.source or table.name).split(" > ")):
        record: Record = {}
        for column in columns.split():
            record.update(_cells(scope, column, long))
        yield record


def _scopes(scope: Scope, source: Sequence[str]) -> Iterator[Scope]:
    if not source:
        yield scope
        return
    for field in source[0].split("|"):
        value = _value(scope, field)
        inner: Any = [(None, value)] if value is not None else []
        if isinstance(value, Mapping):
            inner = value.items()
        elif isinstance(value, list):
            inner = enumerate(value)
        for key, one in inner:
            yield from _scopes((*scope, _Step(one, field, key)), source[1:])


def _value(scope: Scope, path: str) -> Any:
    """A field of the innermost step that has it; of a path, a field of that; None without it."""
    if path.startswith("@"):
        return _COMPUTED[path[1:]](scope)
    first, *rest = path.split(".")
    steps = (step.value for step in reversed(scope) if hasattr(step.value, first))
    value = getattr(next(steps, None), first, None)
    for part in rest:
        if value is not None:
            value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


def _cells(scope: Scope, column: str, long: bool) -> Record:
    kind = column[-1] if column[-1] in "*~^!" else ""
    name, _, path = column.rstrip("*~^!").partition("=")
    value = _value(scope, path or name)
    if kind == "!":
        return {
            "p": value.p_value,
            "p_holm": value.holm,
            "p_bh": value.benjamini_hochberg,
            "family": value.family,
            "tests": value.tests,
        }
    if not kind:
        return {name: _plain(value)}
    if long:
        return {} if value is None else flat(name, value)
    if kind == "~":
        return {name: None if value is None else value.value}
    if kind == "^":
        return {name: value.value, f"{name}_from": value.low, f"{name}_to": value.high}
    return flat(name, value)


def _plain(value: Any) -> Cell:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    cell: Cell = value
    return cell


def _pair(pair: Sequence[Any]) -> str:
    """``3-7``, also of a pair behind its component."""
    return f"{pair[-2]}-{pair[-1]}"


def _control(scope: Scope) -> str:
    one = next(step.value for step in reversed(scope) if hasattr(step.value, "stratum"))
    return control_name(one.control, one.stratum)


def _side(scope: Scope) -> str | None:
    side = scope[-1].field.removeprefix("by_")
    return side if side in ("source", "target") else None


def _grid_cells(scope: Scope) -> list[_GridCell]:
    grid = scope[-1].value
    names = _GridCell._fields[2:]
    return [
        _GridCell(s, t, *(getattr(grid, name)[s][t] for name in names))
        for s, line in enumerate(grid.changed)
        for t, changed in enumerate(line)
        if changed is not None
    ]


def _pick_again(scope: Scope) -> list[Any]:
    """How steady the pick of the same component is; None if nothing was picked."""
    component, run = scope[-1].value.component, scope[0].value
    found = [one for one in run.pick_stability if one.component == component]
    return [found[-1] if found else None]


def _pair_of_test(scope: Scope) -> str | None:
    choices, lang = _value(scope, "choices"), _value(scope, "lang")
    choice = choices.get(ALL) or choices.get(lang)
    return None if choice is None else _pair(choice.pair)


def _pair_or_all(scope: Scope) -> str:
    pair = scope[-1].value.pair
    return "all" if pair is None else _pair(pair)


_COMPUTED: Mapping[str, Callable[[Scope], Any]] = {
    "itself": lambda scope: scope[-1].value,
    "lang": lambda scope: scope[-1].key if isinstance(scope[-1].key, str) else ALL,
    "layer": lambda scope: scope[-1].key if _side(scope) else None,
    "side": _side,
    "control": _control,
    "cells": _grid_cells,
    "alone": lambda scope: [] if scope[-1].value.versus else [_Alone(scope[-1].value.share)],
    "pairs": lambda scope: {
        lang: _pair(choice.pair) for lang, choice in _value(scope, "choices").items()
    },
    "pair_of_test": _pair_of_test,
    "pair_or_all": _pair_or_all,
    "pair_picked": lambda scope: scope[-1].value and _pair(scope[-1].value.pair),
    "pair_preset": lambda scope: scope[-1].value.pair and _pair(scope[-1].value.pair),
    "pair_declared": lambda scope: _pair((_value(scope, "source"), _value(scope, "target"))),
    "pick": _pick_again,
    "judges": lambda scope: scope[-1].value.rule == scope[0].value.rule,
    "strongest": lambda scope: scope[-1].value == scope[-2].value.strongest,
    "declared": lambda scope: scope[-1].field == "overall" and scope[-2].value.declared,
    "without_shared": lambda scope: scope[-1].field == "shared.without",
    "effective": lambda scope: _value(scope, f"effective_{_side(scope)}s"),
    "share": lambda scope: _value(scope, f"{_side(scope)}_share"),
    "spelled": lambda scope: "same" if scope[-1].field == "same" else "different",
    "same_pick": lambda scope: (
        scope[-1].value.picked and scope[-1].value.picked[0] == scope[-1].value.picked[1]
    ),
    "alike": lambda scope: " ".join(getattr(scope[-1].value, "alike", ())),
}
"""Sources and columns that are no fields, by their name behind the ``@``."""


def wide_tables(summary: Summary, choosing: Sequence[Any]) -> dict[str, list[Record]]:
    """The rows of every table of a report, by its name; without those that have none.

    Args:
        summary: of some runs.
        choosing: what selectors and attribution say of each (`selectors.Choosing`).
    """
    found: dict[str, list[Record]] = {}
    for of in ("choosing", "run", "summary"):
        tables = [table for table in TABLES if table.of == of and table.in_report]
        for head, root in _roots(of, summary, choosing):
            for table in tables:
                rows = [{**head, **record} for record in records(table, root)]
                found.setdefault(table.name, []).extend(rows)
    return {name: rows for name, rows in found.items() if rows}


def long_table(summary: Summary, choosing: Sequence[Any] = ()) -> pd.DataFrame:
    """Every figure in a row of its own, with the columns `LONG_COLUMNS`; see `wide_tables`."""
    import pandas as pd

    rows = [
        row
        for table in TABLES
        for head, root in _roots(table.of, summary, choosing, with_run=True)
        for record in records(table, root, long=True)
        for row in _melted(table, {**head, **record})
    ]
    frame = pd.DataFrame.from_records(rows, columns=list(LONG_COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high", "p", "p_adjusted"), "float64")
    return frame.astype({**numbers, **dict.fromkeys(_COUNTS, "Int64")})


def _roots(
    of: str, summary: Summary, choosing: Sequence[Any], *, with_run: bool = False
) -> Iterator[tuple[Record, Any]]:
    """What rows come from, with the columns that all of them begin with, see `FigureTable.of`.

    Where `with_run`, with the run's name if another run is of the same task.
    """
    if of == "summary":
        yield {}, summary
        return
    tasks = Counter(run.task for run in summary.runs)
    roots: Sequence[Any] = summary.runs if of == "run" else choosing
    for run, root in zip(summary.runs, roots, strict=bool(roots)):
        named = {"run": run.name} if with_run and tasks[run.task] > 1 else {}
        yield {"task": run.task, **named}, root


def _melted(table: FigureTable, record: Record) -> Iterator[Record]:
    """A row for each figure of a record of the long table."""
    names = [record[name] for name in _ANSWERED_BY if record.get(name)]
    control = names[0] if names else table.given_by or None
    groups = [f"{name}={record[name]}" for name in _GROUPS if record.get(name) not in (None, "")]
    p_values = {_P_VALUES[name]: record[name] for name in record.keys() & _P_VALUES.keys()}
    tested = next((name for name in _TESTED if name in record), None)
    for name in filter(lambda name: _is_figure(record, name), record):
        given_by = _GIVEN_BY.get(name, control)
        beside = [f"beside={control}"] if names and given_by != control else []
        yield {
            "task": record.get("task"),
            "table": table.name,
            "quantity": name,
            **{key: record.get(key) for key in ("component", "split", "lang")},
            "control": given_by,
            "pair": _place(record),
            "group": "; ".join([*groups, *beside]) or None,
            "value": record[name],
            **{part: record.get(f"{name}_{part}") for part in _PARTS[:2]},
            **{part: record.get(f"{name}_{part}", record.get(part)) for part in _COUNTS},
            **(p_values if name == tested else {}),
        }


def _is_figure(record: Record, name: str) -> bool:
    if name in (*_GROUPS, *_NOTES, *_COUNTS, *_P_VALUES):
        return False
    base, _, part = name.rpartition("_")
    if part in _PARTS and base in record:
        return False
    value = record[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number or f"{name}_n" in record


def _place(record: Record) -> Cell:
    """The pair of a record, with ``*`` for all layers."""
    if record.get("side"):
        layer = record["layer"]
        return f"{layer}-*" if record["side"] == "source" else f"*-{layer}"
    if "source" in record:
        return f"{record['source']}-{record['target']}"
    return "*-*" if record.get("pair") == "all" else record.get("pair")


@readable()
def upper_bounds(reader: RunReader, *, seed: int = 0) -> pd.DataFrame:
    """Upper bounds of a run, true transplants and controls, one row each.

    Columns: `component`; `control` ("none" for true transplants) and `stratum`; `value` with its
    interval `low` to `high`; `minus_control` with `minus_low` to `minus_high`, true minus control
    on the same questions and attempts; `n` questions in `clusters`; `attempts` per question.

    Args:
        reader: the run folder.
        seed: of the intervals.
    """
    import pandas as pd

    data = RunData(reader, seed)
    rows: list[Record] = []
    for component in data.components:
        bound = upper_bound(data, component)
        if bound is not None:
            rows.append(_bound(component, "none", None, bound.overall, bound.attempts))
        found = [bound_versus(data, arm) for arm in controls(data, component)]
        for one in (versus for versus in found if versus is not None):
            minus = one.overall.difference
            row = _bound(component, one.control, one.stratum, one.overall.control, one.attempts)
            row |= {"minus_control": minus.value, "minus_low": minus.low, "minus_high": minus.high}
            rows.append(row)
    return pd.DataFrame(rows)


def _bound(
    component: str, control: str, stratum: str | None, of: Estimate, attempts: tuple[int, int]
) -> Record:
    return {
        "component": component,
        "control": control,
        "stratum": stratum,
        **{part: getattr(of, part) for part in ("value", "low", "high", "n", "clusters")},
        "attempts": attempts[1],
    }
