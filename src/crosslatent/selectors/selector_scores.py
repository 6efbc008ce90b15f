"""Scores of fitted selectors on one split, beside everything that they must beat.

What is right is compared with the same fitted selector on the rows of the shuffled control, and
what is left is what no control solves: a question is in the strict room if some true pair solves
it, and neither what was selected nor any pair of any control does (docs/methods.md 6.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from crosslatent.analysis.accuracy import majority
from crosslatent.analysis.data import solved_by_any
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import SELECTORS, FittedSelector, FixedPairs, Selector
from crosslatent.selectors.candidates import (
    ABSTAIN,
    AUX_COST,
    FIXED_COST,
    NOT_RUN,
    OTHER,
    VANILLA_COST,
    Candidates,
    Mask,
    Selection,
)
from crosslatent.selectors.crossfit import CrossFitted, fitted_and_tested
from crosslatent.selectors.division import Division
from crosslatent.selectors.kinds.confidence import FittedConfidence
from crosslatent.selectors.kinds.pilot import REFERENCE
from crosslatent.selectors.selector_results import (
    Baseline,
    SelectorEvaluation,
    SelectorResult,
    Used,
)
from crosslatent.selectors.signals import signals
from crosslatent.selectors.table import CONTROLS, SelectorTable, TableSplit
from crosslatent.stats import (
    RESAMPLES,
    Estimate,
    Floats,
    cluster_permutation,
    clustered_mean,
    holm,
    paired_difference,
)
from crosslatent.stats.estimates import ratio

_MOST_NAMED = 3
_MOST_USED = 3
SURER = {
    "surer": "answer both prompts, keep the likelier answer",
    "surer_calibrated": "the same, with a margin fitted on the tuning split",
}


def evaluate(
    tuning: TableSplit,
    testing: TableSplit,
    selectors: Sequence[Selector],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    samples: Mapping[int, Floats] | None = None,
    surer: Mapping[str, Floats] | None = None,
    division: Division | None = None,
) -> tuple[SelectorEvaluation, dict[str, FittedSelector]]:
    """Fit selectors on one split and score them on another.

    Args:
        tuning: what selectors are fitted on.
        testing: what they are tested on.
        selectors: what to fit.
        seed: of the intervals.
        resamples: number of bootstrap resamples.
        samples: right or wrong of majorities of samples, by their number, (items of the table,).
        surer: right or wrong of the surer of both prompts, raw and calibrated, (items of the
            table,).
        division: of folds, selectors are tested as fitted on the other folds, and returned as
            fitted on all.

    Raises:
        UsageError: two selectors have the same name, or no pilot pair can be fitted.
    """
    wanted: dict[str, Selector] = {}
    for selector in (REFERENCE, *selectors):
        first = wanted.setdefault(selector.name, selector)
        if first != selector:
            raise UsageError(
                f"Two selectors are called {selector.name!r} ({SELECTORS.name_of(type(first))} and "
                f"{SELECTORS.name_of(type(selector))}): give one of them another name."
            )
    fitted, missing = _fit_all(tuning, list(wanted.values()))
    tried: Mapping[str, FittedSelector] = fitted
    if division is not None and division.kind == "folds":
        tried, absent = _cross_fitted(tuning.table, wanted, division)
        missing += absent
    score = _Score(testing, tried[REFERENCE.name], seed, resamples)
    reasons = {name: _lacking(fit, score.seen) for name, fit in tried.items()}
    missing += [f"{name}: {reason}" for name, reason in reasons.items() if reason]
    results = [score.of(wanted[name], fit) for name, fit in tried.items() if not reasons[name]]
    corrected = holm([result.p_value for result in results]).adjusted
    missing += _without_controls(testing, results, score)
    if not samples:
        missing.append("No sampling baseline: the run holds no samples of the unmodified model.")
    return SelectorEvaluation(
        tuned_on="",
        tested_on="",
        tune="",
        test="",
        components=sorted({pair.component for pair in tuning.table.seen.pairs}),
        candidates=len(tuning.table.seen.pairs),
        tune_items=len(tuning),
        items=len(testing),
        clusters=len(set(testing.clusters)),
        left_out=0,
        seed=seed,
        selectors=[
            replace(result, p_holm=p, alike=score.alike(result.name))
            for result, p in zip(results, corrected, strict=True)
        ],
        baselines=score.baselines(samples or {}, surer or {}),
        missing=missing,
        strict_controls=list(score.controls),
        strict_missing=[name for name in CONTROLS if name not in score.controls],
    ), fitted


def _fit_all(
    tuning: TableSplit, selectors: Sequence[Selector]
) -> tuple[dict[str, FittedSelector], list[str]]:
    seen, labels = tuning.table.seen.take(tuning.mask), tuning.table.labels.take(tuning.mask)
    fitted, missing = {}, []
    for selector in selectors:
        try:
            fitted[selector.name] = selector.fit(seen, labels)
        except UsageError as error:
            if selector.name == REFERENCE.name:
                raise
            missing.append(f"{selector.name}: {error}")
    return fitted, missing


def _cross_fitted(
    table: SelectorTable, wanted: Mapping[str, Selector], division: Division
) -> tuple[dict[str, FittedSelector], list[str]]:
    """Every selector as fitted on each part's other folds."""
    found, missing = dict[str, FittedSelector](), list[str]()
    for name, selector in wanted.items():
        try:
            found[name] = fitted_and_tested(table, division, (selector,))[1]
        except UsageError as error:
            missing.append(f"{name}: {error}")
    return found, missing


def _without_controls(
    testing: TableSplit, results: Sequence[SelectorResult], score: _Score
) -> Iterator[str]:
    """What is not known because controls were not run."""
    if not testing.table.shuffled:
        yield "Nothing is compared with shuffled vectors: the control shuffled was not run."
    elif all(result.over_shuffled is None or not result.over_shuffled.n for result in results):
        yield (
            "Nothing is compared with shuffled vectors: no question has shuffled rows of the same "
            "pairs in every stratum that it needs."
        )
    if not score.controls:
        yield f"No strict room: none of {', '.join(CONTROLS)} was run over the same pairs."


class _Score:
    """Scores fitted selectors on one split; what they share is computed once."""

    def __init__(
        self, testing: TableSplit, reference: FittedSelector, seed: int, resamples: int
    ) -> None:
        self.table, self.mask = testing.table, testing.mask
        self.clusters = testing.clusters
        self.seen = self.table.seen.take(self.mask)
        self.labels = self.table.labels.take(self.mask)
        self.seed, self.resamples = seed, resamples
        self.bound = solved_by_any(self.labels.correct, 1)
        self.vanilla = self.labels.vanilla
        self.reference = reference.choose(self.seen).outcome(self.labels)
        """NaN where the pilot pair was not run: then nothing is compared with it."""
        known = {name: solved[self.mask] for name, solved in self.table.controls.items()}
        self.controls = {n: solved for n, solved in known.items() if not np.isnan(solved).all()}
        self.room = room(self.bound, self.controls)
        self.outcomes: dict[str, tuple[bytes, ...]] = {}
        """What every selector is right on: those alike are one line of a table."""

    def of(self, selector: Selector, fitted: FittedSelector) -> SelectorResult:
        """One selector."""
        selection = fitted.choose(self.seen)
        right, shuffled = selection.outcome(self.labels), self._shuffled(fitted)
        left, other = (
            np.where(selection.choice == NOT_RUN, np.nan, selection.choice == way)
            for way in (ABSTAIN, OTHER)
        )
        alone = selector.name == REFERENCE.name or np.isnan(self.reference).all()
        columns = (right, left, other) if shuffled is None else (right, left, other, shuffled)
        self.outcomes[selector.name] = tuple(np.nan_to_num(c, nan=-1).tobytes() for c in columns)
        return SelectorResult(
            name=selector.name,
            about=selector.about,
            accuracy=self._mean(right),
            gain=self._difference(right, self.vanilla),
            recovered=ratio(
                right - self.vanilla,
                self.bound - self.vanilla,
                self.clusters,
                seed=self.seed,
                resamples=self.resamples,
            ),
            shuffled_gain=None if shuffled is None else self._difference(shuffled, self.vanilla),
            over_shuffled=None if shuffled is None else self._difference(right, shuffled),
            strict_room=self._strict(right),
            versus_pilot=None if alone else self._difference(right, self.reference),
            p_value=None if alone else self._p_value(right),
            p_holm=None,
            cost=float(selection.cost.mean()),
            abstained=self._mean(left),
            other=self._mean(other),
            used=self._used(selection),
            report=dict(fitted.report),
        )

    def alike(self, name: str) -> list[str]:
        """Other selectors that are right on, and leave unmodified, the same questions."""
        own = self.outcomes[name]
        return [other for other, same in self.outcomes.items() if same == own and other != name]

    def _shuffled(self, fitted: FittedSelector) -> Floats | None:
        """Right or wrong of the same selector where donors are drawn blindly, shape (items,)."""
        by_stratum = {}
        for stratum, (seen, labels) in self.table.shuffled.items():
            part = seen.take(self.mask)
            right = fitted.choose(part).outcome(labels.take(self.mask))
            # Without a donor there is nothing to choose from: that is missing, and no abstention.
            values = np.full(len(self.mask), np.nan)
            values[self.mask] = np.where(covered(fitted, self.seen, part), right, np.nan)
            by_stratum[stratum] = values
        blind = self.table.blind(by_stratum)
        return None if blind is None else blind[self.mask]

    def baselines(
        self, samples: Mapping[int, Floats], surer: Mapping[str, Floats]
    ) -> list[Baseline]:
        """Every other way to answer; those that the run has nothing of are left out."""
        items, mask, correct = self.table.items, self.mask, self.labels.correct
        hindsight = np.full(len(mask), np.nan)
        hindsight[mask] = majority(items, mask)
        known = ~np.isnan(correct)
        random: Floats = np.where(known, correct, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        ways: dict[str, tuple[str, Floats, float | None]] = {
            "vanilla": ("the unmodified model", self.vanilla, VANILLA_COST),
            "translate_test": (
                "answer the counterpart instead",
                items.translate_test[mask],
                AUX_COST,
            ),
        }
        for name, right in surer.items():
            ways[name] = (SURER[name], right[mask], VANILLA_COST + AUX_COST)
        ways["majority"] = ("the commonest right option, in hindsight", hindsight[mask], None)
        ways["random_pair"] = ("any pair, the same chance for each", random, FIXED_COST)
        for number, right in samples.items():
            about = f"majority of {number} sampled answers"
            ways[f"samples-{number}"] = (about, right[mask], float(number))
        about = "any pair solves it: an oracle, which knows the answer"
        ways["upper_bound"] = (about, self.bound, None)
        return [
            Baseline(
                name,
                about,
                self._mean(right),
                self._difference(right, self.vanilla),
                cost,
                self._strict(right),
            )
            for name, (about, right, cost) in ways.items()
            if not np.isnan(right).all()
        ]

    def _used(self, selection: Selection) -> list[Used]:
        places, counts = np.unique(selection.choice[selection.choice >= 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_MOST_USED]
        pairs = [(self.seen.pairs[int(places[k])], int(counts[k])) for k in order]
        return [Used(pair.component, pair.source, pair.target, n) for pair, n in pairs]

    def _strict(self, right: Floats) -> Estimate | None:
        return None if self.room is None else self._mean(self.room * (1 - right))

    def _mean(self, values: Floats) -> Estimate:
        return clustered_mean(values, self.clusters, seed=self.seed, resamples=self.resamples)

    def _difference(self, new: Floats, old: Floats) -> Estimate:
        return paired_difference(new, old, self.clusters, seed=self.seed, resamples=self.resamples)

    def _p_value(self, right: Floats) -> float | None:
        """Of the difference to the pilot pair, by exchanging the two in whole clusters."""
        test = cluster_permutation(
            right, self.reference, self.clusters, seed=self.seed, permutations=self.resamples
        )
        return test.p_two_sided


def room(bound: Floats, controls: Mapping[str, Floats]) -> Floats | None:
    """What some true pair solves (`bound`) and no pair of any control, all of shape (items,).

    1, 0, or NaN where a control was not run over the same pairs; None without any control.
    """
    if not controls:
        return None
    # The sum is NaN as soon as one of them is not known, even where another one solves it: else
    # questions that a control lacks would count only where they are outside the room.
    lucky = np.sum(list(controls.values()), axis=0)
    return np.where(np.isnan(lucky), np.nan, bound * (lucky == 0))


def _lacking(fitted: FittedSelector, seen: Candidates) -> str | None:
    """What the questions to test on lack for a selector, as a sentence; None if nothing.

    A pair lacks if none of the questions was run with it, and scores if no question has any.
    """
    ran: Mask = np.asarray(seen.ran.any(axis=0))
    wanted: Sequence[TransplantSpec] = fitted.pairs
    if isinstance(fitted, FixedPairs):  # of pairs by language, those of the languages asked in
        langs = sorted(set(seen.lang.tolist()))
        wanted = list(dict.fromkeys(fitted.by_language.get(k, fitted.pooled) for k in langs))
    places = zip(wanted, seen.places(wanted), strict=True)
    absent = [pair for pair, place in places if place < 0 or not ran[place]]
    if absent:
        return f"The questions to test on were not run with {_named(absent)}."
    looking = getattr(fitted, "among", fitted)  # of several ways, the one with transplants
    if not isinstance(looking, FittedConfidence):
        return None
    scores = seen.attribution
    if looking.top is not None and (scores is None or np.isnan(scores).all()):
        return "The questions to test on have no attribution scores."
    if np.isnan(signals(seen, looking.measure)[1]).all():
        return "How sure the model is of the questions to test on is not known."
    return None


def covered(fitted: FittedSelector, true: Candidates, other: Candidates) -> Mask:
    """Items of which `other` has every row that the selector looks at in `true`, shape (items,)."""
    if isinstance(fitted, CrossFitted):
        found = np.zeros(len(true), dtype=np.bool_)
        for mask, one in zip(fitted.masks(true), fitted.fitted, strict=True):
            found[mask] = covered(one, true.take(mask), other.take(mask))
        return found
    if isinstance(fitted, FittedConfidence):
        looked = fitted.allowed(true)
    elif isinstance(fitted, FixedPairs):
        looked = np.zeros(true.ran.shape, dtype=np.bool_)
        choice = fitted.choose(true).choice
        items = np.flatnonzero(choice >= 0)
        looked[items, choice[items]] = True
    else:
        looked = true.run_of(fitted.pairs)
    return np.asarray((~looked | other.ran).all(axis=1) & looked.any(axis=1))


def _named(pairs: Iterable[TransplantSpec]) -> str:
    texts = [f"{pair.component} {pair.source} -> {pair.target}" for pair in pairs]
    more = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f" and {more} more of its pairs" if more > 0 else "")
