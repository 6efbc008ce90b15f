"""Does the gain go with what two languages have in common? Correlations over the languages.

What is compared: typological distance, sameness of script, overlap of the two prompts, and how well
the language is provided with data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from crosslatent.analysis import typology
from crosslatent.analysis.bounds import BoundVersus, OverControls
from crosslatent.analysis.data import RunData, control_name
from crosslatent.analysis.inference import Corrected, Significance, corrected, uncorrected
from crosslatent.analysis.items import language_column
from crosslatent.analysis.typology import resource_class
from crosslatent.core.languages import script_of
from crosslatent.core.specs import Component
from crosslatent.stats import PERMUTATIONS, Estimate, Floats


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
        for gains in [_gains(component, tests)]
        for above in [_above(component, bounds, versus)]
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


def _gains(component: Component, tests: Sequence[Significance]) -> Mapping[str, Estimate]:
    own = [test.by_language for test in tests if test.component == component]
    return {effect.lang: effect.gain for effect in own[-1]} if own else {}


def _above(
    component: Component, bounds: Sequence[OverControls], versus: Sequence[BoundVersus]
) -> Mapping[str, Estimate]:
    """Upper bound minus the strongest control, by language."""
    strongest = [one.strongest.control for one in bounds if one.component == component]
    return {
        lang: sides.difference
        for one in versus
        if one.component == component and control_name(one.control, one.stratum) in strongest
        for lang, sides in one.by_language.items()
        if sides.difference.n
    }


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


LEAST_LANGUAGES = 5
"""Below this many languages no rank correlation can be significant at 5 %: with four, the
smallest two-sided p-value is 2 / 4! = 0.08."""

_TOLERANCE = 1e-9


class Ranked(NamedTuple):
    """Spearman correlation with its permutation test; None where undefined."""

    rho: float | None
    p_value: float | None
    permutations: int


def spearman(x: Floats, y: Floats, seed: int) -> Ranked:
    """Is the rank correlation further from zero than in a random order?

    All n! orders are tried where they are few: up to seven points.

    Args:
        x: values without NaN, shape (n,).
        y: those that they are paired with.
        seed: of the random orders.
    """
    if len(x) < 2 or np.ptp(x) < _TOLERANCE or np.ptp(y) < _TOLERANCE:
        return Ranked(None, None, 0)
    one, other = (_standardised(rankdata(side)) for side in (x, y))
    rho = float(one @ other)
    if factorial(len(x)) <= PERMUTATIONS + 1:
        orders = np.array(list(permutations(range(len(x)))))
        return Ranked(rho, float(_as_far(other[orders] @ one, rho).mean()), len(orders))
    drawn = np.random.default_rng(seed).permuted(np.tile(other, (PERMUTATIONS, 1)), axis=1)
    hits = int(_as_far(drawn @ one, rho).sum())
    return Ranked(rho, (hits + 1) / (PERMUTATIONS + 1), PERMUTATIONS + 1)


def _as_far(values: Floats, observed: float) -> NDArray[np.bool_]:
    far: NDArray[np.bool_] = np.abs(values) >= abs(observed) - _TOLERANCE
    return far


def _standardised(ranks: Floats) -> Floats:
    """Centred and of length 1, so that a product is a correlation."""
    centred = ranks - ranks.mean()
    return np.asarray(centred / np.linalg.norm(centred), dtype=np.float64)
