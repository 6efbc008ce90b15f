"""Answers of a run as tables in DuckDB, in the form that is the same for the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from crosslatent.core.normal import answer_keys, fold

if TYPE_CHECKING:
    import duckdb


def gives_answer(output: str, donor: str) -> str:
    """In SQL, whether an output gives a gold answer of a donor; null if it has none.

    With options the prediction says which one was named; open answers are searched for the text.

    Args:
        output: name of the table with `output` and `prediction`; ``t`` is its row of `keep_folded`,
            ``i`` that of the items.
        donor: name of the donor's row in ``golds``.
    """
    return f"""CASE WHEN {donor}.golds IS NULL THEN NULL WHEN i.options IS NULL THEN
        (SELECT bool_or(contains(t.folded, one.gold))
         FROM (SELECT unnest({donor}.golds) AS gold) one)
        ELSE coalesce(list_contains({donor}.golds, {output}.prediction), false) END"""


def keep_golds(con: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``golds``: item and list of its gold answers; null if none is known.

    Those of open questions as `answer_keys` gives them; an option is spelled as it is.
    """
    rows = con.execute(
        "SELECT item, answer, other_answers, options IS NOT NULL FROM items"
    ).fetchall()
    golds = [
        None
        if answer is None
        else [answer]
        if fixed
        else list(answer_keys([answer, *filter(None, more or ())]))
        for _, answer, more, fixed in rows
    ]
    _keep(con, "golds", {"item": [row[0] for row in rows]}, {"golds": golds})


def keep_folded(con: duckdb.DuckDBPyConnection, name: str, source: str) -> None:
    """Make a table of the outputs of open questions: ``output`` and what it is when ``folded``.

    Args:
        con: connection with the view ``items``.
        name: of the table.
        source: a table with the columns ``item`` and ``output``.
    """
    rows = con.execute(
        f"SELECT DISTINCT r.output FROM {source} r JOIN items i USING (item) "
        "WHERE i.options IS NULL AND r.output IS NOT NULL"
    ).fetchall()
    outputs = [row[0] for row in rows]
    _keep(con, name, {"output": outputs, "folded": list(map(fold, outputs))}, {})


def _keep(
    con: duckdb.DuckDBPyConnection,
    name: str,
    texts: dict[str, list[str]],
    lists: dict[str, list[list[str] | None]],
) -> None:
    columns = {
        **{column: pa.array(values, pa.string()) for column, values in texts.items()},
        **{column: pa.array(values, pa.list_(pa.string())) for column, values in lists.items()},
    }
    con.register(f"{name}_given", pa.table(columns))
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {name}_given")
    con.unregister(f"{name}_given")
