"""Effect sizes against statsmodels, invariances, and the ends of the scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize

from crosslatent.stats import (
    cohens_h,
    discordant_odds_ratio,
    effect_sizes,
    paired_difference,
)

pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.integers(0, 5)),
    min_size=1,
    max_size=25,
)


def split(rows: list[tuple]) -> tuple[list[float], list[float], list[str]]:
    treated, baseline, clusters = map(list, zip(*rows, strict=True))
    return treated, baseline, [f"c{k}" for k in clusters]


def changes(repaired: int, broken: int) -> tuple[list[int], list[int]]:
    return [1] * repaired + [0] * broken + [1], [0] * repaired + [1] * broken + [1]


@settings(max_examples=40)
@given(pairs)
def test_h_is_that_of_statsmodels(rows: list[tuple]) -> None:
    treated, baseline, names = split(rows)
    found = cohens_h(treated, baseline, names, resamples=50)
    expected = proportion_effectsize(np.mean(treated), np.mean(baseline))
    assert found.value == pytest.approx(expected, abs=1e-9)


def test_h_has_an_interval_that_excludes_zero_where_the_difference_does() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.random(120) < 0.3
    treated = baseline | (rng.random(120) < 0.3)
    names = [f"c{k // 3}" for k in range(120)]
    found = cohens_h(treated, baseline, names)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert 0 < found.low < found.value < found.high
    assert (found.n, found.clusters, found.seed) == (120, 40, 0)


def test_odds_ratio_of_independent_items_has_the_exact_interval_of_statsmodels() -> None:
    for repaired, broken in ((12, 5), (3, 3), (1, 9), (7, 0), (0, 7)):
        treated, baseline = changes(repaired, broken)
        names = [str(k) for k in range(len(treated))]
        found = discordant_odds_ratio(treated, baseline, names)
        low, high = proportion_confint(repaired, repaired + broken, method="beta")
        assert found.low == pytest.approx(low / (1 - low))
        assert found.high == (pytest.approx(high / (1 - high)) if broken else None)
        assert found.value == (pytest.approx(repaired / broken) if broken else None)
        assert (found.repaired, found.broken) == (repaired, broken)
        assert found.effective_n == pytest.approx(repaired + broken)


def test_copies_within_a_cluster_make_the_odds_no_surer() -> None:
    treated, baseline = changes(12, 5)
    names = [str(k) for k in range(len(treated))]
    once = discordant_odds_ratio(treated, baseline, names)
    often = discordant_odds_ratio(treated * 4, baseline * 4, names * 4)
    assert often.value == once.value
    assert often.n == 4 * once.n
    assert often.effective_n is not None
    assert often.effective_n <= 17
    assert often.low is not None
    assert once.low is not None
    assert often.low <= once.low


@pytest.mark.parametrize("treated", [[1, 0], [math.nan, 1], []])
def test_odds_are_undefined_when_nothing_changed(treated: list[float]) -> None:
    found = discordant_odds_ratio(treated, treated, ["a", "b"][: len(treated)])
    assert (found.value, found.low, found.high, found.effective_n) == (None, None, None, None)
    assert found.n == found.clusters == 0


def test_agreeing_clusters_count_once_each() -> None:
    found = discordant_odds_ratio([1] * 9, [0] * 9, list("aaabbbccc"))
    assert (found.value, found.high, found.effective_n) == (None, None, 3.0)
    low = proportion_confint(3, 3, method="beta")[0]
    assert found.low == pytest.approx(low / (1 - low))


@settings(max_examples=60)
@given(pairs)
def test_swapping_the_sides_mirrors_every_scale(rows: list[tuple]) -> None:
    treated, baseline, names = split(rows)
    one = effect_sizes(treated, baseline, names, resamples=100)
    other = effect_sizes(baseline, treated, names, resamples=100)
    for scale in ("risk_difference", "cohens_h"):
        there, back = getattr(one, scale), getattr(other, scale)
        assert there.value == pytest.approx(-back.value, abs=1e-9)
        assert there.low == (None if back.high is None else pytest.approx(-back.high, abs=1e-9))
    odds, inverse = one.odds_ratio, other.odds_ratio
    assert (odds.repaired, odds.broken) == (inverse.broken, inverse.repaired)
    if odds.value and inverse.value:
        assert odds.value == pytest.approx(1 / inverse.value)
    if odds.low and inverse.high:
        assert odds.low == pytest.approx(1 / inverse.high)


def test_all_scales_are_over_the_items_that_have_both_sides() -> None:
    treated, baseline = [1, 1, math.nan, 0, 1], [0, 1, 0, math.nan, 0]
    found = effect_sizes(treated, baseline, list("abcda"))
    assert found.risk_difference == paired_difference(treated, baseline, list("abcda"))
    assert (found.n, found.clusters) == (3, 2)
    assert (found.cohens_h.n, found.odds_ratio.n) == (3, 2)


def test_nothing_observed_has_no_effect_size() -> None:
    found = effect_sizes([], [], [])
    assert found.risk_difference.value is None
    assert found.cohens_h.value is None
    assert found.cohens_h.low is None


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        cohens_h([2], [0], ["a"])
    with pytest.raises(ValueError, match="1 observations but 2 cluster names"):
        discordant_odds_ratio([1], [0], ["a", "b"])
