"""The rows of a run folder as arrays: one entry per question, or per question and layer pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.select import language_column
from crosslatent.analysis.texts import gives_answer, keep_folded, keep_golds
from crosslatent.core.errors import RunFolderError
from crosslatent.core.normal import one_cluster_each, repeat_notes
from crosslatent.core.specs import STRATA, Component, check_component
from crosslatent.runs.contents import refuse_all
from crosslatent.stats import Floats

if TYPE_CHECKING:
    import duckdb

    from crosslatent.runs.reader import RunReader

Mask = NDArray[np.bool_]
Measure = Literal["correct", "changed", "unparseable", "follows", "gold_logprob"]

_MEASURES: Mapping[Measure, str] = {
    "correct": "r.correct",
    "changed": "r.output IS DISTINCT FROM v.output",
    "unparseable": "r.prediction IS NULL",
    "gold_logprob": "CASE WHEN isfinite(r.gold_logprob) THEN r.gold_logprob END",
    "follows": gives_answer("r", "d"),
}


_JOINS: Mapping[Measure, str] = {
    "changed": "LEFT JOIN plain v ON v.item = r.item AND v.control = 'vanilla'",
    "follows": "JOIN items i ON i.item = r.item LEFT JOIN golds d ON d.item = r.donor "
    "LEFT JOIN texts t ON t.output = r.output",
}
"""What a measure needs beside the rows."""

_OF_ARM = (
    "a.component = {0}.component AND a.control = {0}.control "
    "AND a.stratum IS NOT DISTINCT FROM {0}.stratum"
)


class Arm(NamedTuple):
    """A family of attempts over the layer pairs: true transplants or one control."""

    component: Component
    control: str
    stratum: str | None

    @property
    def is_true(self) -> bool:
        """True transplants, not a control."""
        return self.control == "none"


@dataclass(frozen=True, slots=True)
class Items:
    """The questions that have rows, in the order of their ids; arrays have length n.

    Attributes:
        lang: the language that tells the questions apart (see `analysis.select.language_column`).
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

    def one_language(self, mask: Mask) -> bool:
        """Whether all questions in `mask` are in the same language."""
        return len(np.unique(self.lang[mask])) == 1

    def in_group(self, split: str | None = None, lang: str | None = None) -> Mask:
        """Which questions belong to a split and language; None = any."""
        mask: Mask = np.ones(len(self.ids), dtype=np.bool_)
        if split is not None:
            mask &= self.split == split
        if lang is not None:
            mask &= self.lang == lang
        return mask


# What is asked again and again is kept: rows of a large run take a second to read through.
_KEPT = """
CREATE TEMP TABLE census AS
    SELECT item, component, control, stratum, count(*) AS n FROM rows GROUP BY ALL;
CREATE TEMP TABLE places AS
    SELECT item, (row_number() OVER (ORDER BY item) - 1)::INTEGER AS place
    FROM items WHERE item IN (SELECT item FROM census);
CREATE TEMP TABLE arms AS
    SELECT *, (row_number() OVER (
        ORDER BY component, control <> 'none', control DESC, stratum
    ) - 1)::INTEGER AS arm
    FROM (SELECT DISTINCT component, control, stratum FROM census WHERE component IS NOT NULL);
CREATE TEMP TABLE plain AS
    SELECT item, control, output, prediction, correct FROM rows
    WHERE control IN ('vanilla', 'translate_test');
"""


class RunData:
    """A run folder opened for analysis: one connection, cubes loaded once.

    Attributes:
        con: the views of `runs.reader`, and temporary tables: `census` (rows of each item and
            arm), `places` (the place of each item in `items`), `arms` (each arm's place in `arms`)
            `plain` (what the unmodified model said), `golds` (each item's gold answers) and, once
            `fold_outputs` was called, `texts` (what outputs of open questions are when folded).
        repeats: sentences on questions that are asked twice.
    """

    def __init__(self, reader: RunReader) -> None:
        self.reader = reader
        self.manifest: Mapping[str, Any] = reader.manifest
        self.con: duckdb.DuckDBPyConnection = reader.connect()
        refuse_all(self.con, reader.path)
        self.repeats: list[str] = self.manifest.get("task", {}).get("repeats")
        if self.repeats is None:
            self.repeats = _join_repeats(self.con)
        self.con.execute(_KEPT)
        keep_golds(self.con)
        self._folded = False
        self._cubes: dict[tuple[Arm, Measure], Floats] = {}

    def fold_outputs(self) -> None:
        """Make the table `texts`, which takes a look at every output."""
        if not self._folded:
            keep_folded(self.con, "texts", "rows")
            self._folded = True

    @cached_property
    def items(self) -> Items:
        """The questions that have rows."""
        found = _load_items(self.con, language_column(self.reader, self.con))
        if not found.ids:
            raise RunFolderError(
                f"The run in {str(self.reader.path)!r} has no rows of any of its items: run its "
                "sweep again, or give another folder."
            )
        return found

    @cached_property
    def columns(self) -> frozenset[str]:
        """What is known of each row: runs of earlier releases lack some of it."""
        return frozenset(name for name, *_ in self.con.execute("DESCRIBE rows").fetchall())

    @cached_property
    def n_layers(self) -> int:
        """Blocks of the model, from the manifest, else from the layers seen."""
        declared = self.manifest.get("model", {}).get("n_layers")
        if declared is not None:
            return int(declared)
        seen = self.con.execute("SELECT greatest(max(source), max(target)) FROM rows").fetchone()
        return int(seen[0]) + 1 if seen and seen[0] is not None else 0

    @cached_property
    def arms(self) -> list[Arm]:
        """Families of attempts in the run: true ones first, then the controls, sorted."""
        rows = self.con.execute(
            "SELECT component, control, stratum FROM arms ORDER BY arm"
        ).fetchall()
        return [Arm(check_component(name), control, stratum) for name, control, stratum in rows]

    @property
    def components(self) -> list[Component]:
        """Components with true transplants."""
        return [arm.component for arm in self.arms if arm.is_true]

    def controls_of(self, component: Component) -> list[Arm]:
        """The controls run for a component."""
        return [arm for arm in self.arms if arm.component == component and not arm.is_true]

    def cube(self, arm: Arm, measure: Measure = "correct") -> Floats:
        """A measure of every row of an arm.

        Returns:
            Shape (items, sources, targets): 1 = yes, 0 = no (in nats for ``gold_logprob``),
            NaN = not run or not known.
        """
        key = (arm, measure)
        if arm not in self.arms:
            return self._empty_cube()
        if key not in self._cubes:
            # Reading through the rows is what takes long, so arms that are looked at together are
            # read together; of donors' answers, few are looked at.
            alike = [one for one in self.arms if one.is_true == arm.is_true]
            self._load_cubes([arm] if measure == "follows" else alike, measure)
        return self._cubes[key]

    def forget_cubes(self) -> None:
        """Free their memory; they are loaded again when asked for."""
        self._cubes.clear()

    @cached_property
    def donor_shares(self) -> dict[str, Floats]:
        """By stratum, the share of the donors that each question may have, shape (items,).

        Donors are the questions of the same languages and split, on another fact and with another
        aux prompt, as in `donors`. NaN where there is no donor or no gold answer. A run without the
        stratum ``same_symbol`` drew its donors of ``same_answer`` by the option alone: these two
        are one then.
        """
        rows = self.con.execute(
            """
            WITH texts AS (SELECT *, CASE WHEN options IS NOT NULL AND labels IS NOT NULL
                          THEN labels[list_position(options, answer)] END AS said FROM items),
            pairs AS (SELECT i.item, list_has_any(dg.golds, ig.golds) AS alike,
                             i.said IS DISTINCT FROM d.said AS apart
            FROM texts i JOIN golds ig USING (item) JOIN texts d
            ON d.lang = i.lang AND d.aux_lang = i.aux_lang AND d.split IS NOT DISTINCT FROM i.split
               AND d.cluster <> i.cluster AND d.aux <> i.aux
            JOIN golds dg ON dg.item = d.item
            WHERE i.item IN (SELECT item FROM places) AND d.item IN (SELECT item FROM places))
            SELECT item, avg((alike AND NOT apart)::DOUBLE), avg((alike AND apart)::DOUBLE),
                   avg((NOT alike)::DOUBLE) FROM pairs GROUP BY item
            """
        ).fetchall()
        found = {item: shares for item, *shares in rows if None not in shares}
        unknown = (np.nan,) * len(STRATA)
        same, symbol, other = np.array([found.get(item, unknown) for item in self.items.ids]).T
        if any(arm.stratum == "same_symbol" for arm in self.arms):
            return dict(zip(STRATA, (same, symbol, other), strict=True))
        return {"same_answer": same + symbol, "different_answer": other}

    def has_rows(self, arms: Sequence[Arm]) -> Mask:
        """Which questions have a row of any of some arms, shape (items,)."""
        found = self.con.execute(
            "SELECT DISTINCT p.place FROM census c JOIN places p USING (item) JOIN arms a "
            f"ON {_OF_ARM.format('c')} WHERE list_contains($arms::INTEGER[], a.arm)",
            {"arms": [self.arms.index(arm) for arm in arms if arm in self.arms]},
        ).fetchnumpy()
        there = np.zeros(len(self.items.ids), dtype=np.bool_)
        there[found["place"]] = True
        return there

    def splits_of(self, arms: Sequence[Arm]) -> list[str]:
        """Splits that any of some arms was run on; questions without a split are in ``""``."""
        return sorted(set(self.items.split[self.has_rows(arms)].tolist()))

    def true_cube(self, component: Component, measure: Measure = "correct") -> Floats:
        """`cube` of the true transplants of a component."""
        return self.cube(Arm(component, "none", None), measure)

    def _load_cubes(self, arms: Sequence[Arm], measure: Measure) -> None:
        """Read a measure of some arms, in one pass over the rows."""
        if measure == "follows":
            self.fold_outputs()
        numbers = [self.arms.index(arm) for arm in arms]
        query = f"""
            SELECT p.place, a.arm, r.source, r.target, ({_MEASURES[measure]})::FLOAT AS value
            FROM rows r JOIN places p USING (item) JOIN arms a ON {_OF_ARM.format("r")}
            {_JOINS.get(measure, "")}
            WHERE list_contains($arms::INTEGER[], a.arm)
        """
        columns = self.con.execute(query, {"arms": numbers}).fetchnumpy()
        values = np.ma.filled(columns["value"], np.nan)
        for number, arm in zip(numbers, arms, strict=True):
            own = columns["arm"] == number
            cube = self._empty_cube()
            cube[columns["place"][own], columns["source"][own], columns["target"][own]] = values[
                own
            ]
            self._cubes[arm, measure] = cube

    def _empty_cube(self) -> Floats:
        return np.full((len(self.items.ids), self.n_layers, self.n_layers), np.nan)


class _Question(NamedTuple):
    """A row of `items`, as `repeats` looks at it."""

    item: str
    lang: str
    aux_lang: str
    main: str
    aux: str
    cluster: str
    split: str | None


def _join_repeats(con: duckdb.DuckDBPyConnection) -> list[str]:
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


def _load_items(con: duckdb.DuckDBPyConnection, language: str) -> Items:
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
