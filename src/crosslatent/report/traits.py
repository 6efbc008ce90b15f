"""Gains beside what two languages have in common, and how steady a run's figures are."""

from __future__ import annotations

from crosslatent.analysis.language_traits import LanguageCorrelation
from crosslatent.analysis.layers import GridStability, PickStability
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.analysis.typology import RESOURCES
from crosslatent.report import formatting, verdicts
from crosslatent.report.forest import sizes
from crosslatent.report.verdicts.diagnosis import kept
from crosslatent.report.views import Passage, Table
from crosslatent.stats import Estimate

_TRAITS = {
    "typological_distance": "typological distance",
    "same_script": "sameness of script",
    "text_overlap": "overlap of the prompts",
    "resource_class": "resource class",
}
_FIGURES = {
    "gain": "gain at the picked pair",
    "over_control": "upper bound minus the strongest control",
}


def languages(run: RunSummary) -> list[Passage]:
    """Each language's figures beside its traits, and their rank correlations."""
    if not run.languages:
        return []
    why_not = list(dict.fromkeys(one.missing for one in run.correlations if one.missing))
    tables = [_traits_table(run), _figures_table(run), *_correlation_tables(run.correlations)]
    return [
        Passage([*_lead(run.correlations), *why_not]),
        Passage(tables=tables, fold="Language by language"),
    ]


def _lead(found: list[LanguageCorrelation]) -> list[str]:
    """Correlations that remain significant after correction; empty if none could be computed."""
    none = verdicts.TRAITS.say(found)
    return ([none] if none else []) + [
        f"{formatting.first_upper(formatting.component(one.component))}: the "
        f"{_FIGURES[one.figure]} goes "
        f"{'up' if (one.rho or 0) > 0 else 'down'} with the {_TRAITS[one.trait]} "
        f"(Spearman {formatting.plain(one.rho)} over {one.languages} languages, corrected "
        f"{formatting.p_equals(one.test.holm)})."
        for one in kept(found)
    ]


def _traits_table(run: RunSummary) -> Table:
    rows = [
        [
            formatting.language(one.lang),
            formatting.language(one.other),
            formatting.plain(one.typological_distance),
            "\u2013" if one.same_script is None else "yes" if one.same_script else "no",
            formatting.percent(one.text_overlap),
            "\u2013" if one.resource_class is None else str(one.resource_class),
        ]
        for one in run.languages
        if one.component == run.languages[0].component
    ]
    head = ["language", "other side", "distance", "same script", "overlap", "resources"]
    caption = (
        "Distance: typological, the angle between the URIEL features of the two languages, 0 to 1. "
        "Overlap: share of three-letter sequences that both prompts have, mean over questions. "
        f"Resources: class 0 (least data) to 5, {RESOURCES}."
    )
    return Table(head, rows, caption, frozenset(range(2, 6)))


def _figures_table(run: RunSummary) -> Table:
    rows = [
        [
            formatting.component(one.component),
            formatting.language(one.lang),
            _estimate(one.gain),
            _estimate(one.over_control),
        ]
        for one in run.languages
    ]
    head = ["component", "language", *_FIGURES.values()]
    gains = [one.gain for one in run.languages if one.gain is not None]
    caption = (
        "Points. Gain: last test split, pair picked over all languages; upper bound: the splits "
        f"that controls were run on. Gain: {sizes(gains)}. Intervals resample facts."
    )
    return Table(head, rows, caption, frozenset({2, 3}))


def _correlation_tables(found: list[LanguageCorrelation]) -> list[Table]:
    rows = [
        [
            formatting.component(one.component),
            _FIGURES[one.figure],
            _TRAITS[one.trait],
            formatting.plain(one.rho),
            str(one.languages),
            formatting.p_value(one.test.p_value),
            formatting.p_value(one.test.holm),
            formatting.p_value(one.test.benjamini_hochberg),
        ]
        for one in found
        if one.rho is not None
    ]
    head = ["component", "figure", "trait", "Spearman", "languages", "p", "Holm", "B-H"]
    caption = (
        "Rank correlation over languages, with a permutation test (all orders where they are few), "
        "corrected for all rows of this table. Languages are few and kin to each other: a "
        "correlation here is a description, not a cause."
    )
    return [Table(head, rows, caption, frozenset(range(3, 8)))] if rows else []


def _estimate(estimate: Estimate | None) -> str:
    return "\u2013" if estimate is None else formatting.with_interval(estimate, difference=True)


def stability(run: RunSummary) -> list[Passage]:
    """Halves of the facts, and resamples of those that the pair was picked on."""
    tables = [_winners_table(run.pick_stability)] if run.pick_stability else []
    return [
        Passage([*map(_halves, run.grid_stability), *map(_pick, run.pick_stability)]),
        Passage(tables=tables, fold="Pairs that win when the facts are drawn again"),
    ]


def _halves(one: GridStability) -> str:
    found = one.halves
    name = formatting.first_upper(formatting.component(one.component))
    if found.value is None:
        return f"{name}: whether halves of the facts agree is undefined: too few, or all alike."
    full = f", which makes some {formatting.plain(found.full)} for all facts" if found.full else ""
    return (
        f"{name}: random halves of the {found.clusters:,} facts rank the {found.cells:,} pairs "
        f"alike with a Spearman correlation of {formatting.plain(found.value)} (middle 95\u202f% "
        "of "
        f"{found.splits} divisions: {formatting.plain(found.low)} to "
        f"{formatting.plain(found.high)}){full}."
    )


def _pick(one: PickStability) -> str:
    source, target = one.pair
    start = (
        f"{formatting.first_upper(formatting.component(one.component))}: {source} \u2192 {target} "
        "wins in "
        f"{formatting.percent(one.share)} of {one.resamples:,} resamples of the {one.clusters} "
        f"{one.split} facts"
    )
    if one.share == 1:
        return f"{start}."
    return (
        f"{start}, a pair with its source in {formatting.percent(one.same_source)}, one with its "
        "target "
        f"in {formatting.percent(one.same_target)}."
    )


def _winners_table(found: list[PickStability]) -> Table:
    rows = [
        [
            formatting.component(one.component),
            f"{source} \u2192 {target}",
            formatting.percent(share),
        ]
        for one in found
        for source, target, share in one.winners
    ]
    caption = (
        "How often each pair has most right answers when the facts that the pair was picked on are "
        f"drawn again, with replacement; the five most frequent. Seed {found[0].seed}."
    )
    return Table(["component", "pair", "wins in"], rows, caption, frozenset({2}))
