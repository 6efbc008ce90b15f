"""The best of a few selectors, found by cross-validation, and fitted ones tested on other folds.

A selector with more freedom is taken only where it is better than the one pair by more than one
standard error (the rule of Breiman et al. 1984, Classification and Regression Trees, section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import FittedSelector, Reads, Selector, SelectorState
from crosslatent.selectors.candidates import NOT_RUN, Candidates, Labels, Mask, Selection
from crosslatent.selectors.division import Division, among, fold_masks
from crosslatent.selectors.kinds.confidence import Confidence
from crosslatent.selectors.kinds.pilot import REFERENCE
from crosslatent.selectors.kinds.untransplanted import Plain
from crosslatent.selectors.table import SelectorTable
from crosslatent.stats import Floats

RULES: tuple[Selector, ...] = (REFERENCE, Confidence("margin"))
"""One pair for all questions; for each question one of eight pairs, or none."""
PLAIN: tuple[Selector, ...] = (Plain("translate_test"), Plain("surer"))
"""What needs no transplant."""
_READS: tuple[Reads, ...] = ("nothing", "steps", "answers")


@dataclass(frozen=True, slots=True)
class Taken:
    """A selector that was taken, and fitted.

    Attributes:
        accuracy: of each selector that competed, in cross-validation; empty of one alone.
    """

    selector: Selector
    fitted: FittedSelector
    accuracy: Mapping[str, float]


def fit_best(
    selectors: Sequence[Selector], seen: Candidates, labels: Labels, *, seed: int = 0
) -> Taken:
    """Fit the best of some selectors, the first one unless another is clearly better.

    Args:
        selectors: the simplest first; those that cannot be fitted are left out.
        seen: the questions to choose on.
        labels: what is right there.
        seed: by which questions are dealt into folds.

    Raises:
        UsageError: the first cannot be fitted.
    """
    best, accuracy = selectors[0], dict[str, float]()
    clusters: list[str] = seen.cluster.tolist()
    if len(selectors) > 1 and len(set(clusters)) > 1:
        folds = fold_masks(clusters, seed)
        right = {one: _held_out(one, seen, labels, folds) for one in selectors}
        accuracy = {one.name: float(np.nanmean(v)) for one, v in right.items() if v is not None}
        if (first := right[best]) is not None:
            known = [(one, v) for one, v in right.items() if v is not None]
            better = [one for one, values in known if _clearly(values - first)]
            best = max([best, *better], key=lambda one: accuracy[one.name])
    return Taken(best, best.fit(seen, labels), accuracy)


def _held_out(
    selector: Selector, seen: Candidates, labels: Labels, folds: Sequence[Mask]
) -> Floats | None:
    """Right or wrong of each question, with what was fitted on the other folds; None = not at all.

    Raises nothing: a selector that cannot be fitted on some fold does not compete.
    """
    right = np.full(len(seen), np.nan)
    for fold in folds:
        try:
            fitted = selector.fit(seen.take(~fold), labels.take(~fold))
        except UsageError:
            return None
        right[fold] = fitted.choose(seen.take(fold)).outcome(labels.take(fold))
    return None if np.isnan(right).all() else right


def _clearly(differences: Floats) -> bool:
    known = differences[~np.isnan(differences)]
    return len(known) > 1 and bool(known.mean() > known.std(ddof=1) / np.sqrt(len(known)))


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Fitted selectors, each for questions that it was not fitted on.

    Attributes:
        part_of: id of a question -> which of `fitted` chooses for it.
    """

    part_of: Mapping[str, int]
    fitted: tuple[FittedSelector, ...]
    report: Mapping[str, float] = field(default_factory=dict)

    @property
    def pairs(self) -> tuple[TransplantSpec, ...]:
        """All that any of them looks at."""
        return tuple(dict.fromkeys(pair for one in self.fitted for pair in one.pairs))

    @property
    def reads(self) -> Reads:
        """The most that any of them must see."""
        return max((one.reads for one in self.fitted), key=_READS.index)

    @property
    def cost(self) -> float:
        """Their mean."""
        return float(np.mean([one.cost for one in self.fitted]))

    def masks(self, seen: Candidates) -> list[Mask]:
        """Of each part, the questions that it chooses for, shape (items,)."""
        parts = np.array([self.part_of.get(one, NOT_RUN) for one in seen.ids], dtype=np.int64)
        return [parts == place for place in range(len(self.fitted))]

    def choose(self, seen: Candidates) -> Selection:
        """What the part of each question chooses; `NOT_RUN` for questions of no part."""
        choice, cost = np.full(len(seen), NOT_RUN, dtype=np.int64), np.zeros(len(seen))
        for mask, fitted in zip(self.masks(seen), self.fitted, strict=True):
            own = fitted.choose(seen.take(mask))
            choice[mask], cost[mask] = own.choice, own.cost
        return Selection(choice, cost)

    def state(self) -> SelectorState | None:
        """It is never saved: what is used is fitted on all questions."""
        return None


@dataclass(frozen=True, slots=True)
class DividedChoice:
    """What was chosen on a division's questions.

    Attributes:
        kept: what is used from now on: of folds, fitted on all questions.
        tested: what tells how good that is, on questions that it was not fitted on.
        plain: by name, the plain methods, in the same way.
    """

    division: Division
    kept: Taken
    tested: CrossFitted
    plain: Mapping[str, tuple[Taken, CrossFitted]] = field(default_factory=dict)


def choose(
    table: SelectorTable,
    division: Division,
    selectors: Sequence[Selector] = RULES,
    *,
    seed: int = 0,
) -> DividedChoice:
    """Fit the best of some selectors, and the plain methods, on each part of a division.

    Args:
        table: rows of the questions to choose on.
        division: which questions these are.
        selectors: the simplest first.
        seed: by which a part's own questions are dealt into folds.

    Raises:
        UsageError: no pair was run on them with gold answers.
    """
    kept, tested = fitted_and_tested(table, division, selectors, seed)
    return DividedChoice(division, kept, tested, _plain_methods(table, division, seed))


def _plain_methods(
    table: SelectorTable, division: Division, seed: int
) -> dict[str, tuple[Taken, CrossFitted]]:
    """Each plain method that can be fitted."""
    found = {}
    for method in PLAIN:
        with suppress(UsageError):
            found[method.name] = fitted_and_tested(table, division, (method,), seed)
    return found


def fitted_and_tested(
    table: SelectorTable, division: Division, selectors: Sequence[Selector], seed: int = 0
) -> tuple[Taken, CrossFitted]:
    """The best of some selectors as it is kept, and as it is tested."""
    rules = [_fitted_on(table, tune, selectors, seed) for tune, _ in division.parts]
    every = division.chosen_on
    kept = rules[0] if len(rules) == 1 else _fitted_on(table, every, selectors, seed)
    part_of = {one: part for part, (_, test) in enumerate(division.parts) for one in test}
    return kept, CrossFitted(part_of, tuple(rule.fitted for rule in rules))


def _fitted_on(
    table: SelectorTable, ids: frozenset[str], selectors: Sequence[Selector], seed: int
) -> Taken:
    mask = table.usable & among(table.seen.ids, ids)
    return fit_best(selectors, table.seen.take(mask), table.labels.take(mask), seed=seed)
