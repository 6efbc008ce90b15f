"""Tests and effect sizes of picked pairs, and which layers matter: sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.inference import LEVEL, PairEffect, Significance
from crosslatent.analysis.items import ALL
from crosslatent.analysis.layers import LayerProfile
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Pair
from crosslatent.report import formatting, verdicts
from crosslatent.report.verdicts.grid_verdicts import Side
from crosslatent.report.views import Passage, Table
from crosslatent.stats import Estimate, OddsRatio


def significance(run: RunSummary, split: str | None) -> list[Passage]:
    """Tests of the picked pairs: what is corrected, and what could have been found at all."""
    if not run.significance:
        return []
    shown = [test for test in run.significance if test.split == split] or run.significance
    tables = [_effects_table(run.significance), *_without_tables(run.significance)]
    return [
        Passage([sentence for test in shown for sentence in _sentences(test)]),
        Passage(tables=tables, fold="Tests, corrections and sizes of the effects"),
    ]


def _sentences(test: Significance) -> list[str]:
    """What the languages say after correction, what the sample could find, and shared facts."""
    name = formatting.first_upper(formatting.component(test.component))
    found = []
    if test.by_language:
        kept = [e for e in test.by_language if e.test.holm is not None and e.test.holm < LEVEL]
        found.append(
            f"{name}: on the {test.split} questions, {len(kept)} of {len(test.by_language)} "
            "languages change significantly after Holm\u2019s correction. "
            f"{_detectable(test.overall)}".strip()
        )
    if test.shared is not None:
        found.append(_shared_sentence(test))
    return found


def _detectable(effect: PairEffect) -> str:
    if effect.detectable.value is None:
        return ""
    size = formatting.points(effect.detectable.value).lstrip("+")
    return (
        f"A sample of this size finds a gain of {size} points or more in four of five cases, all "
        "languages together."
    )


def _shared_sentence(test: Significance) -> str:
    shared = test.shared
    assert shared is not None
    start = (
        f"{formatting.count(shared.questions, 'question')} of the {test.overall.gain.n:,} "
        f"{test.split} "
        f"ones ask about {formatting.count(shared.clusters, 'fact')} that the pair was also "
        "picked on."
    )
    if shared.without is None:
        return f"{start} Nothing is left without them."
    gain = formatting.with_interval(shared.without.gain, difference=True)
    return (
        f"{start} Without them, {formatting.component(test.component)} gains {gain} points "
        f"({formatting.p_equals(shared.without.test.p_value)})."
    )


_EFFECT_HEAD = [
    "component",
    "split",
    "language",
    "gain, points",
    "p",
    "Holm / B-H",
    "Cohen\u2019s h",
    "odds ratio",
    "detectable",
]
_NUMERIC = frozenset(range(3, 9))


def _effects_table(tests: Sequence[Significance]) -> Table:
    rows = [
        _effect_cells(test, effect)
        for test in tests
        for effect in (test.overall, *test.by_language)
    ]
    caption = (
        "p: permutation test that swaps before and after by fact, two-sided; exact McNemar test "
        "where one language asks each fact once. Holm, B-H (Benjamini-Hochberg): the same "
        "corrected, each language for the languages of its component and split, all languages "
        "together for the components and splits; the comparison declared beforehand is not "
        "corrected. Odds ratio: repaired to broken, without a bound where none broke. Detectable: "
        "the gain that a sample like this finds in four of five cases at the 5\u202f% level, "
        "before any correction."
    )
    return Table(_EFFECT_HEAD, rows, caption, _NUMERIC)


def _without_tables(tests: Sequence[Significance]) -> list[Table]:
    """The pooled effects without facts that the tuning split asks about, too."""
    rows = [
        _effect_cells(test, test.shared.without)
        for test in tests
        if test.shared is not None and test.shared.without is not None
    ]
    caption = "The same without questions about facts that the pair was also picked on."
    return [Table(_EFFECT_HEAD, rows, caption, _NUMERIC)] if rows else []


def _effect_cells(test: Significance, effect: PairEffect) -> list[str]:
    adjusted = (effect.test.holm, effect.test.benjamini_hochberg)
    return [
        formatting.component(test.component),
        test.split,
        formatting.language(effect.lang),
        formatting.with_interval(effect.gain, difference=True),
        formatting.p_value(effect.test.p_value),
        " / ".join(map(formatting.p_value, adjusted))
        if effect.test.family
        else _alone(test, effect),
        formatting.plain(effect.cohens_h.value),
        _odds(effect.odds_ratio),
        formatting.points(effect.detectable.value).lstrip("+"),
    ]


def _alone(test: Significance, effect: PairEffect) -> str:
    """Why a test is not corrected."""
    return "declared" if test.declared and effect is test.overall else "\u2013"


def _odds(odds: OddsRatio) -> str:
    if odds.low is None:
        return "\u2013"
    value, high = (
        "\u221e" if end is None else formatting.plain(end) for end in (odds.value, odds.high)
    )
    return f"{value} ({formatting.plain(odds.low)} to {high})"


def layer_sentence(run: RunSummary, profile: LayerProfile) -> str:
    """Which layers matter as source and as target, of one component."""
    best = _best_pair(run, profile)
    sides = (
        Side("source", profile.by_source, profile.effective_sources, best),
        Side("target", profile.by_target, profile.effective_targets, best),
    )
    sentences = " ".join(verdicts.LAYERS.say(side) for side in sides)
    name = formatting.first_upper(formatting.component(profile.component))
    where = "" if profile.split == ALL else f" ({profile.split} questions)"
    return f"{name}{where}: {sentences}{_variance(profile)}"


def _best_pair(run: RunSummary, profile: LayerProfile) -> tuple[Pair, Estimate] | None:
    """The pair with the highest gain on the questions of a profile, with its interval."""
    grids = (g for g in run.grids if (g.component, g.lang) == (profile.component, ALL))
    grid = next((g for g in grids if g.split == profile.split), None)
    cells = [
        (value, (source, target))
        for source, line in enumerate(grid.gain if grid is not None else [])
        for target, value in enumerate(line)
        if value is not None
    ]
    if grid is None or not cells:
        return None
    value, (source, target) = max(cells, key=lambda cell: cell[0])
    low, high = grid.gain_low[source][target], grid.gain_high[source][target]
    return (source, target), Estimate(value, low, high, grid.n, grid.clusters, grid.seed)


def _variance(profile: LayerProfile) -> str:
    if profile.source_share is None or profile.target_share is None:
        return ""
    return (
        f" Of the differences between pairs, {formatting.percent(profile.source_share)} go with "
        "the "
        f"source layer, {formatting.percent(profile.target_share)} with the target layer, and "
        f"{formatting.percent(profile.rest_share)} with neither alone."
    )
