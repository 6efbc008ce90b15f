"""The analysis of one run folder, as plain frozen data that turns into JSON.

Shares, accuracies and gains are fractions of 1. ``lang`` is a language or ``ALL``; ``split`` is
a split of the task or ``ALL``. What could not be computed is None or left out of its list, and
``RunSummary.missing`` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from crosslatent.analysis import passk
from crosslatent.analysis.accuracy import (
    Accuracy,
    ConditionFigures,
    PairGrid,
    accuracies,
    conditions,
    grids,
)
from crosslatent.analysis.bounds import (
    BoundVersus,
    LayerTest,
    OverControls,
    UpperBound,
    bound_versus,
    controls,
    layer_tests,
    over_controls,
    upper_bound,
)
from crosslatent.analysis.carried import Follow, Spelling, follows, spellings
from crosslatent.analysis.data import RunData
from crosslatent.analysis.gain_split import GainSplit, gain_splits
from crosslatent.analysis.gain_split import missing as missing_parts
from crosslatent.analysis.grades import (
    Fidelity,
    FidelityAtPair,
    Graded,
    MeanScore,
    RuleAccuracy,
    ScoreAtPair,
)
from crosslatent.analysis.headline import Headline
from crosslatent.analysis.inference import Significance, significance
from crosslatent.analysis.language_traits import (
    LanguageCorrelation,
    LanguageFigures,
    correlations,
    language_figures,
)
from crosslatent.analysis.layers import (
    GridStability,
    LayerProfile,
    PickStability,
    grid_stability,
    layer_profile,
    pick_stability,
)
from crosslatent.analysis.other_ways import OtherWay, other_ways
from crosslatent.analysis.other_ways import missing as missing_certainties
from crosslatent.analysis.passk import PassAtK, pass_at_k
from crosslatent.analysis.picked import Picked, judged_split, picked
from crosslatent.analysis.run_facts import Coverage, RunCost, cost, coverage, identity, missing
from crosslatent.core.specs import Component

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Everything that one run folder says.

    Attributes:
        rule: the answer rule that says what is right.
        metric: the figure that counts in the task: ``accuracy``, or one of `scores`.
        rules: the unmodified outputs under every rule that fits, the task's own first.
        ways: other ways to answer beside the best pair, on the split that figures are shown of.
        spelling: gains of open questions by how their answers are spelled; empty without any.
        gain_split: the gains of picked pairs in parts; empty without the controls that it needs.
        exploratory: what of the figures was defined after rows of the task had been seen, as the
            run says: any of strata, strict_room, surer, pass_at_k and
            spelling.
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
    grids: list[PairGrid]
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
    scores: list[MeanScore]
    scores_at_pair: list[ScoreAtPair]
    fidelity: list[Fidelity]
    fidelity_at_pair: list[FidelityAtPair]
    rules: list[RuleAccuracy]
    follow: list[Follow]
    cost: RunCost
    missing: list[str]
    ways: list[OtherWay]
    spelling: list[Spelling]
    exploratory: list[str]
    conditions: list[ConditionFigures]
    gain_split: list[GainSplit] = field(default_factory=list)


PILOT = "pilot"

T = TypeVar("T")


def summarise_run(
    reader: RunReader, *, tune: str = PILOT, seed: int = 0, headline: Headline | None = None
) -> RunSummary:
    """Everything that one run folder says.

    Args:
        reader: the run folder.
        tune: the split that pairs are picked on.
        seed: of the intervals.
        headline: the comparison that was declared beforehand; it alone is not corrected.

    Returns:
        The summary; what the folder cannot say is left out, with the reason in `missing`.
    """
    return summary_of(RunData(reader, seed), tune, headline)


def summary_of(data: RunData, tune: str, headline: Headline | None) -> RunSummary:
    """`summarise_run` of a folder that is open."""
    components = data.components
    picks = {component: picked(data, component, tune) for component in components}
    pairs = [pick for component in components for pick in picks[component]]
    versus = _known(bound_versus(data, arm) for name in components for arm in controls(data, name))
    graded = Graded(data)
    facts = identity(data)
    shown = judged_split(pairs, headline.test if headline else None)
    over = _known(over_controls(data, component) for component in components)
    tests = significance(data, pairs, headline)
    languages = language_figures(data, tests, over, versus)
    return RunSummary(
        **facts,
        metric=graded.metric,
        components=components,
        coverage=coverage(data),
        accuracy=accuracies(data, tune),
        grids=[one for component in components for one in grids(data, component, shown)],
        upper_bounds=_known(upper_bound(data, component) for component in components),
        bounds_versus=versus,
        pass_at_k=_known(pass_at_k(data, component) for component in components),
        picked=pairs,
        over_controls=over,
        significance=tests,
        languages=languages,
        correlations=correlations(languages, data.seed),
        layers=_known(layer_profile(data, component, shown) for component in components),
        layer_tests=[one for name in components for one in layer_tests(data, name)],
        grid_stability=_known(grid_stability(data, component) for component in components),
        pick_stability=_known(pick_stability(data, pick) for pick in pairs if pick.is_pooled),
        scores=graded.scores(),
        scores_at_pair=graded.scores_at_pairs(pairs),
        fidelity=graded.fidelity(),
        fidelity_at_pair=graded.fidelity_at_pairs(pairs),
        rules=graded.rules(),
        follow=[one for name in components for one in follows(data, name, picks[name])],
        cost=cost(data),
        missing=_all_missing(data, picks, tune),
        ways=other_ways(data, tune, shown, facts["type"]),
        spelling=spellings(data, pairs),
        exploratory=exploratory_of(data.manifest),
        conditions=conditions(data),
        gain_split=gain_splits(data, pairs),
    )


def _all_missing(data: RunData, picks: dict[Component, list[Picked]], tune: str) -> list[str]:
    """Sentences on what the run cannot say."""
    of_run = [*missing(data, picks, tune), *passk.missing(data), *missing_certainties(data)]
    return [*of_run, *missing_parts(data)]


def exploratory_of(manifest: Mapping[str, Any]) -> list[str]:
    """Figures that were defined after rows of the task were seen, as a run's arguments say."""
    names = (manifest.get("requested") or {}).get("exploratory")
    return [str(name) for name in names] if isinstance(names, list) else []


def _known(found: Iterable[T | None]) -> list[T]:
    return [one for one in found if one is not None]
