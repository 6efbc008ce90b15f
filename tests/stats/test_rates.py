"""How often tests find what is not there, and intervals hold what is, in 2,000 data sets a shape.

The shapes are those of the demo (145 facts, 200 questions in 4 languages), of XNLI (50 facts in 14)
and of MKQA (500 in 20). Run by hand, with the table that docs/methods.md 5 shows:

    pytest -m slow -n 0 -s tests/stats/test_rates.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import pytest

from crosslatent.analysis.language_traits import spearman
from crosslatent.report.gains import FEW_FACTS
from crosslatent.stats import (
    cluster_permutations,
    clustered_means,
    cohens_h,
    discordant_odds_ratio,
    holm,
    mcnemar,
    paired_test,
)
from crosslatent.stats.clusters import cluster_sums
from crosslatent.stats.estimates import ratio
from support.shaped import SHAPES, answers, asked, odds_ratio

SIMULATIONS = 2_000
RESAMPLES = 2_000
LEVEL = 0.05
MOST = 0.065
LEAST_SINGLE = 0.035
COVERED = (0.935, 0.97)
COVERED_SHARES = (0.935, 0.99)
"""Exact intervals may hold the truth more often than they say, near 0 and 1."""
COVERED_OF_FEW = (0.91, 0.97)
"""Where fewer facts change than `FEW_FACTS`; reports say so."""
NULLS = [0.5, 0.95]
GAINS = [(0.5, 0.5), (0.5, 0.55), (0.9, 0.95), (0.95, 0.95), (0.02, 0.05)]
LAYERS = 8
FIVE_LANGUAGES = 5

pytestmark = pytest.mark.slow
shapes = pytest.mark.parametrize("shape", SHAPES)
nulls = pytest.mark.parametrize("chance", NULLS)
gains = pytest.mark.parametrize(("before", "after"), GAINS)


class Interval(Protocol):
    """An estimate with both ends, where it has any."""

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


def rejected(p_values: Iterable[float | None]) -> float:
    return float(np.mean([p is not None and p <= LEVEL for p in p_values]))


def told(shape: str, figure: str, setting: object, rate: float) -> None:
    print(f"| {shape} | {figure} | {setting} | {100 * rate:.1f} |")


def covered(
    found: Sequence[Interval],
    truth: float,
    about: tuple[str, str, object],
    range_: tuple[float, float] = COVERED,
) -> None:
    """Refuse a coverage out of range; without an interval nothing is claimed."""
    held = [
        (one.low is None or one.low <= truth + 1e-9)
        and (one.high is None or one.high >= truth - 1e-9)
        for one in found
        if (one.low, one.high) != (None, None)
    ]
    rate = float(np.mean(held))
    told(*about, rate)
    assert len(held) > 0.95 * len(found)
    least, most = range_
    assert least <= rate <= most, about


def of_changes(shape: str, old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """The range for intervals of differences, by how many facts change in half of the data sets."""
    changed = cluster_sums((old != new).astype(float), asked(SHAPES[shape]).clusters) > 0
    return COVERED if np.median(changed.sum(axis=0)) >= FEW_FACTS else COVERED_OF_FEW


@lru_cache(maxsize=1)
def sides(shape: str, chances: tuple[float, ...]) -> list[np.ndarray]:
    return answers(asked(SHAPES[shape]), chances, SIMULATIONS, seed=2026)


exact = lru_cache(maxsize=None)(mcnemar)


def by_questions(after: np.ndarray, before: np.ndarray) -> list[float | None]:
    """Exact McNemar tests of answers of shape (questions, simulations)."""
    up, down = (after & ~before).sum(axis=0), (before & ~after).sum(axis=0)
    return [exact(int(one), int(other)) for one, other in zip(up, down, strict=True)]


def any_after_holm(families: Sequence[Sequence[float | None]]) -> float:
    """How often a family has any p-value below the level after Holm's correction."""
    smallest = []
    for family in families:
        known = [p for p in family if p is not None]
        smallest.append(min(1.0, len(known) * min(known)) if known else None)
    for family, least in zip(families[:5], smallest, strict=False):
        adjusted = [p for p in holm(family).adjusted if p is not None]
        assert min(adjusted, default=None) == least
    return rejected(smallest)


def permuted(shape: str, true: np.ndarray, control: np.ndarray) -> list[float | None]:
    sides = true.astype(float), control.astype(float)
    return [
        test.p_two_sided for test in cluster_permutations(*sides, asked(SHAPES[shape]).clusters)
    ]


@shapes
@nulls
def test_the_p_value_of_a_claim(shape: str, chance: float) -> None:
    after, before = sides(shape, (chance, chance))
    p_values = permuted(shape, after, before)
    names = asked(SHAPES[shape]).clusters
    for k in range(5):
        assert paired_test(after[:, k], before[:, k], names).p_value == p_values[k]
    rate = rejected(p_values)
    told(shape, "p of a claim", chance, rate)
    assert rate <= MOST
    # Near 1 few answers change, and the attainable p-values are far between.
    assert rate >= LEAST_SINGLE or chance != 0.5


@shapes
@nulls
def test_counting_questions_would_not_do(shape: str, chance: float) -> None:
    after, before = sides(shape, (chance, chance))
    rate = rejected(by_questions(after, before))
    told(shape, "McNemar over all languages (not used)", chance, rate)
    assert shape == "demo" or rate > 2 * LEVEL


@shapes
@nulls
def test_the_p_values_of_languages(shape: str, chance: float) -> None:
    after, before = sides(shape, (chance, chance))
    lang = asked(SHAPES[shape]).lang
    languages = range(SHAPES[shape].languages)
    table = [by_questions(after[lang == k], before[lang == k]) for k in languages]
    each = [rejected(p_values) for p_values in table]
    told(shape, "p of one language, the worst", chance, max(each))
    assert max(each) <= MOST
    rate = any_after_holm(list(zip(*table, strict=True)))
    told(shape, "any language, after Holm", chance, rate)
    assert rate <= MOST


@shapes
@nulls
def test_the_p_value_of_an_upper_bound(shape: str, chance: float) -> None:
    # One rival is as good, the others are worse: that is where such a test rejects most.
    true, *controls = sides(shape, (chance, chance, *(0.6 * chance,) * 3))
    each = [permuted(shape, true, control) for control in controls]
    # Undefined tests support no claim.
    whole = [None if None in p else max(p) for p in zip(*each, strict=True)]  # type: ignore[type-var]
    rate = rejected(whole)
    told(shape, "p of an upper bound above every rival", chance, rate)
    assert rate <= MOST


@shapes
def test_the_p_values_of_layers(shape: str) -> None:
    true, control, *more = sides(shape, (0.7,) * (2 + LAYERS))
    each = [permuted(shape, layer, control) for layer in (true, *more)]
    rate = any_after_holm(list(zip(*each, strict=True)))
    told(shape, "any layer, after Holm", 0.7, rate)
    assert rate <= MOST


@shapes
def test_the_p_value_of_a_trait(shape: str) -> None:
    languages = SHAPES[shape].languages
    if languages < FIVE_LANGUAGES:
        pytest.skip("no correlation of so few languages is reported")
    after, before = sides(shape, (0.5, 0.5))
    lang = asked(SHAPES[shape]).lang
    change = after.astype(np.int8) - before
    by_lang = np.stack([change[lang == k].mean(axis=0) for k in range(languages)])
    traits = np.random.default_rng(1).random((languages, SIMULATIONS))
    tests = [spearman(traits[:, k], by_lang[:, k], seed=k).p_value for k in range(SIMULATIONS)]
    told(shape, "p of a trait of languages", 0.5, rejected(tests))
    assert LEAST_SINGLE <= rejected(tests) <= MOST


@shapes
@gains
def test_intervals_of_shares_and_differences(shape: str, before: float, after: float) -> None:
    old, new = sides(shape, (before, after))
    names, setting = asked(SHAPES[shape]).clusters, f"{before:g} to {after:g}"
    shares = clustered_means(new.astype(float), names)
    covered(shares, after, (shape, "share of right answers", setting), COVERED_SHARES)
    differences = clustered_means(
        new.astype(float) - old, names, resamples=RESAMPLES, difference=True
    )
    covered(
        differences, after - before, (shape, "difference", setting), of_changes(shape, old, new)
    )


@shapes
@gains
def test_intervals_of_sizes(shape: str, before: float, after: float) -> None:
    old, new = sides(shape, (before, after))
    names, setting = asked(SHAPES[shape]).clusters, f"{before:g} to {after:g}"
    each = range(SIMULATIONS if shape != "mkqa" else SIMULATIONS // 4)
    found = [cohens_h(new[:, k], old[:, k], names, resamples=RESAMPLES) for k in each]
    size = 2 * np.arcsin(after**0.5) - 2 * np.arcsin(before**0.5)
    covered(found, size, (shape, "Cohen's h", setting), of_changes(shape, old, new))
    odds = [discordant_odds_ratio(new[:, k], old[:, k], names) for k in each]
    covered(odds, odds_ratio(before, after), (shape, "odds ratio", setting), COVERED_SHARES)


@shapes
@pytest.mark.parametrize("chances", [(0.5, 0.55, 0.3), (0.5, 0.5, 0.3), (0.3, 0.4, 0.5)])
def test_intervals_of_recovered_shares(shape: str, chances: tuple[float, ...]) -> None:
    """Of the gap to an upper bound that solves all that either side does, and some more."""
    before, after, more = chances
    old, new, rest = (side.astype(float) for side in sides(shape, (before, after, more)))
    bound = np.maximum(np.maximum(old, new), rest)
    names = asked(SHAPES[shape]).clusters
    truth = (after - before) / (solved_by_any(chances) - before)
    each = range(SIMULATIONS if shape != "mkqa" else SIMULATIONS // 4)
    found = [
        ratio(new[:, k] - old[:, k], bound[:, k] - old[:, k], names, resamples=RESAMPLES)
        for k in each
    ]
    covered(found, truth, (shape, "recovered share", chances))


def solved_by_any(chances: tuple[float, ...]) -> float:
    """Chance that any side is right: from many facts of one question each."""
    from support.shaped import Shape

    many = answers(asked(Shape(100_000, 1, 100_000)), chances, 100, seed=1)
    return float(np.logical_or.reduce(many).mean())
