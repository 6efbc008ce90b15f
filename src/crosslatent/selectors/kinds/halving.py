"""Successive halving: a good pair for a fraction of the pilot's rows.

Every round gives the pairs that are left as many rows as the others, on items that none of them has
seen, and keeps the better half (Karnin et al. 2013; Jamieson and Talwalkar 2016). A sweep of the
whole tuning split is read here, so the fraction says what would have had to be run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.selectors.base import FixedPairs, Selector, measured, ranked, register_selector
from crosslatent.selectors.candidates import Candidates, Labels, Places


@register_selector("halving")
@dataclass(frozen=True, slots=True)
class Halving(Selector):
    """Find the pilot pair with part of its rows.

    Attributes:
        fraction: of the tuning split's rows that may be used.
        seed: of the order of the items.
    """

    fraction: float = 0.25
    seed: int = 0

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """A tenth and a quarter of the rows."""
        return cls(0.1), cls(0.25)

    @property
    def name(self) -> str:
        """``halving-25`` (percent of the rows)."""
        return f"halving-{100 * self.fraction:.0f}"

    @property
    def about(self) -> str:
        """What it does."""
        return (
            "successive halving over pairs: would have used at most "
            f"{100 * self.fraction:.0f}\u202f% of the rows"
        )

    def fit(self, seen: Candidates, labels: Labels) -> FixedPairs:
        """Halve until one pair is left.

        Raises:
            UsageError: the fraction is none, or less than one row a pair, or no pair was run with
                gold answers.
        """
        if not 0 < self.fraction <= 1:
            raise UsageError(f"The fraction is {self.fraction}: give more than 0, and at most 1.")
        alive = [int(k) for k in np.flatnonzero((~np.isnan(labels.correct)).any(axis=0))]
        if not alive:
            raise UsageError("The tuning split has no rows with gold answers: sweep it first.")
        whole, order = len(alive), self._order(labels)
        rounds = max(1, math.ceil(math.log2(whole)))
        budget = self.fraction * len(order) * whole
        if whole > budget:
            raise UsageError(
                f"{100 * self.fraction:g} % of the tuning split's {len(order) * whole} rows are "
                f"fewer than one for each of its {whole} pairs: give a larger fraction, or tune on "
                "more questions."
            )
        rows = read = 0
        while len(alive) > 1:
            fresh = min(len(order) - read, max(1, int(budget / rounds / len(alive))))
            if rows + fresh * len(alive) > budget:
                fresh = 0  # the rest is decided by the rows that are there
            read, rows = read + fresh, rows + fresh * len(alive)
            alive = _better(seen, labels, alive, order[:read])
        used = rows / (len(order) * whole)
        right = measured(labels.correct[order[:read], alive[0]])
        return FixedPairs(seen.pairs[alive[0]], {}, {"share_of_rows": used} | right)

    def _order(self, labels: Labels) -> Places:
        """Items with gold answers, in a seeded order."""
        places = np.flatnonzero((~np.isnan(labels.correct)).any(axis=1))
        order: Places = np.random.default_rng(self.seed).permutation(places)
        return order


def _better(seen: Candidates, labels: Labels, alive: list[int], items: Places) -> list[int]:
    """The better half of some candidates, by all that they have been run on."""
    known = np.full_like(labels.correct, np.nan)
    cells = np.ix_(items, np.array(alive, dtype=np.int64))
    known[cells] = labels.correct[cells]
    return ranked(seen, replace(labels, correct=known), math.ceil(len(alive) / 2))
