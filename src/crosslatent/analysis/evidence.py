"""What speaks for and against a run's figures, as plain frozen data: docs/methods.md 5.

``lang`` is a language or ``all``, ``split`` a split of the task, as in `results`. Every p-value is
two-sided and None where it is undefined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosslatent.core.specs import Component
from crosslatent.stats import (
    Detectable,
    Estimate,
    OddsRatio,
    PairedMethod,
    PermutationTest,
    SplitHalf,
)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A p-value and what is left of it among the tests that were made together.

    Attributes:
        p_value: None where the test is undefined: nothing changed.
        holm, benjamini_hochberg: adjusted for the tests of the family: the first bounds the chance
            of any false alarm, the second the share of false alarms among findings. None for a
            comparison that was declared beforehand, which is not adjusted.
        family: which tests were made together; empty for a declared comparison.
        tests: how many of them had a p-value.
    """

    p_value: float | None
    holm: float | None
    benjamini_hochberg: float | None
    family: str
    tests: int


@dataclass(frozen=True, slots=True)
class Rival:
    """The union over a control that knows nothing of the gold answer, beside the true one.

    Attributes:
        control: as `results.control_name` names it.
        difference: true minus control, on the same questions and pairs.
        test: permutation test that swaps true and control by cluster.
    """

    control: str
    true: Estimate
    union: Estimate
    difference: Estimate
    test: PermutationTest


@dataclass(frozen=True, slots=True)
class OverControls:
    """The upper bound minus the strongest control that knows nothing of the gold answer.

    The strongest is the one that leaves least: its difference is the smallest. True transplants
    must beat each control, so no correction for their number is due (intersection-union test).

    Attributes:
        p_value: the largest of the rivals' two-sided p-values.
        rivals: all of them, strongest first.
        not_run: controls of this kind that the run lacks.
    """

    component: Component
    strongest: Rival
    p_value: float | None
    rivals: list[Rival]
    not_run: list[str]


@dataclass(frozen=True, slots=True)
class PairEffect:
    """How large the difference between the picked pair and the unmodified run is, in one group.

    Attributes:
        gain: risk difference, with the interval that resamples clusters.
        cohens_h: the same on the arcsine scale; 0.2 is called small, 0.8 large.
        odds_ratio: repaired / broken.
        detectable: the smallest gain that a sample like this one can be expected to show.
        test: that answers changed, by clusters (`stats.paired_test`); `method` names it.
    """

    split: str
    lang: str
    gain: Estimate
    cohens_h: Estimate
    odds_ratio: OddsRatio
    detectable: Detectable
    test: Corrected
    method: PairedMethod


@dataclass(frozen=True, slots=True)
class Shared:
    """Questions of a test split about a fact that the tuning split asks about, too.

    Attributes:
        questions, clusters: how many they are.
        without: the pooled effect when they are left out; None if nothing is left.
    """

    questions: int
    clusters: int
    without: PairEffect | None


@dataclass(frozen=True, slots=True)
class Significance:
    """The pair picked over all languages against the unmodified run, on one test split.

    Attributes:
        declared: this comparison was declared as the headline, so its own p-value is not adjusted.
        overall: languages together; `by_language`: each, adjusted for their number.
        shared: None if no fact occurs in both splits.
    """

    component: Component
    split: str
    declared: bool
    overall: PairEffect
    by_language: list[PairEffect]
    shared: Shared | None


@dataclass(frozen=True, slots=True)
class LayerTest:
    """Union over the pairs of one layer, true against the strongest control.

    Attributes:
        side: ``source`` or ``target``: which of the two the layer is.
        test: permutation test by cluster, adjusted for all layers of both sides.
    """

    component: Component
    control: str
    side: str
    layer: int
    difference: Estimate
    test: Corrected


@dataclass(frozen=True, slots=True)
class LayerGain:
    """One layer on one side of the grid.

    Attributes:
        mean: mean gain of its pairs.
        margin: its mean gain minus that of the other layers of the same side.
    """

    layer: int
    mean: Estimate
    margin: Estimate


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """Which layers matter as source and as target, over all languages.

    Attributes:
        split: the questions that it is of: those that gains are shown on, or ``all``.
        by_source, by_target: the layers that were run.
        effective_sources, effective_targets: number of layers that the gain is spread over:
            1 / sum of squared shares, where a layer's share is its mean gain out of the sum of the
            positive ones. None where no layer gains.
        source_share, target_share, rest_share: parts of the grid's variance that go with the
            source layer, with the target layer, and with neither (their interplay and noise). None
            where a pair was not run or all are alike.
    """

    component: Component
    split: str
    by_source: list[LayerGain]
    by_target: list[LayerGain]
    effective_sources: float | None
    effective_targets: float | None
    source_share: float | None
    target_share: float | None
    rest_share: float | None


@dataclass(frozen=True, slots=True)
class GridStability:
    """Does half of the facts rank the pairs by their gain as the other half does?"""

    component: Component
    halves: SplitHalf


@dataclass(frozen=True, slots=True)
class PickStability:
    """Does the same pair win when the facts that it was picked on are drawn again?

    Attributes:
        pair: the picked one, (source, target).
        share: resamples in which it wins; `same_source`, `same_target`: in which a pair with its
            source, or its target, does.
        winners: (source, target, share), the five most frequent ones.
    """

    component: Component
    split: str
    pair: tuple[int, int]
    share: float
    same_source: float
    same_target: float
    winners: list[tuple[int, int, float]]
    resamples: int
    n: int
    clusters: int
    seed: int


@dataclass(frozen=True, slots=True)
class LanguageFigures:
    """A language's gain, and what it has in common with the language on the other side.

    Attributes:
        other: language of the counterpart (of the question, where counterparts differ).
        resource_class: 0 to 5 (Joshi et al. 2020).
        gain: at the pooled pair on the test split; `over_control`: upper bound minus the strongest
            control. None where not run.
    """

    component: Component
    lang: str
    other: str
    typological_distance: float | None
    same_script: bool | None
    text_overlap: float | None
    resource_class: int | None
    gain: Estimate | None
    over_control: Estimate | None


@dataclass(frozen=True, slots=True)
class LanguageCorrelation:
    """Spearman correlation over languages.

    Attributes:
        figure: ``gain`` or ``over_control``.
        trait: typological_distance, same_script, text_overlap or resource_class.
        rho: None where undefined; then `missing` says why.
        test: permutation test, adjusted for all correlations of the run.
        permutations: drawn, or the number of all of them where they are few.
    """

    component: Component
    figure: str
    trait: str
    rho: float | None
    languages: int
    test: Corrected
    permutations: int
    seed: int
    missing: str


@dataclass(frozen=True, slots=True)
class OtherWay:
    """One way to answer against the best pair of layers, chosen in hindsight on the same questions.

    Attributes:
        name: translate_test, surer, surer_calibrated, or preset: the paper's pair for the type of
            the task.
        split: the questions looked at.
        pair: of a preset, (component, source, target); else None.
        accuracy: share of right answers; `gain`: minus that of the unmodified model.
        best: the pair that is right most often of all that were run on all of these questions;
            None if there is none. `best_accuracy`: its share; `over_best`: this way minus that.
        measured_by: of the surer of both prompts, by what it is known how likely answers were, and
            in how many questions (`surer.OF_OPTIONS`, `surer.OF_TEXTS`); empty for other ways.
    """

    name: str
    split: str
    pair: tuple[Component, int, int] | None
    accuracy: Estimate
    gain: Estimate
    best: tuple[Component, int, int] | None
    best_accuracy: Estimate | None
    over_best: Estimate | None
    measured_by: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpelledGroup:
    """Open questions whose right answer is spelled alike in both languages, or those where not.

    Attributes:
        gain: the picked pair minus the unmodified run.
        donor: the same with the vector of another question, drawn blindly; `over_donor`: the true
            counterpart minus that. None where no such donor was run.
        languages: how many of the questions are in each.
    """

    vanilla: Estimate
    gain: Estimate
    donor: Estimate | None
    over_donor: Estimate | None
    languages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Spelling:
    """What the pair picked over all languages gains, by how the right answer is spelled.

    Attributes:
        same: a gold answer in the language of main is one in the language of aux, too.
        other: none is.
        difference: gain of `same` minus gain of `other`.
        unknown: open questions left out, as the answer in the language of aux is not known.
    """

    component: Component
    split: str
    in_sample: bool
    same: SpelledGroup
    other: SpelledGroup
    difference: Estimate
    unknown: int
