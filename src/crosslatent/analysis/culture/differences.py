"""Differences in differences: does a donor bring answers closer to its own country?

S(run, Y) is the closeness of answers to country Y, X the country that a question is about, Z other
donors; docs/culture.md has the definitions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.culture.contrasts import (
    EXCHANGES,
    CellSums,
    CultureFigure,
    Frame,
    Places,
)
from crosslatent.analysis.culture.culture_answers import (
    DONOR,
    OTHER_CULTURE,
    SHUFFLED,
    TRANSPLANT,
    VANILLA,
    Cells,
    Closeness,
)
from crosslatent.stats.hypothesis_tests import holm

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""As near as this, flattened answers are those of the transplant: a temperature is found again with
an error below it, and probabilities are stored with one. Its sign is no evidence."""

NAMES = {
    "changed": "answers change",
    "own_gain": "closer to the own country",
    "other_gain": "closer to other countries",
    "did_country": "own country minus others",
    "did_donor": "own donor minus others",
    "did_full": "own donor and country minus all others",
    "over_flat": "more than flatness alone",
    "over_other_culture": "more than another culture's donor",
    "over_shuffled": "more than another question's donor",
}
"""The differences, in words."""


class Contrasts:
    """The sides of every difference, by question."""

    def __init__(self, closeness: Closeness) -> None:
        """Compute what the sides are made of.

        Args:
            closeness: of every condition.
        """
        self.closeness = closeness
        self._rows = np.arange(len(closeness.own))
        self.donors = [name for name in closeness.runs if name.startswith(DONOR)]

    def own(self, values: Floats) -> Floats:
        """Closeness to the own country, shape (questions,)."""
        found: Floats = values[self._rows, self.closeness.own]
        return found

    def others(self, values: Floats) -> Floats:
        """Mean closeness to the other countries; NaN where none has data."""
        rest = values.copy()
        rest[self._rows, self.closeness.own] = np.nan
        return _mean(rest)

    def apart(self, values: Floats) -> Floats:
        """Closeness to the own country beyond that to others."""
        return self.own(values) - self.others(values)

    def sides(self) -> dict[str, tuple[Floats, Floats]]:
        """Name of a difference -> what is compared, each of shape (questions,)."""
        runs, flat = self.closeness.runs, self.closeness.flat
        new, old = runs[TRANSPLANT], runs[VANILLA]
        found = {
            "own_gain": (self.own(new), self.own(old)),
            "other_gain": (self.others(new), self.others(old)),
            "did_country": (self.apart(new), self.apart(old)),
        }
        if self.donors:
            every = [runs[name] for name in self.donors]
            found["did_donor"] = (self.own(new), _mean(np.stack([self.own(v) for v in every], 1)))
            found["did_full"] = (
                self.apart(new),
                _mean(np.stack([self.apart(v) for v in every], 1)),
            )
        if flat is not None:
            found["over_flat"] = (self.own(new), _same(self.own(flat), self.own(new)))
        for name, other in (("other_culture", OTHER_CULTURE), ("shuffled", SHUFFLED)):
            if other in runs:
                found[f"over_{name}"] = (self.own(new), self.own(runs[other]))
        return found

    def frame(self, seed: int, exchanges: int) -> Frame:
        """Of all questions."""
        names = [str(k) for k in self._rows]
        none = np.zeros(len(names))
        asked = [self.closeness.countries[k] for k in self.closeness.own]
        cells = Cells(names, self.closeness.clusters, asked, [""] * len(names), none, none)
        return Frame([cells], {"": 1.0}, seed, exchanges)

    def sums(self, frame: Frame, one: Floats, other: Floats) -> tuple[CellSums, CellSums]:
        """Both sides by cluster and country, of the questions that have both."""
        kept = np.flatnonzero(~(np.isnan(one) | np.isnan(other)))
        clusters, countries = self._places(frame)
        at = clusters[kept], countries[kept], np.zeros(len(kept), dtype=np.intp)
        ones = np.ones(len(kept))
        return frame.summed(at, one[kept], ones), frame.summed(at, other[kept], ones)

    def _places(self, frame: Frame) -> tuple[Places, Places]:
        closeness = self.closeness
        by_name = [frame.countries.get(name, -1) for name in closeness.countries]
        clusters = [frame.clusters[name] for name in closeness.clusters]
        return np.array(clusters, dtype=np.intp), np.array(by_name, dtype=np.intp)[closeness.own]


def differences(
    closeness: Closeness, *, seed: int, exchanges: int = EXCHANGES
) -> dict[str, dict[str, CultureFigure]]:
    """Every difference: its name -> country ("" = mean over all) -> the figure."""
    contrasts = Contrasts(closeness)
    frame = contrasts.frame(seed, exchanges)
    found = {}
    for name, sides in contrasts.sides().items():
        figures = frame.difference(*contrasts.sums(frame, *sides))
        found[name] = dict(zip(["", *frame.countries], figures, strict=True))
    return found


def _same(values: Floats, others: Floats) -> Floats:
    """Some values, or the others where only rounding keeps the two apart."""
    return np.where(np.abs(values - others) < ROUNDING, others, values)


def _mean(values: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of questions without any
        found: Floats = np.nanmean(values, axis=1)
    return found


def holm_by_country(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values corrected over countries (Holm)."""
    return dict(zip(figures, holm(list(figures.values())).adjusted, strict=True))
