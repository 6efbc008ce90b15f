"""Validation of a run folder before anything is computed from it: run.json, columns, values.

A folder may come from anybody, so nothing that is read can be relied on before it went through
here. What does not fit is a `RunFolderError`, never an exception somewhere in the analysis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import COMPONENTS, UNITS
from crosslatent.core.untrusted import one_line, short
from crosslatent.runs.schema import LATER

MOST_LAYERS = 1000
"""Blocks that a model may have: arrays over pairs of layers are made of this size."""

ADDED = ("other_answers", "other_aux_answers")
"""Columns of lists of texts that earlier runs lack; views of them have nothing there."""

OPTIONAL = frozenset(
    {
        *ADDED,
        "first_logprob",
        "first_entropy",
        "first_margin",
        "option_scores",
        "option_means",
        "gold_score",
        *LATER,
    }
)
"""Columns that some runs lack; code that reads a run must do without them."""

_AGAIN = "run its sweep again, or give another folder"


class _Part(BaseModel):
    """Fields that are read somewhere; any others may stand beside them."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class _Model(_Part):
    name: str | None = None
    dtype: str = "float32"
    n_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] | None = None
    config_hash: str | None = None
    weights_hash: str | None = None
    tokenizer_hash: str | None = None


class _Task(_Part):
    name: str | None = None
    title: str | None = None
    direction: str | None = None
    type: str | None = None
    rule: str | None = None
    metric: str | None = None
    hash: str | None = None
    repeats: list[str] | None = None


class _OtherControl(_Part):
    knows_answer: bool = False
    every_pair: bool = True


class _Condition(_Part):
    id: str
    name: str
    about: str = ""
    interventions: list[dict[str, Any]] = []
    condition: str | None = None
    variant: str | None = None


class _Spec(_Part):
    conditions: list[_Condition] = []
    components: list[str] = []
    other_controls: dict[str, _OtherControl] = {}
    seed: int | None = None
    positions: Annotated[int, Field(ge=1)] = 1
    strength: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    max_new_tokens: int | None = None
    score_options: bool | None = None
    chat: bool | None = None
    chat_args: dict[str, Any] = {}


class _Inputs(_Part):
    prompts: str | None = None
    ends: list[int] = []
    modules: dict[str, str] = {}
    clock: str | None = None


class _Headline(_Part):
    component: str = ""
    tune: str = ""
    test: str = ""
    task: str | None = None
    least_gain: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    controls: list[str] = []


class _Manifest(_Part):
    schema_version: int
    created: str | None = None
    versions: dict[str, str | None] | None = None
    model: _Model = _Model()
    task: _Task = _Task()
    spec: _Spec = _Spec()
    planned: int | None = None
    inputs: _Inputs | None = None
    headline: _Headline | None = None
    status: dict[str, Any] | None = None
    requested: dict[str, Any] | None = None


def check_manifest(manifest: Mapping[str, Any], path: object) -> None:
    """Refuse a run.json whose fields are of other kinds than those that a sweep writes.

    Raises:
        RunFolderError: a field is; the message names the first one.
    """
    try:
        _Manifest.model_validate(dict(manifest))
    except ValidationError as error:
        raise RunFolderError(
            f"The run in {str(path)!r} has a run.json that no sweep wrote ({one_line(error)}): "
            f"{_AGAIN}."
        ) from error


def check_columns(
    connection: duckdb.DuckDBPyConnection, source: str, wanted: pa.Schema, path: object
) -> None:
    """Refuse a table that lacks columns, or has them in other types.

    Args:
        connection: which can read it.
        source: the table, as SQL names it.
        wanted: its columns; numbers may have any width.
        path: the run folder, for the message.

    Raises:
        RunFolderError: it does; the message names the first column. Or it cannot be read.
    """
    with readable(path):
        rows = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    found = {name: kind for name, kind, *_ in rows}
    for column in wanted:
        kind = found.get(column.name)
        if kind is None and column.name in OPTIONAL:
            continue
        if kind is None or not re.fullmatch(_in_sql(column.type), kind):
            raise RunFolderError(
                f"The run in {str(path)!r} has a table that no sweep wrote (the column "
                f"{column.name!r} is {short(kind or 'missing')}, but {column.type} belongs there): "
                f"{_AGAIN}."
            )


def _in_sql(kind: pa.DataType) -> str:
    """A pattern of what DuckDB calls a type."""
    if pa.types.is_dictionary(kind):
        return _in_sql(kind.value_type)
    if pa.types.is_list(kind):
        return rf"(?:{_in_sql(kind.value_type)})\[\]"
    if pa.types.is_struct(kind):
        fields = [f'"?{one.name}"? (?:{_in_sql(one.type)})' for one in kind]
        return rf"STRUCT\({', '.join(fields)}\)"
    if pa.types.is_integer(kind):
        return r"U?(?:TINYINT|SMALLINT|INTEGER|BIGINT)"
    known = {pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.float32(): "FLOAT|DOUBLE"}
    return known[kind]


def check_values(
    connection: duckdb.DuckDBPyConnection,
    schemas: Mapping[str, pa.Schema],
    n_layers: int | None,
    path: object,
) -> None:
    """Refuse values that no sweep writes: nulls, layers that the model does not have, double items.

    Args:
        connection: with the views ``rows`` and ``items``.
        schemas: of the views, by name.
        n_layers: blocks of the model; None = not known.
        path: the run folder, for the message.

    Raises:
        RunFolderError: there are such values, or a table cannot be read.
    """
    last = (n_layers or MOST_LAYERS) - 1
    known = ", ".join(f"'{name}'" for name in (*COMPONENTS, *UNITS))
    wrong = {
        "rows": {
            f"a layer is none of 0 to {last}": f"NOT source BETWEEN 0 AND {last} "
            f"OR NOT target BETWEEN 0 AND {last}",
            "a component is none that there is": f"component NOT IN ({known})",
            "a row has a component, a source or a target, but not all of them": "NOT ("
            "(component IS NULL) = (source IS NULL) AND (source IS NULL) = (target IS NULL))",
            "a share of time is no number of seconds": "NOT seconds BETWEEN 0 AND 1e9",
        },
        "items": {"a number of tokens is negative": "main_length < 0 OR aux_length < 0"},
    }
    with readable(path):
        for table, schema in schemas.items():
            empty = [f"{column.name} IS NULL" for column in schema if not column.nullable]
            checks = {"a value is missing": " OR ".join(empty)} | wrong.get(table, {})
            _refuse(connection, table, checks, path)
        doubled = "SELECT count(*) - count(DISTINCT item) FROM items"
        if _number(connection, doubled):
            raise RunFolderError(
                f"The items of the run in {str(path)!r} are none that a sweep wrote (an item "
                f"occurs twice): {_AGAIN}."
            )


def refuse_all(connection: duckdb.DuckDBPyConnection, path: object) -> None:
    """Refuse a language called 'all', where results use that name for all of them together.

    Raises:
        RunFolderError: there is one, or the table cannot be read.
    """
    what = "a language is called 'all', which results use for all languages together"
    with readable(path):
        _refuse(connection, "items", {what: "'all' IN (lang, aux_lang)"}, path)


def _refuse(
    connection: duckdb.DuckDBPyConnection, table: str, wrong: Mapping[str, str], path: object
) -> None:
    """One pass over a table for all that can be wrong in it."""
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in wrong.values())
    row: Sequence[int]
    (row,) = connection.execute(f"SELECT {counts} FROM {table}").fetchall()
    for what, count in zip(wrong, row, strict=True):
        if count:
            raise RunFolderError(
                f"The {table} of the run in {str(path)!r} are none that a sweep wrote ({what}, in "
                f"{count:,} of them): {_AGAIN}."
            )


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    # All of it: a result that is not finished keeps the connection from other work.
    ((number,),) = connection.execute(query).fetchall()
    return int(number)


@contextmanager
def readable(path: object = None) -> Iterator[None]:
    """Around queries, or functions that make some: what DuckDB cannot read becomes a sentence.

    Args:
        path: the run folder, if there is only one.

    Raises:
        RunFolderError: a table is damaged, or holds something that no sweep writes.
    """
    try:
        yield
    except duckdb.Error as error:
        where = "a run" if path is None else f"the run in {str(path)!r}"
        raise RunFolderError(
            f"A table of {where} cannot be read ({one_line(error)}): {_AGAIN}."
        ) from error
