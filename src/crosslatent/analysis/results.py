"""Results of the analysis of a run folder, as plain frozen data that turns into JSON.

Shares, accuracies and gains are fractions of 1. ``lang`` is a language or ``ALL``; ``split`` is
a split of the task or ``ALL``. What could not be computed is None or left out of its list, and
``RunSummary.missing`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crosslatent.analysis.across import ModuleClaim, Repeat
from crosslatent.analysis.conditions import ConditionFigures
from crosslatent.analysis.evidence import (
    GridStability,
    LanguageCorrelation,
    LanguageFigures,
    LayerProfile,
    LayerTest,
    OtherWay,
    OverControls,
    PickStability,
    Significance,
    Spelling,
)
from crosslatent.analysis.grades import (
    Fidelity,
    FidelityAtPair,
    RuleAccuracy,
    Score,
    ScoreAtPair,
)
from crosslatent.analysis.select import Choice
from crosslatent.analysis.unions import BoundVersus, PassAtK, UpperBound
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, PairedMethod

ALL = "all"
SCHEMA_VERSION = 4

Matrix = list[list[float | None]]
"""[source][target]; None where the pair was not run."""


EVERY_CONTROL = ("shuffled/same_answer", "shuffled/different_answer", "noise", "mean", "self")


def control_name(control: str, stratum: str | None) -> str:
    """A control with its stratum, as it is named in figures: ``shuffled/same_answer``."""
    return f"{control}/{stratum}" if stratum else control


@dataclass(frozen=True, slots=True)
class Headline:
    """The claim declared before any row exists: tuned on one split, tested on another.

    Attributes:
        component: what is transplanted.
        tune: split that the pair is picked on, languages pooled.
        test: split that the gain is measured on.
        task: name of the task; None = the run that carries the headline.
        least_gain: the gain that was aimed at.
        controls: controls that the claim must hold against, as `control_name` names them.
    """

    component: Component = "ffn"
    tune: str = "pilot"
    test: str = "final"
    task: str | None = None
    least_gain: float = 0.15
    controls: tuple[str, ...] = EVERY_CONTROL


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the run holds.

    Attributes:
        items: questions with at least one row.
        clusters: independent facts among them.
        not_run: questions of the run without any row (failed, or still to do).
        failures: questions that failed.
        without_gold: questions without a gold answer.
        without_donor: by stratum of the shuffled control, questions that no donor was found for.
        near_ties: rows whose smallest margin is below `near_tie_margin` (logits):
            another batch size may give another output.
        near_ties_settled: rows as close that were answered again in float32, one by one.
        not_finite: rows with a logit that was NaN or infinite.
        respelled: questions with an option (or gold answer) whose tokens are not those that it has
            in one text with its prompt, see the column of that name.
        repeats: sentences on questions that are asked twice.
        same_last_token: questions whose two prompts end in the same token.
        with_labels: questions whose gold answer is an option with a text behind its mark.
        with_options: questions with options.
    """

    items: int
    clusters: int
    languages: list[str]
    items_by_split: dict[str, int]
    not_run: int
    failures: int
    without_gold: int
    without_donor: dict[str, int]
    rows: int
    near_ties: int
    near_ties_settled: int
    near_tie_margin: float
    not_finite: int
    repeats: list[str]
    respelled: int = 0
    same_last_token: int = 0
    with_labels: int = 0
    with_options: int = 0


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of one way of answering, on one split and language.

    Attributes:
        name: vanilla, translate_test, surer (the surer of these two answers), surer_calibrated
            (the same with a margin fitted on the tuning split), majority (the option that is right
            most often in this split and language, known only in hindsight), or
            majority_by_relation (the same within each value of the stratum ``relation``).
        unparseable: share of outputs that name no option; None for open answers.
    """

    name: str
    split: str
    lang: str
    accuracy: Estimate
    unparseable: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """True transplants of one component, pair by pair, on one split and language.

    Attributes:
        accuracy: share of right answers; None cells without gold answers.
        gain: accuracy minus vanilla on the same questions; `gain_low`, `gain_high` its interval.
        changed: share of outputs that differ from the unmodified one.
        vanilla: accuracy of the unmodified run on the same questions.
    """

    component: Component
    split: str
    lang: str
    vanilla: Estimate
    accuracy: Matrix
    gain: Matrix
    gain_low: Matrix
    gain_high: Matrix
    changed: Matrix
    n: int
    clusters: int
    seed: int


@dataclass(frozen=True, slots=True)
class ControlAtPair:
    """One control at the picked pair, on the questions that have it.

    The control ``shuffled`` with the stratum ``any`` is computed and not run: what a donor gives on
    average that is drawn without a look at its answer.

    Attributes:
        accuracy: of the control.
        gain: control minus vanilla.
        difference: true transplant minus control.
        identity: the control is the unmodified run by definition (``self`` at source = target).
    """

    control: str
    stratum: str | None
    accuracy: Estimate
    gain: Estimate
    difference: Estimate
    identity: bool


@dataclass(frozen=True, slots=True)
class StratumGain:
    """Gain among the questions whose stratum `name` has this `value`."""

    name: str
    value: str
    vanilla: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class PairTest:
    """The picked pair against the unmodified run, on one split and language.

    Attributes:
        in_sample: the split is the one that the pair was picked on, so the gain is optimistic.
        repaired, broken: wrong -> right and right -> wrong.
        p_value: of that change, by clusters (`stats.paired_test`); None if nothing changed.
        p_method: the test that gave it.
        changed_clusters: independent groups in which any answer was repaired or broken.
        repaired_format: repaired where the unmodified output named no option.
        repaired_content: repaired where it named a wrong option.
        broken_unparseable: broken where the new output names no option.
        vanilla_unparseable, unparseable: share of outputs that name no option, before and after.
            These five are None for open answers.
    """

    split: str
    lang: str
    in_sample: bool
    vanilla: Estimate
    transplant: Estimate
    gain: Estimate
    repaired: int
    broken: int
    p_value: float | None
    p_method: PairedMethod
    changed_clusters: int
    repaired_format: int | None
    repaired_content: int | None
    broken_unparseable: int | None
    vanilla_unparseable: Estimate | None
    unparseable: Estimate | None
    controls: list[ControlAtPair]
    strata: list[StratumGain]


@dataclass(frozen=True, slots=True)
class Picked:
    """Pairs picked on the pilot split and tested on the others.

    Attributes:
        pooling: ``pooled`` = one pair for all languages; ``per_language`` = one for each.
        choices: by language, or one under ``ALL``.
    """

    component: Component
    pooling: str
    choices: dict[str, Choice]
    tests: list[PairTest]


@dataclass(frozen=True, slots=True)
class Follow:
    """How often the output takes up the answer of a donor whose answer is a different one.

    Attributes:
        pair: (source, target); None = mean over all pairs run.
        share: outputs that give the donor's answer.
        vanilla_share: unmodified outputs that would have given it anyway.
    """

    component: Component
    split: str
    pair: tuple[int, int] | None
    share: Estimate
    vanilla_share: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Cost:
    """What the rows cost. Seconds are wall time of the rows' forward passes and decoding."""

    rows: int
    rows_by_control: dict[str, int]
    rows_by_path: dict[str, int]
    generated_tokens: int
    prompt_tokens: int
    seconds: float | None
    rows_per_second: float | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Everything that one run folder says.

    Attributes:
        rule: the answer rule that says what is right.
        metric: the figure that counts in the task: ``accuracy``, or one of `scores`.
        rules: the unmodified outputs under every rule that fits, the task's own first.
        ways: other ways to answer beside the best pair, on the split that figures are shown of.
        spelling: gains of open questions by how their answers are spelled; empty without any.
        exploratory: what of the figures was defined after rows of the task had been seen, as the
            run says: `EXPLORATORY`.
        conditions: interventions that are the same for all questions, beside the unmodified model.
    """

    name: str
    task: str
    title: str
    direction: str
    type: str
    rule: str
    metric: str
    model: str
    n_layers: int
    created: str | None
    versions: Mapping[str, str]
    run_seed: int | None
    positions: int
    strength: float
    components: list[Component]
    coverage: Coverage
    accuracy: list[Accuracy]
    grids: list[Grid]
    upper_bounds: list[UpperBound]
    bounds_versus: list[BoundVersus]
    pass_at_k: list[PassAtK]
    over_controls: list[OverControls]
    layer_tests: list[LayerTest]
    layers: list[LayerProfile]
    picked: list[Picked]
    significance: list[Significance]
    grid_stability: list[GridStability]
    pick_stability: list[PickStability]
    languages: list[LanguageFigures]
    correlations: list[LanguageCorrelation]
    scores: list[Score]
    scores_at_pair: list[ScoreAtPair]
    fidelity: list[Fidelity]
    fidelity_at_pair: list[FidelityAtPair]
    rules: list[RuleAccuracy]
    follow: list[Follow]
    cost: Cost
    missing: list[str]
    ways: list[OtherWay]
    spelling: list[Spelling]
    exploratory: list[str]
    conditions: list[ConditionFigures]


@dataclass(frozen=True, slots=True)
class HeadlineResult:
    """What came of the declared headline.

    Attributes:
        p_value, p_method, changed_clusters: of the change, as in `PairTest`.
        conditions: each condition declared beforehand, and whether it holds; None = could not be
            judged, because something that it needs was not run.
        holds: every condition holds.
    """

    declared: Headline
    run: str
    task: str
    source: int
    target: int
    vanilla: Estimate
    transplant: Estimate
    gain: Estimate
    repaired: int
    broken: int
    p_value: float | None
    p_method: PairedMethod
    changed_clusters: int
    n: int
    clusters: int
    controls: list[ControlAtPair]
    conditions: dict[str, bool | None]
    holds: bool
    warning: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The analysis of one or more run folders, as written to summary.json.

    Attributes:
        modules: attention against feed-forward; None if no run can tell anything of it.
        repeats: runs of one task on one model, two by two.
    """

    schema_version: int
    seed: int
    confidence: float
    resamples: int
    headline: HeadlineResult | None
    headline_missing: str | None
    modules: ModuleClaim | None
    repeats: list[Repeat]
    runs: list[RunSummary]
