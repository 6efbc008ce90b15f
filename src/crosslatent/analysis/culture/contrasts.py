"""Figures of a measure: each condition, changes, controls; with intervals and tests by question.

Conditions are paired by unit. Intervals resample clusters (percentiles of 2,000 draws, which all
figures share, moved outward for few clusters); tests exchange two conditions within
clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.culture.culture_answers import TRANSPLANT, VANILLA, Cells
from crosslatent.stats.clusters import cluster_draws, expanded_tails
from crosslatent.stats.hypothesis_tests import holm

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
DRAWS = 2_000
EXCHANGES = 4_999
"""Drawn at random; with the observed one they make 5,000."""
_EXACT = 12
"""Up to so many clusters all exchanges are tried."""
_TINY = 1e-12
_DEFINED = 0.99
"""Of the draws of an interval, so many must have a value."""


@dataclass(frozen=True, slots=True)
class CultureFigure:
    """A value with its interval and test; None where it is undefined.

    Attributes:
        value: on the scale of the measure.
        low, high: ends of the 95 % interval; None where all clusters agree, too.
        p: two-sided, that it is zero; None of what is no difference.
        n: units.
        clusters: independent ones among them.
        floor: the one-sided 95 % lower bound.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 0
    clusters: int = 0
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """The figures of a measure for one country, or for all of them.

    Attributes:
        country: its name; empty for the mean over all.
        vanilla, transplant: their values.
        change: transplant minus vanilla.
        controls: condition -> control minus vanilla.
        against: condition -> transplant minus control.
        holm: p of the change, corrected over countries; None of the mean over all.
    """

    country: str
    vanilla: CultureFigure | None
    transplant: CultureFigure | None
    change: CultureFigure | None
    controls: Mapping[str, CultureFigure] = field(default_factory=dict)
    against: Mapping[str, CultureFigure] = field(default_factory=dict)
    holm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CellSums:
    """Sums of numerators and denominators, shape (clusters, countries, groups)."""

    above: Floats
    below: Floats
    n: NDArray[np.int64]
    """Units by country and group, shape (countries, groups)."""


class Frame:
    """What all conditions have in common: clusters, countries and groups, and the draws."""

    def __init__(
        self, cells: Sequence[Cells], signs: Mapping[str, float], seed: int, exchanges: int
    ) -> None:
        """Collect the names.

        Args:
            cells: of all conditions.
            signs: group -> its sign.
            seed: of the draws.
            exchanges: how many are drawn.
        """
        self.clusters = _places(name for one in cells for name in one.clusters)
        self.countries = _places(name for one in cells for name in one.countries)
        self.groups = _places(signs)
        self._signs = np.array([signs[name] for name in self.groups])
        self._seed, self._exchanges = seed, exchanges

    def sums(self, cells: Cells, units: set[str]) -> CellSums:
        """Of some units, as far as they are defined."""
        kept = [
            k
            for k, name in enumerate(cells.units)
            if name in units and cells.groups[k] in self.groups
        ]
        at = (
            np.array([self.clusters[cells.clusters[k]] for k in kept], dtype=np.intp),
            np.array([self.countries[cells.countries[k]] for k in kept], dtype=np.intp),
            np.array([self.groups[cells.groups[k]] for k in kept], dtype=np.intp),
        )
        return self.summed(at, np.asarray(cells.values)[kept], np.asarray(cells.weights)[kept])

    def summed(
        self, at: tuple[Places, Places, Places], values: Floats, weights: Floats
    ) -> CellSums:
        """Of units whose places are known.

        Args:
            at: places of the cluster, the country and the group of each, shape (units,).
            values: numerators, shape (units,).
            weights: denominators, same shape.
        """
        shape = (len(self.clusters), len(self.countries), len(self.groups))
        flat = np.ravel_multi_index(at, shape)
        above, below, n = (
            np.bincount(flat, some, minlength=math.prod(shape)).astype(np.float64).reshape(shape)
            for some in (values, weights, np.ones(len(flat)))
        )
        return CellSums(above, below, n.sum(0).astype(np.int64))

    def estimate(self, above: Floats, below: Floats) -> Floats:
        """Over all countries, then of each: shape (..., 1 + countries).

        Args:
            above: totals, shape (..., countries, groups).
            below: of the denominators, same shape.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(below > 0, above / below, np.nan)
        each = (ratio * self._signs).sum(-1)
        some = ~np.isnan(ratio)
        counts = some.sum(-2)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = np.where(counts > 0, np.where(some, ratio, 0.0).sum(-2) / counts, np.nan)
        pooled = (means * self._signs).sum(-1)
        found: Floats = np.concatenate([pooled[..., None], each], axis=-1)
        return found

    def value(self, one: CellSums) -> list[CultureFigure]:
        """A condition: over all countries, then of each."""
        found = self.estimate(one.above.sum(0), one.below.sum(0))
        return self._figures(one, one, found, self._drawn(one), None)

    def difference(self, one: CellSums, other: CellSums) -> list[CultureFigure]:
        """A condition minus another one, on the same units."""
        found, p = self.tested(one, other)
        return self._figures(one, other, found, self._drawn(one) - self._drawn(other), p)

    def tested(self, one: CellSums, other: CellSums) -> tuple[Floats, Floats]:
        """Differences and their two-sided p, each of shape (1 + countries,)."""
        found = self.estimate(one.above.sum(0), one.below.sum(0)) - self.estimate(
            other.above.sum(0), other.below.sum(0)
        )
        exchanged = self.exchanged(one, other)
        tiny = _TINY + 1e-9 * np.abs(found)
        # An exchange that leaves nothing to divide by counts as further: else p were too small.
        further = (~(np.abs(exchanged) < np.abs(found) - tiny)).sum(0)
        return found, (further + 1) / (len(exchanged) + 1)

    def exchanged(self, one: CellSums, other: CellSums) -> Floats:
        """The difference after exchanges of the two within clusters, (exchanges, 1 + countries)."""
        swaps = self._swaps
        shape = one.above.shape[1:]

        def both(a: Floats, b: Floats) -> tuple[Floats, Floats]:
            flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
            moved = swaps @ (flat_b - flat_a)
            return (
                (flat_a.sum(0) + moved).reshape(-1, *shape),
                (flat_b.sum(0) - moved).reshape(-1, *shape),
            )

        above, below = both(one.above, other.above), both(one.below, other.below)
        found: Floats = self.estimate(above[0], below[0]) - self.estimate(above[1], below[1])
        return found

    @cached_property
    def _swaps(self) -> Floats:
        """Which clusters are exchanged, shape (exchanges, clusters)."""
        count = len(self.clusters)
        if count <= _EXACT:
            every = np.arange(1, 2**count)  # all but the observed one
            return (every[:, None] >> np.arange(count) & 1).astype(float)
        chance = np.random.default_rng([self._seed, 1])
        return chance.integers(0, 2, (self._exchanges, count)).astype(float)

    def _drawn(self, one: CellSums) -> Floats:
        """The estimate in each draw of clusters, shape (draws, 1 + countries)."""
        weights = cluster_draws(len(self.clusters), self._seed, DRAWS)
        above, below = (
            (weights @ each.reshape(len(each), -1)).reshape(-1, *one.n.shape)
            for each in (one.above, one.below)
        )
        return self.estimate(above, below)

    def _figures(
        self, one: CellSums, other: CellSums, found: Floats, drawn: Floats, p: Floats | None
    ) -> list[CultureFigure]:
        n = np.concatenate([[one.n.sum()], one.n.sum(1)])
        touched = (one.below > 0) | (other.below > 0)
        clusters = np.concatenate([[touched.any((1, 2)).sum()], touched.any(2).sum(0)])
        figures = []
        for k, value in enumerate(found):
            if not np.isfinite(value):
                figures.append(CultureFigure(None, n=int(n[k]), clusters=int(clusters[k])))
                continue
            low, high, floor = _ends(drawn[:, k], int(clusters[k]))
            tested = None if p is None else float(p[k])
            counts = int(n[k]), int(clusters[k])
            figures.append(CultureFigure(float(value), low, high, tested, *counts, floor))
        return figures


def measure_rows(
    cells: Mapping[str, Cells], signs: Mapping[str, float], *, seed: int, exchanges: int = EXCHANGES
) -> list[MeasureRow]:
    """The figures of a measure: over all countries, then of each.

    Args:
        cells: condition -> what the measure has of it; unmodified and transplanted among them.
        signs: group -> its sign.
        seed: of the draws.
        exchanges: of a test.
    """
    frame = Frame(list(cells.values()), signs, seed, exchanges)

    def paired(first: str, second: str) -> list[CultureFigure]:
        one, other = cells[first], cells[second]
        units = _defined(one) & _defined(other)
        return frame.difference(frame.sums(one, units), frame.sums(other, units))

    values = {
        name: frame.value(frame.sums(cells[name], _defined(cells[name])))
        for name in (VANILLA, TRANSPLANT)
    }
    change = paired(TRANSPLANT, VANILLA)
    others = [name for name in cells if name not in values and ":" not in name]
    controls = {name: paired(name, VANILLA) for name in others}
    against = {name: paired(TRANSPLANT, name) for name in others}
    p = [one.p for name, one in zip(frame.countries, change[1:], strict=True) if name]
    corrected = dict(zip([name for name in frame.countries if name], holm(p).adjusted, strict=True))
    return [
        MeasureRow(
            country,
            values[VANILLA][k],
            values[TRANSPLANT][k],
            change[k],
            {name: some[k] for name, some in controls.items()},
            {name: some[k] for name, some in against.items()},
            corrected.get(country),
        )
        for k, country in enumerate(["", *frame.countries])
        if country or not k
    ]


def not_worse(row: MeasureRow, margin: float) -> bool | None:
    """Whether a change is above minus the margin, by its one-sided bound (non-inferiority).

    False where it is shown to be below; None where the interval is too wide to tell.
    """
    change = row.change
    if change is None or change.floor is None:
        return None
    if change.floor > -margin:
        return True
    high = change.floor if change.high is None else change.high
    return False if high < -margin else None


def _ends(drawn: Floats, clusters: int) -> tuple[float | None, float | None, float | None]:
    """Both ends of the interval of drawn values, and the one-sided bound.

    Where all clusters agree there is no interval, and the bound is what they agree on, if so many
    would not agree by chance (exact sign test).
    """
    known = drawn[~np.isnan(drawn)]
    if clusters < 2 or len(known) <= _DEFINED * len(drawn):
        return None, None, None
    if np.ptp(known) < _TINY:
        return None, None, float(known[0]) if 0.5**clusters < 0.05 else None
    levels = [*expanded_tails(0.95, clusters), expanded_tails(0.9, clusters)[0]]
    low, high, floor = np.quantile(known, levels).tolist()
    return low, high, floor


def _defined(cells: Cells) -> set[str]:
    known = ~np.isnan(np.asarray(cells.values, dtype=float))
    return {name for name, some in zip(cells.units, known, strict=True) if some}


def _places(names: object) -> dict[str, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(names))}  # type: ignore[call-overload]
