"""The questions of a run, and its texts as tables in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crosslatent.core.normal import answer_keys, fold, one_cluster_each, repeat_notes
from crosslatent.stats import Floats

if TYPE_CHECKING:
    import duckdb

    from crosslatent.runs.reader import RunReader

ALL = "all"
"""Of a split or language: not divided."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Items:
    """The questions that have rows, in the order of their ids; arrays have length n.

    Attributes:
        lang: the language that tells the questions apart (see `language_column`).
        vanilla, translate_test: right (1), wrong (0) or unknown (NaN).
        unparseable: the unmodified output names no option (NaN for open answers).
    """

    ids: list[str]
    lang: NDArray[np.str_]
    cluster: NDArray[np.str_]
    split: NDArray[np.str_]
    answer: list[str | None]
    has_options: Mask
    strata: list[Mapping[str, str]]
    vanilla: Floats
    unparseable: Floats
    translate_test: Floats

    @property
    def languages(self) -> list[str]:
        """Languages, sorted."""
        return sorted(set(self.lang.tolist()))

    @property
    def splits(self) -> list[str]:
        """Named splits, pilot first, then unseen, final and any others."""
        order = {"pilot": 0, "unseen": 1, "final": 2}
        names = set(self.split.tolist()) - {""}
        return sorted(names, key=lambda name: (order.get(name, 3), name))

    def clusters_of(self, mask: Mask) -> Sequence[str]:
        """Clusters of the questions in `mask`."""
        names: list[str] = self.cluster[mask].tolist()
        return names

    def in_group(self, split: str | None = None, lang: str | None = None) -> Mask:
        """Which questions belong to a split (None = any) and language (None or `ALL` = any)."""
        mask: Mask = np.ones(len(self.ids), dtype=np.bool_)
        if split is not None:
            mask &= self.split == split
        if lang not in (None, ALL):
            mask &= self.lang == lang
        return mask


class _Question(NamedTuple):
    """A row of `items`, as `repeats` looks at it."""

    item: str
    lang: str
    aux_lang: str
    main: str
    aux: str
    cluster: str
    split: str | None


def join_repeats(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Give equal questions one cluster in a folder whose sweep did not; what is to say of them."""
    rows = con.execute(f"SELECT {', '.join(_Question._fields)} FROM items ORDER BY item").fetchall()
    asked = [_Question(*row) for row in rows]
    found = one_cluster_each(asked, [one.cluster != one.item for one in asked])
    joined = {one.item: name for one, name in zip(asked, found, strict=True) if one.cluster != name}
    if joined:
        con.execute("CREATE TEMP TABLE joined (item VARCHAR, joined VARCHAR)")
        con.executemany("INSERT INTO joined VALUES (?, ?)", list(joined.items()))
        con.execute(
            "CREATE TEMP VIEW items AS "
            "SELECT i.* REPLACE (coalesce(j.joined, i.cluster) AS cluster) "
            "FROM memory.main.items i LEFT JOIN joined j USING (item)"
        )
    return repeat_notes(one._replace(cluster=name) for one, name in zip(asked, found, strict=True))


def load_items(con: duckdb.DuckDBPyConnection, language: str) -> Items:
    """The questions of a folder; `language` is their `language_column`."""
    rows = con.execute(
        f"""
        SELECT i.item, i.{language}, i.cluster, coalesce(i.split, ''), i.answer,
               i.options IS NOT NULL, i.strata, v.correct,
               CASE WHEN i.options IS NOT NULL AND v.item IS NOT NULL
                    THEN v.prediction IS NULL END,
               t.correct
        FROM items i JOIN places p USING (item)
        LEFT JOIN plain v ON v.item = i.item AND v.control = 'vanilla'
        LEFT JOIN plain t ON t.item = i.item AND t.control = 'translate_test'
        ORDER BY p.place
        """
    ).fetchall()
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) or [()] * 10
    return Items(
        ids=list(columns[0]),
        lang=np.array(columns[1], dtype=np.str_),
        cluster=np.array(columns[2], dtype=np.str_),
        split=np.array(columns[3], dtype=np.str_),
        answer=list(columns[4]),
        has_options=np.array(columns[5], dtype=np.bool_),
        strata=[strata or {} for strata in columns[6]],
        vanilla=_floats(columns[7]),
        unparseable=_floats(columns[8]),
        translate_test=_floats(columns[9]),
    )


def _floats(values: Sequence[bool | None]) -> Floats:
    return np.array([np.nan if value is None else float(value) for value in values])


def groups(items: Items) -> Iterator[tuple[str, str, Mask]]:
    """(split, language, mask) of every group that figures are given for, whole run first."""
    for split in (ALL, *items.splits):
        for lang in (ALL, *items.languages):
            mask = items.in_group(None if split == ALL else split, lang)
            if mask.any():
                yield split, lang, mask


def language_column(
    reader: RunReader, connection: duckdb.DuckDBPyConnection
) -> Literal["lang", "aux_lang"]:
    """The column of the items table that tells the languages of a run apart.

    It is the language of main, but of aux for culture tasks: those are asked in English, and the
    local language is aux's (docs/methods.md 1).
    """
    if reader.manifest.get("task", {}).get("direction") == "x->en":
        return "aux_lang"
    counts = connection.execute("SELECT count(DISTINCT lang), count(DISTINCT aux_lang) FROM items")
    mains, auxes = counts.fetchone() or (0, 0)
    return "aux_lang" if mains == 1 and auxes > 1 else "lang"


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
