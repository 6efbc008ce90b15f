"""What an evaluation of selectors says, as plain frozen data that turns into JSON.

Shares are fractions of 1; costs are forward passes relative to one unmodified answer (`base`).
What could not be computed is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosslatent.stats import Estimate

MOST_COST = 10.0
"""What a selector may cost to count as one to use, in unmodified answers."""


@dataclass(frozen=True, slots=True)
class Used:
    """A pair and how many questions got it."""

    component: str
    source: int
    target: int
    n: int


@dataclass(frozen=True, slots=True)
class SelectorResult:
    """One selector, fitted on the tuning split, on the test split.

    Attributes:
        name: of the selector.
        about: what it does.
        accuracy: share of right answers.
        gain: accuracy minus the unmodified model's.
        recovered: gain over the gap between the unmodified model and the upper bound.
        shuffled_gain: gain of the same fitted selector on the rows of the shuffled control, for a
            donor drawn without a look at its answer; None if the control was not run. Missing where
            the shuffled rows do not cover the pairs that the selector looks at.
        over_shuffled: right minus right on those rows, a difference. Attribution scores and the
            answer to aux are those of the true counterpart on shuffled rows too.
        strict_room: share of questions that some true pair solves and neither the selected pair nor
            any pair of any of the evaluation's `strict_controls`; None if there are none.
        versus_pilot: accuracy minus that of the fixed pilot pair; None for that pair itself, and
            where it was not run.
        p_value: of `versus_pilot`, by exchanging the two in whole clusters; `p_holm` corrected for
            all selectors compared with it. None where no question differs.
        cost: forward passes for one question.
        abstained: share of questions whose answer was left unmodified.
        other: share of questions that got the answer to aux.
        used: the pairs chosen most often.
        report: what fitting measured: accuracy on the tuning split (for learned selectors in
            nested cross-validation), the share of rows that halving would have used, settings.
        alike: names of the other selectors that are right on the same questions, on shuffled rows
            too, and leave the same ones unmodified.
    """

    name: str
    about: str
    accuracy: Estimate
    gain: Estimate
    recovered: Estimate
    shuffled_gain: Estimate | None
    over_shuffled: Estimate | None
    strict_room: Estimate | None
    versus_pilot: Estimate | None
    p_value: float | None
    p_holm: float | None
    cost: float
    abstained: Estimate
    other: Estimate
    used: list[Used]
    report: Mapping[str, float]
    alike: list[str] = field(default_factory=list)

    @property
    def affordable(self) -> bool:
        """It costs no more than `MOST_COST`."""
        return self.cost <= MOST_COST

    @property
    def beats_pilot(self) -> bool:
        """At an affordable cost, better than the pilot pair, corrected for all that were tried.

        The interval must be above zero, and the corrected p-value below 5 %: where few answers
        differ, a bootstrap interval alone is too short. The gain over the unmodified model must be
        above zero too: leaving answers alone beats a pair that does harm, and is no choice.
        """
        return self.above_pilot and self.gain.above_zero

    @property
    def above_pilot(self) -> bool:
        """`beats_pilot` without a look at the unmodified model."""
        above = self.versus_pilot is not None and self.versus_pilot.above_zero
        return self.affordable and above and self.p_holm is not None and self.p_holm < 0.05

    @property
    def differs(self) -> bool:
        """Some question is right with it and wrong with the pilot pair, or the other way round."""
        return self.versus_pilot is not None and self.p_value is not None

    @property
    def recovers_half(self) -> bool:
        """At an affordable cost, more than half of the gap, and more than shuffled vectors do.

        The whole interval of the share lies above one half (or there is no variation to make one
        from), and that of `over_shuffled` above zero.
        """
        share = self.recovered
        low = share.low if share.low is not None else share.value if share.above_zero else None
        over = self.over_shuffled is not None and self.over_shuffled.above_zero
        return self.affordable and over and low is not None and low > 0.5


@dataclass(frozen=True, slots=True)
class Baseline:
    """Another way to answer the same questions.

    Attributes:
        name: vanilla, translate_test, surer and surer_calibrated (of both prompts), majority
            (hindsight), random_pair, samples-K or upper_bound.
        about: what it is.
        accuracy: share of right answers.
        gain: accuracy minus the unmodified model's.
        cost: in unmodified answers; None for baselines that cannot be run (upper bound, hindsight).
        strict_room: as of a selector: what some true pair solves, and neither this nor a control.
    """

    name: str
    about: str
    accuracy: Estimate
    gain: Estimate
    cost: float | None
    strict_room: Estimate | None = None


@dataclass(frozen=True, slots=True)
class SelectorEvaluation:
    """Selectors fitted on one split and tested on another.

    Attributes:
        tuned_on, tested_on: names of the run folders.
        tune, test: the splits.
        components: what candidates carry.
        candidates: number of candidate pairs.
        tune_items: questions that selectors were fitted on.
        items, clusters: questions tested, and independent facts among them.
        left_out: questions of the test split whose cluster or text is also in the tuning split.
        seed: of the intervals.
        missing: what could not be fitted or computed, and why.
        trained_on: of `items`, those whose cluster or text is also in the tuning split, where
            they were not left out: then nothing is concluded.
        strict_controls: controls that `strict_room` takes into account: those that were run over
            the same pairs. `strict_missing`: the others.
        divided: how questions were divided where the run has no splits; else empty.
    """

    tuned_on: str
    tested_on: str
    tune: str
    test: str
    components: list[str]
    candidates: int
    tune_items: int
    items: int
    clusters: int
    left_out: int
    seed: int
    selectors: list[SelectorResult]
    baselines: list[Baseline]
    missing: list[str] = field(default_factory=list)
    trained_on: int = 0
    strict_controls: list[str] = field(default_factory=list)
    strict_missing: list[str] = field(default_factory=list)
    divided: str = ""

    def baseline(self, name: str) -> Baseline | None:
        """A baseline by its name."""
        return next((found for found in self.baselines if found.name == name), None)
