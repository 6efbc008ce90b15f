"""Fit selectors on one split, score them on another, beside everything that they must beat.

Source: docs/methods.md 6. A question counts only if its cluster does not stand in the tuning
split; intervals resample clusters. What is right is compared with the same fitted selector on the
rows of the shuffled control, and what is left is what no control solves (`strict`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosslatent.analysis import other_ways
from crosslatent.analysis.accuracy import majority
from crosslatent.analysis.data import RunData, solved_by_any
from crosslatent.analysis.items import Mask
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import Component
from crosslatent.runs.contents import readable
from crosslatent.selectors.base import (
    AUX_COST,
    FIXED_COST,
    NOT_RUN,
    VANILLA_COST,
    Fitted,
    Selection,
    Selector,
)
from crosslatent.selectors.coverage import check_same_setting, covered, lacking
from crosslatent.selectors.kinds.pilot import REFERENCE
from crosslatent.selectors.ratio import ratio
from crosslatent.selectors.registry import ALL, SELECTORS, selectors_of
from crosslatent.selectors.results import MOST_COST, Baseline, Evaluation, SelectorResult, Used
from crosslatent.selectors.samples import sampled_majorities
from crosslatent.selectors.splits import Key, Split, first_to_test, same_text, split_to_tune
from crosslatent.selectors.strict import CONTROLS, room
from crosslatent.selectors.table import prompts_of, read_table
from crosslatent.stats import (
    RESAMPLES,
    Estimate,
    Floats,
    cluster_permutation,
    clustered_mean,
    holm,
    paired_difference,
)

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader

_MOST_USED = 3
SURER = {
    "surer": "answer both prompts, keep the likelier answer",
    "surer_calibrated": "the same, with a margin fitted on the tuning split",
}


@readable()
def evaluate_run(
    reader: RunReader,
    selectors: Sequence[Selector],
    *,
    other: RunReader | None = None,
    components: Sequence[Component] | None = None,
    tune: str = "pilot",
    test: str | None = None,
    seed: int = 0,
    text_key: Key | None = None,
    allow_training_data: bool = False,
) -> tuple[Evaluation, dict[str, Fitted]]:
    """Fit selectors on a split of one run, and test them on a split of the same or another run.

    Args:
        reader: the run to fit on.
        selectors: what to fit; the fixed pilot pair is added if it is not among them.
        other: the run to test on; None = the same.
        components: what candidates carry; None = every component of the run.
        tune: split to fit on.
        test: split to test on; None = the first of the other splits that can be tested on.
        seed: of the intervals.
        text_key: what prompts are known again by (`tasks.fingerprints.text_key`): questions with a
            prompt of the tuning split are left out, as those of one of its facts are; None to go by
            facts alone.
        allow_training_data: test on these questions too; see `Evaluation.trained_on`.

    Returns:
        The evaluation, and the fitted selectors by name.

    Raises:
        RunFolderError: a split has no questions with gold answers and rows.
        UsageError: the two runs are of other models, directions or rules.
    """
    data = RunData(reader)
    tested = data if other is None else RunData(other)
    return evaluate_data(
        data,
        selectors,
        tested=tested,
        components=components,
        tune=tune,
        test=test,
        seed=seed,
        text_key=text_key,
        allow_training_data=allow_training_data,
    )


def evaluate_data(
    data: RunData,
    selectors: Sequence[Selector],
    *,
    tested: RunData | None = None,
    components: Sequence[Component] | None = None,
    tune: str = "pilot",
    test: str | None = None,
    seed: int = 0,
    text_key: Key | None = None,
    allow_training_data: bool = False,
) -> tuple[Evaluation, dict[str, Fitted]]:
    """`evaluate_run` for run folders that are open already; for the report, above all."""
    tested = tested or data
    check_same_setting(data.manifest, tested.manifest, tested.reader.path.name)
    table = read_table(data, components)
    there = table if tested is data else read_table(tested, components)
    tuning = split_to_tune(table, tune, data.reader.path.name)
    run, splits = tested.reader.path.name, [test] if test else []
    if test is None:
        # Another run may be tested on the same split, if nothing else is there.
        splits = [name for name in tested.items.splits if name != tune]
        splits += [] if tested is data else [tune]
    same = None
    if text_key is not None:
        same = same_text(tuning, prompts_of(data), prompts_of(tested), text_key)
        if tested is data:
            # Within one run its clusters say which questions are one, where they say anything.
            same &= there.seen.cluster == np.array(there.seen.ids)
    testing, shared, found = first_to_test(
        there, splits, tuning, run, same_text=same, allow=allow_training_data
    )
    samples = sampled_majorities(tested, within=int(MOST_COST))
    evaluation, fitted = evaluate(
        tuning,
        testing,
        selectors,
        seed=seed,
        samples=samples,
        surer=_surer(data, tuning.mask, tested),
    )
    return (
        replace(
            evaluation,
            tuned_on=data.reader.path.name,
            tested_on=run,
            tune=tune,
            test=found,
            left_out=0 if allow_training_data else shared,
            trained_on=shared if allow_training_data else 0,
            missing=[*evaluation.missing, *other_ways.missing(tested)],
        ),
        fitted,
    )


def evaluation_of(
    data: RunData, *, tune: str = "pilot", test: str | None = None, seed: int = 0
) -> tuple[Evaluation | None, str | None]:
    """All selectors on one run, for its report.

    Args:
        data: the run folder, opened.
        tune: split to fit on.
        test: split to test on; None = the first of the run's other splits that can be tested on.
        seed: of the intervals.

    Returns:
        The evaluation and None; or None and why there is none, None if the run has no pairs to
        choose from.

    Raises:
        UsageError: a selector of another package cannot be loaded.
    """
    selectors = selectors_of(ALL)
    if not data.components:
        return None, None
    try:
        return evaluate_data(data, selectors, tune=tune, test=test, seed=seed)[0], None
    except UsageError as error:
        return None, f"No selectors: {error}"


def evaluate(
    tuning: Split,
    testing: Split,
    selectors: Sequence[Selector],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    samples: Mapping[int, Floats] | None = None,
    surer: Mapping[str, Floats] | None = None,
) -> tuple[Evaluation, dict[str, Fitted]]:
    """`evaluate_run` for tables that are open already.

    Args:
        tuning: what selectors are fitted on.
        testing: what they are tested on.
        selectors: what to fit.
        seed: of the intervals.
        resamples: number of bootstrap resamples.
        samples: right or wrong of majorities of samples, by their number, (items of the table,).
        surer: right or wrong of the surer of both prompts, raw and calibrated, (items of the
            table,).

    Raises:
        UsageError: two selectors have the same name, or no pilot pair can be fitted.
    """
    wanted: dict[str, Selector] = {}
    for selector in (REFERENCE, *selectors):
        there = wanted.setdefault(selector.name, selector)
        if there != selector:
            raise UsageError(
                f"Two selectors are called {selector.name!r} ({SELECTORS.name_of(type(there))} and "
                f"{SELECTORS.name_of(type(selector))}): give one of them another name."
            )
    fitted, missing = _fit_all(tuning, list(wanted.values()))
    score = _Score(testing, fitted[REFERENCE.name], seed, resamples)
    reasons = {name: lacking(fit, score.seen) for name, fit in fitted.items()}
    missing += [f"{name}: {reason}" for name, reason in reasons.items() if reason]
    found = [score.of(wanted[name], fit) for name, fit in fitted.items() if not reasons[name]]
    corrected = holm([result.p_value for result in found]).adjusted
    baselines = score.baselines(samples or {}, surer or {})
    missing += _without_controls(testing, found, score)
    if not samples:
        missing.append("No sampling baseline: the run holds no samples of the unmodified model.")
    return Evaluation(
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
            replace(one, p_holm=p, alike=score.alike(one.name))
            for one, p in zip(found, corrected, strict=True)
        ],
        baselines=baselines,
        missing=missing,
        strict_controls=list(score.controls),
        strict_missing=[name for name in CONTROLS if name not in score.controls],
    ), fitted


def _without_controls(
    testing: Split, found: Sequence[SelectorResult], score: _Score
) -> Iterator[str]:
    """What is not known because controls were not run."""
    if not testing.table.shuffled:
        yield "Nothing is compared with shuffled vectors: the control shuffled was not run."
    elif all(result.over_shuffled is None or not result.over_shuffled.n for result in found):
        yield (
            "Nothing is compared with shuffled vectors: no question has shuffled rows of the same "
            "pairs in every stratum that it needs."
        )
    if not score.controls:
        yield f"No strict room: none of {', '.join(CONTROLS)} was run over the same pairs."


def _surer(data: RunData, tuned: Mask, tested: RunData) -> dict[str, Floats]:
    """The surer of both prompts on the tested run: without a margin, and with a fitted one."""
    margin = other_ways.best_margin(data, tuned)
    ways = {"surer": other_ways.surer(tested)}
    return ways if margin is None else ways | {"surer_calibrated": other_ways.surer(tested, margin)}


def _fit_all(tuning: Split, selectors: Sequence[Selector]) -> tuple[dict[str, Fitted], list[str]]:
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


class _Score:
    """Scores fitted selectors on one split; what they share is computed once."""

    def __init__(self, testing: Split, reference: Fitted, seed: int, resamples: int) -> None:
        self.table, self.mask = testing.table, testing.mask
        self.clusters = testing.clusters
        self.seen = self.table.seen.take(self.mask)
        self.labels = self.table.labels.take(self.mask)
        self.seed, self.resamples = seed, resamples
        self.bound = solved_by_any(self.labels.correct, 1)
        self.vanilla = self.labels.vanilla
        self.reference = self.right(reference.choose(self.seen))
        """NaN where the pilot pair was not run: then nothing is compared with it."""
        known = {name: solved[self.mask] for name, solved in self.table.controls.items()}
        self.controls = {n: solved for n, solved in known.items() if not np.isnan(solved).all()}
        self.room = room(self.bound, self.controls)
        self.outcomes: dict[str, tuple[bytes, ...]] = {}
        """What every selector is right on: those alike are one line of a table."""

    def right(self, selection: Selection) -> Floats:
        """Right or wrong of what was chosen, shape (items,)."""
        return selection.outcome(self.labels.correct, self.labels.vanilla)

    def of(self, selector: Selector, fitted: Fitted) -> SelectorResult:
        """One selector."""
        selection = fitted.choose(self.seen)
        right, shuffled = self.right(selection), self._shuffled(fitted)
        gap = self.bound - self.vanilla
        left = np.where(selection.choice == NOT_RUN, np.nan, selection.abstained)
        alone = selector.name == REFERENCE.name or np.isnan(self.reference).all()
        columns = (right, left) if shuffled is None else (right, left, shuffled)
        self.outcomes[selector.name] = tuple(np.nan_to_num(c, nan=-1).tobytes() for c in columns)
        return SelectorResult(
            name=selector.name,
            about=selector.about,
            accuracy=self._mean(right),
            gain=self._difference(right, self.vanilla),
            recovered=self._ratio(right - self.vanilla, gap),
            shuffled_gain=None if shuffled is None else self._difference(shuffled, self.vanilla),
            over_shuffled=None if shuffled is None else self._difference(right, shuffled),
            strict_room=self._strict(right),
            versus_pilot=None if alone else self._difference(right, self.reference),
            p_value=None if alone else self._p_value(right),
            p_holm=None,
            cost=float(selection.cost.mean()),
            abstained=self._mean(left),
            used=self._used(selection),
            report=dict(fitted.report),
        )

    def alike(self, name: str) -> list[str]:
        """Other selectors that are right on, and leave unmodified, the same questions."""
        own = self.outcomes[name]
        return [other for other, found in self.outcomes.items() if found == own and other != name]

    def _strict(self, right: Floats) -> Estimate | None:
        return None if self.room is None else self._mean(self.room * (1 - right))

    def _shuffled(self, fitted: Fitted) -> Floats | None:
        """Right or wrong of the same selector where donors are drawn blindly, shape (items,)."""
        whole = {}
        for stratum, (seen, labels) in self.table.shuffled.items():
            part = seen.take(self.mask)
            right = fitted.choose(part).outcome(
                labels.correct[self.mask], labels.vanilla[self.mask]
            )
            # Without a donor there is nothing to choose from: that is missing, and no abstention.
            values = np.full(len(self.mask), np.nan)
            values[self.mask] = np.where(covered(fitted, self.seen, part), right, np.nan)
            whole[stratum] = values
        blind = self.table.blind(whole)
        return None if blind is None else blind[self.mask]

    def baselines(
        self, samples: Mapping[int, Floats], surer: Mapping[str, Floats]
    ) -> list[Baseline]:
        """Every other way to answer; those that the run has nothing of are left out."""
        items = self.table.items
        best = np.full(len(self.mask), np.nan)
        best[self.mask] = majority(items, self.mask)
        ways: list[tuple[str, str, Floats, float | None]] = [
            ("vanilla", "the unmodified model", self.vanilla, 1.0),
            (
                "translate_test",
                "answer the counterpart instead",
                items.translate_test[self.mask],
                AUX_COST,
            ),
            *(
                (name, SURER[name], right[self.mask], VANILLA_COST + AUX_COST)
                for name, right in surer.items()
            ),
            ("majority", "the commonest right option, in hindsight", best[self.mask], None),
            (
                "random_pair",
                "any pair, the same chance for each",
                self._random(),
                FIXED_COST,
            ),
        ]
        for number, right in samples.items():
            about = f"majority of {number} sampled answers"
            ways.append((f"samples-{number}", about, right[self.mask], float(number)))
        about = "any pair solves it: an oracle, which knows the answer"
        ways.append(("upper_bound", about, self.bound, None))
        return [
            Baseline(
                name,
                about,
                self._mean(right),
                self._difference(right, self.vanilla),
                cost,
                self._strict(right),
            )
            for name, about, right, cost in ways
            if not np.isnan(right).all()
        ]

    def _random(self) -> Floats:
        """Mean over the candidates of each item, shape (items,)."""
        known = ~np.isnan(self.labels.correct)
        total = np.where(known, self.labels.correct, 0).sum(axis=1)
        mean: Floats = total / np.maximum(known.sum(axis=1), 1)
        return mean

    def _used(self, selection: Selection) -> list[Used]:
        places, counts = np.unique(selection.choice[selection.choice >= 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_MOST_USED]
        pairs = [(self.seen.pairs[int(places[k])], int(counts[k])) for k in order]
        return [Used(pair.component, pair.source, pair.target, n) for pair, n in pairs]

    def _mean(self, values: Floats) -> Estimate:
        return clustered_mean(values, self.clusters, seed=self.seed, resamples=self.resamples)

    def _difference(self, new: Floats, old: Floats) -> Estimate:
        return paired_difference(new, old, self.clusters, seed=self.seed, resamples=self.resamples)

    def _ratio(self, above: Floats, below: Floats) -> Estimate:
        return ratio(above, below, self.clusters, seed=self.seed, resamples=self.resamples)

    def _p_value(self, right: Floats) -> float | None:
        """Of the difference to the pilot pair, by exchanging the two in whole clusters."""
        test = cluster_permutation(
            right, self.reference, self.clusters, seed=self.seed, permutations=self.resamples
        )
        return test.p_two_sided
