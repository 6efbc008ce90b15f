"""Shares and clustered bootstrap: hand-computed, degenerate cases, and scipy's intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm, t

from crosslatent.stats import METHOD, clustered_mean, clustered_means, paired_difference
from crosslatent.stats.clusters import SHARES, expanded_tails


def test_value_weighs_every_observation_alike() -> None:
    estimate = clustered_mean([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert estimate.value == 0.75
    assert (estimate.n, estimate.clusters) == (4, 2)


def test_two_clusters_give_the_extremes_that_resampling_can_reach() -> None:
    estimate = clustered_mean([1, 0], ["a", "b"], difference=True)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


@pytest.mark.parametrize("right", [1, 3, 20, 38, 39])
def test_a_share_of_independent_answers_has_the_exact_interval(right: int) -> None:
    values = [1.0] * right + [0.0] * (40 - right)
    found = clustered_mean(values, [str(k) for k in range(40)])
    exact = binomtest(right, 40).proportion_ci(method="exact")
    assert (found.low, found.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert found.method == SHARES


def test_a_score_between_0_and_1_is_resampled() -> None:
    found = clustered_mean([1, 0, 0.5, 1, 0], list("abcde"))
    assert found.method == METHOD


def test_a_difference_without_breakages_is_no_share() -> None:
    names = [str(k) for k in range(40)]
    repaired = [1.0] + [0.0] * 39
    assert clustered_mean(repaired, names).above_zero
    for found in (
        paired_difference(repaired, [0.0] * 40, names),
        clustered_mean(repaired, names, difference=True),
    ):
        assert (found.method, found.low) == (METHOD, 0.0)
        assert not found.above_zero


def test_interval_is_that_of_scipy_over_clusters() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 6, size=40)
    clusters = [f"c{k}" for k, size in enumerate(sizes) for _ in range(size)]
    values = (rng.random(len(clusters)) < 0.4).astype(float)
    sums = np.array([values[[c == f"c{k}" for c in clusters]].sum() for k in range(40)])
    theirs = bootstrap(
        (sums, sizes.astype(float)),
        lambda total, count, axis=-1: total.sum(axis) / count.sum(axis),
        paired=True,
        method="percentile",
        confidence_level=1 - 2 * expanded_tails(0.95, 40)[0],
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    ours = clustered_mean(values, clusters, resamples=20_000, difference=True)
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        ([1, 0, 1], ["a", "a", "a"]),
        ([1, 1, 1], ["a", "b", "c"]),
        ([1, 0, 1, 0], ["a", "a", "b", "b"]),
        ([math.nan, 1], ["a", "b"]),
    ],
    ids=["one cluster", "all the same", "clusters all the same", "one cluster left"],
)
def test_no_interval_where_none_can_be_estimated(values: list[float], clusters: list[str]) -> None:
    estimate = clustered_mean(values, clusters)
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)
    assert not estimate.above_zero
    assert not estimate.below_zero


def test_nothing_observed_is_missing_not_zero() -> None:
    for values in ([], [math.nan]):
        estimate = clustered_mean(values, ["a"] * len(values))
        assert estimate.value is None
        assert estimate.n == estimate.clusters == 0


def test_missing_observations_do_not_count() -> None:
    with_gap = clustered_mean([1, math.nan, 0, 1], ["a", "b", "c", "d"])
    without = clustered_mean([1, 0, 1], ["a", "c", "d"])
    assert with_gap == without


def test_answers_of_one_cluster_add_no_certainty() -> None:
    clusters = [f"c{k}" for k in range(20)]
    values = [float(k % 3 == 0) for k in range(20)]
    once = clustered_mean(values, clusters, difference=True)
    often = clustered_mean(values * 8, clusters * 8, difference=True)
    assert (often.low, often.high) == (once.low, once.high)
    assert often.n == 8 * once.n
    once, often = clustered_mean(values, clusters), clustered_mean(values * 8, clusters * 8)
    assert None not in (once.low, once.high, often.low, often.high)
    assert often.low <= once.low < once.high <= often.high
    assert often.high - often.low < 1.1 * (once.high - once.low)


def test_difference_pairs_before_it_averages() -> None:
    treated, baseline = [1, 1, math.nan, 0], [0, 1, 0, math.nan]
    estimate = paired_difference(treated, baseline, ["a", "b", "c", "d"])
    assert (estimate.value, estimate.n) == (0.5, 2)


def test_interval_above_and_below_zero() -> None:
    clusters = [f"c{k}" for k in range(30)]
    gains = [1.0] * 20 + [0.0] * 10
    assert clustered_mean(gains, clusters).above_zero
    assert clustered_mean([-gain for gain in gains], clusters).below_zero


def test_without_variation_the_sign_test_over_clusters_decides() -> None:
    six = [f"c{k}" for k in range(6)]
    assert clustered_mean([1.0] * 6, six).above_zero
    assert clustered_mean([-0.5] * 6, six).below_zero
    assert not clustered_mean([0.0] * 6, six).above_zero
    assert not clustered_mean([1.0] * 5, six[:5]).above_zero
    assert not clustered_mean([1.0] * 12, six[:1] * 12).above_zero


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    clusters = [f"c{k // 4}" for k in range(200)]
    covered = 0
    for _ in range(200):
        rates = np.repeat(rng.beta(2, 2, size=50), 4)
        estimate = clustered_mean((rng.random(200) < rates), clusters, resamples=400)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3 observations but 2 cluster names"):
        clustered_mean([1, 2, 3], ["a", "b"])


columns = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, math.nan]), min_size=3, max_size=3), min_size=1, max_size=12
)


@settings(max_examples=40)
@given(columns, st.integers(0, 3))
def test_columns_together_are_the_columns_one_by_one(table: list[list[float]], seed: int) -> None:
    clusters = [f"c{k // 2}" for k in range(len(table))]
    together = clustered_means(table, clusters, seed=seed, resamples=200)
    alone = [
        clustered_mean([line[k] for line in table], clusters, seed=seed, resamples=200)
        for k in range(3)
    ]
    assert [(e.n, e.clusters) for e in together] == [(e.n, e.clusters) for e in alone]
    for one, other in zip(together, alone, strict=True):
        for name in ("value", "low", "high"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12)


@settings(max_examples=40)
@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=20),
    st.integers(0, 5),
)
def test_interval_is_ordered_within_range_and_repeatable(values: list[float], seed: int) -> None:
    clusters = [f"c{k % 7}" for k in range(len(values))]
    estimate = clustered_mean(values, clusters, seed=seed, resamples=200)
    assert estimate == clustered_mean(values, clusters, seed=seed, resamples=200)
    if estimate.low is not None and estimate.high is not None:
        assert min(values) - 1e-9 <= estimate.low <= estimate.high <= max(values) + 1e-9


def test_another_seed_gives_another_interval() -> None:
    values = np.random.default_rng(0).random(50)
    clusters = [str(k) for k in range(50)]
    assert clustered_mean(values, clusters, seed=0) != clustered_mean(values, clusters, seed=1)


def test_tails_reach_further_out_for_few_clusters_and_not_for_many() -> None:
    low, high = expanded_tails(0.95, 30)
    assert low == pytest.approx(norm.cdf(-math.sqrt(30 / 29) * t.ppf(0.975, 29)))
    assert low + high == pytest.approx(1)
    tails = [expanded_tails(0.95, clusters)[0] for clusters in (2, 5, 30, 300, 100_000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.025, rel=1e-3)
