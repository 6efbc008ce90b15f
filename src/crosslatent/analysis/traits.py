"""Does the gain go with what two languages have in common? Correlations over the languages.

What is compared: typological distance, sameness of script, overlap of the two prompts, and how well
the language is provided with data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from crosslatent.analysis import typology
from crosslatent.analysis.data import RunData
from crosslatent.analysis.evidence import (
    LanguageCorrelation,
    LanguageFigures,
    OverControls,
    Significance,
)
from crosslatent.analysis.inference import (
    LEAST_LANGUAGES,
    Ranked,
    corrected,
    spearman,
    uncorrected,
)
from crosslatent.analysis.resources import resource_class
from crosslatent.analysis.results import control_name
from crosslatent.analysis.select import language_column
from crosslatent.analysis.unions import BoundVersus
from crosslatent.core.languages import script_of
from crosslatent.stats import Estimate

TRAITS = ("typological_distance", "same_script", "text_overlap", "resource_class")
FIGURES = ("gain", "over_control")


class _Pair(NamedTuple):
    """A language of the run, the one on the other side, and how much their prompts overlap."""

    lang: str
    other: str
    overlap: float | None


def language_figures(
    data: RunData,
    tests: Sequence[Significance],
    bounds: Sequence[OverControls],
    versus: Sequence[BoundVersus],
) -> list[LanguageFigures]:
    """Every language's figures beside its traits; empty with a single language.

    Args:
        data: the run.
        tests: the pooled pairs; the last split of each component counts.
        bounds: which control is the strongest.
        versus: the upper bounds beside their controls.
    """
    pairs = _pairs(data)
    if len(pairs) < 2:
        return []
    return [
        LanguageFigures(
            component=component,
            lang=pair.lang,
            other=pair.other,
            typological_distance=typology.distance(pair.lang, pair.other),
            same_script=_same_script(pair.lang, pair.other),
            text_overlap=pair.overlap,
            resource_class=resource_class(pair.lang),
            gain=gains.get(pair.lang),
            over_control=above.get(pair.lang),
        )
        for component in data.components
        for gains in [_gains([test for test in tests if test.component == component])]
        for above in [_above([one for one in bounds if one.component == component], versus)]
        for pair in pairs
    ]


def correlations(figures: Sequence[LanguageFigures], seed: int) -> list[LanguageCorrelation]:
    """Every figure against every trait, adjusted for their number."""
    components = dict.fromkeys(one.component for one in figures)
    found = [
        _correlation([one for one in figures if one.component == component], figure, trait, seed)
        for component in components
        for figure in FIGURES
        for trait in TRAITS
        if any(one.component == component and getattr(one, figure) for one in figures)
    ]
    tests = corrected([one.test.p_value for one in found], "traits of languages")
    return [replace(one, test=test) for one, test in zip(found, tests, strict=True)]


def _correlation(
    figures: Sequence[LanguageFigures], figure: str, trait: str, seed: int
) -> LanguageCorrelation:
    points = [
        (float(value), estimate.value)
        for one in figures
        if (value := getattr(one, trait)) is not None
        and (estimate := getattr(one, figure)) is not None
        and estimate.value is not None
    ]
    ranked = Ranked(None, None, 0)
    if len(points) >= LEAST_LANGUAGES:
        x, y = np.array(points, dtype=np.float64).T
        ranked = spearman(x, y, seed)
    return LanguageCorrelation(
        component=figures[0].component,
        figure=figure,
        trait=trait,
        rho=ranked.rho,
        languages=len(points),
        test=uncorrected(ranked.p_value),
        permutations=ranked.permutations,
        seed=seed,
        missing="" if ranked.rho is not None else _why_not(trait, points),
    )


def _why_not(trait: str, points: Sequence[tuple[float, float]]) -> str:
    languages = len(points)
    if trait == "typological_distance" and not typology.available():
        return typology.MISSING
    if languages < LEAST_LANGUAGES:
        return (
            f"Only {languages} languages: below {LEAST_LANGUAGES} no rank correlation can be "
            "significant."
        )
    if len({figure for _, figure in points}) == 1:
        return "The figure is the same in all languages."
    return "All languages are alike in it."


def _gains(tests: Sequence[Significance]) -> Mapping[str, Estimate]:
    if not tests:
        return {}
    return {effect.lang: effect.gain for effect in tests[-1].by_language}


def _above(bounds: Sequence[OverControls], versus: Sequence[BoundVersus]) -> Mapping[str, Estimate]:
    """Upper bound minus the strongest control, by language."""
    for one in bounds:
        for other in versus:
            name = control_name(other.control, other.stratum)
            if (other.component, name) == (one.component, one.strongest.control):
                return {
                    lang: sides.difference
                    for lang, sides in other.by_language.items()
                    if sides.difference.n
                }
    return {}


def _pairs(data: RunData) -> list[_Pair]:
    """The languages of the run, each with the commonest language on the other side."""
    column = language_column(data.reader, data.con)
    other = "lang" if column == "aux_lang" else "aux_lang"
    rows = data.con.execute(
        f"SELECT {column}, {other}, main, aux FROM items "
        "WHERE item IN (SELECT item FROM places) ORDER BY item"
    ).fetchall()
    by_lang: dict[str, list[tuple[str, str, str]]] = {}
    for lang, *rest in rows:
        by_lang.setdefault(lang, []).append(tuple(rest))
    return [_pair(lang, by_lang[lang]) for lang in sorted(by_lang)]


def _pair(lang: str, prompts: Sequence[tuple[str, str, str]]) -> _Pair:
    other = Counter(one[0] for one in prompts).most_common(1)[0][0]
    overlaps = [text_overlap(main, aux) for _, main, aux in prompts]
    known = [overlap for overlap in overlaps if overlap is not None]
    return _Pair(lang, other, sum(known) / len(known) if known else None)


def text_overlap(first: str, second: str) -> float | None:
    """Share of the two texts' three-letter sequences that both have (Jaccard), 0 to 1.

    Of text and not of tokens, so that it is the same for every model, and of letters and not of
    words, so that it serves scripts without blanks. None if either text is too short.
    """
    one, other = _trigrams(first), _trigrams(second)
    return len(one & other) / len(one | other) if one and other else None


def _trigrams(text: str) -> set[str]:
    plain = " ".join(text.casefold().split())
    return {plain[place : place + 3] for place in range(len(plain) - 2)}


def _same_script(first: str, second: str) -> bool | None:
    scripts = script_of(first), script_of(second)
    return None if None in scripts else scripts[0] == scripts[1]
