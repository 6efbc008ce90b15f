"""The rows of a run folder as arrays: one entry per question, or per question and layer pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from crosslatent.analysis.items import (
    Items,
    Mask,
    gives_answer,
    join_repeats,
    keep_folded,
    keep_golds,
    language_column,
    load_items,
)
from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import FEWER_ATTEMPTS, STRATA, Component, check_component
from crosslatent.runs.contents import refuse_all
from crosslatent.stats import Estimate, Floats, PairedTest, clustered_means, paired_test

if TYPE_CHECKING:
    import duckdb

    from crosslatent.runs.reader import RunReader

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


def control_name(control: str, stratum: str | None) -> str:
    """A control with its stratum, as it is named in figures: ``shuffled/same_answer``."""
    return f"{control}/{stratum}" if stratum else control


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
        seed: of intervals and tests.
    """

    def __init__(self, reader: RunReader, seed: int = 0) -> None:
        self.reader, self.seed = reader, seed
        self.manifest: Mapping[str, Any] = reader.manifest
        self.con: duckdb.DuckDBPyConnection = reader.connect()
        refuse_all(self.con, reader.path)
        self.repeats: list[str] = self.manifest.get("task", {}).get("repeats")
        if self.repeats is None:
            self.repeats = join_repeats(self.con)
        self.con.execute(_KEPT)
        keep_golds(self.con)
        self._folded = False
        self._cubes: dict[tuple[Arm, Measure], Floats] = {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """The arguments of the sweep, as far as the manifest has them."""
        return self.manifest.get("spec") or {}

    def fold_outputs(self) -> None:
        """Make the table `texts`, which takes a look at every output."""
        if not self._folded:
            keep_folded(self.con, "texts", "rows")
            self._folded = True

    @cached_property
    def items(self) -> Items:
        """The questions that have rows."""
        found = load_items(self.con, language_column(self.reader, self.con))
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
        """The controls run for a component, with as many attempts as true transplants have."""
        own = [arm for arm in self.arms if arm.component == component and not arm.is_true]
        return [arm for arm in own if arm.control not in self._fewer]

    @cached_property
    def _fewer(self) -> frozenset[str]:
        """Controls that have no row for each pair, those of other packages among them."""
        others = self.spec.get("other_controls") or {}
        return FEWER_ATTEMPTS.union(
            k for k, said in others.items() if not said.get("every_pair", True)
        )

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

    def means(
        self,
        columns: Floats,
        mask: Mask | None = None,
        *,
        seed: int | None = None,
        difference: bool = False,
    ) -> list[Estimate]:
        """Mean of each column over some questions, with an interval that resamples clusters.

        Args:
            columns: values, shape (items, columns); NaN = missing.
            mask: the questions, shape (items,); None = all.
            seed: of the intervals; None = that of the run.
            difference: the values are differences, and no shares.
        """
        mask = np.ones(len(columns), dtype=np.bool_) if mask is None else mask
        clusters, seed = self.items.clusters_of(mask), self.seed if seed is None else seed
        return clustered_means(columns[mask], clusters, seed=seed, difference=difference)

    def mean(
        self,
        values: Floats,
        mask: Mask | None = None,
        *,
        seed: int | None = None,
        difference: bool = False,
    ) -> Estimate:
        """`means` of a single column, shape (items,)."""
        return self.means(values[:, None], mask, seed=seed, difference=difference)[0]

    def difference(
        self, after: Floats, before: Floats, mask: Mask, *, seed: int | None = None
    ) -> Estimate:
        """Mean of after - before, shape (items,) each, over the questions that have both."""
        return self.mean(after - before, mask, seed=seed, difference=True)

    def share(self, values: Floats, mask: Mask) -> Estimate | None:
        """`mean`; None if nothing is known."""
        estimate = self.mean(values, mask)
        return estimate if estimate.n else None

    def change(self, after: Floats, before: Floats, mask: Mask) -> PairedTest:
        """Test that answers changed, by clusters (`stats.paired_test`)."""
        return paired_test(
            after[mask],
            before[mask],
            self.items.clusters_of(mask),
            seed=self.seed,
            one_language=len(np.unique(self.items.lang[mask])) == 1,
        )

    def gains(self, component: Component) -> Floats:
        """Right minus right unmodified, at every pair: shape (items, sources, targets)."""
        return self.true_cube(component) - self.items.vanilla[:, None, None]

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
            where = (columns[name][own] for name in ("place", "source", "target"))
            cube[*where] = values[own]
            self._cubes[arm, measure] = cube

    def _empty_cube(self) -> Floats:
        return np.full((len(self.items.ids), self.n_layers, self.n_layers), np.nan)


def solved_by_any(cells: Floats, axis: int | tuple[int, ...]) -> Floats:
    """The union over pairs: 1 if any cell is 1, 0 if none is, NaN if all are missing."""
    solved = (cells == 1).any(axis=axis).astype(np.float64)
    return np.where(np.isnan(cells).all(axis=axis), np.nan, solved)


# A stratum knows the gold answer, so it says what is carried and not what luck does
# (docs/methods.md 1.3). The expectation over all strata, weighted by how many donors each holds, is
# the control that knows nothing: a donor drawn without a look at its answer. It is computed.


def known_mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Mean of what is known along an axis; NaN where nothing is."""
    counts = (~np.isnan(values)).sum(axis=axis)
    return np.where(counts > 0, np.nansum(values, axis=axis) / np.maximum(counts, 1), np.nan)


def blind_arm(component: Component) -> Arm:
    """The computed control, ``shuffled/any``."""
    return Arm(component, "shuffled", "any")


def strata_arms(data: RunData, component: Component) -> dict[str, Arm]:
    """Stratum -> arm, of the strata that it is computed from; empty if it is not computed."""
    if blind_arm(component) in data.arms:
        return {}
    arms = {stratum: Arm(component, "shuffled", stratum) for stratum in STRATA}
    return {stratum: arm for stratum, arm in arms.items() if arm in data.arms}


def weigh(shares: Mapping[str, Floats], values: Mapping[str, Floats]) -> Floats:
    """Expectation over the strata.

    Args:
        shares: by stratum, the share of each question's donors that it holds, shape (items,); NaN
            where there is no donor.
        values: by stratum, what its donors give, shape (items, ...); a stratum without donors has
            no values and no weight.

    Returns:
        Shape (items, ...); NaN where a stratum that has donors has no value.
    """
    shape = next(iter(values.values())).shape
    total = np.zeros(shape)
    for stratum, share in shares.items():
        weight = share.reshape(-1, *[1] * (len(shape) - 1))
        given = values.get(stratum, np.full(shape, np.nan))
        total = total + np.where(weight == 0, 0.0, weight * given)
    return total
