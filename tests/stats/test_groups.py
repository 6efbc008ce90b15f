"""The difference between two groups of observations, with clusters that may be in both."""

from __future__ import annotations

import numpy as np
import pytest

from crosslatent.stats import group_difference
from crosslatent.stats.clusters import cluster_draws, expanded_tails


def answers(
    rng: np.random.Generator, facts: int, chances: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Four languages per fact, in two of which its name is mostly spelled alike; correlated."""
    names = np.repeat(np.arange(facts), 4)
    alike = rng.random(len(names)) < np.tile([0.95, 0.9, 0.5, 0.0], facts)
    draw = np.where(rng.random(len(names)) < 0.5, rng.random(facts)[names], rng.random(len(names)))
    gain = (draw < np.where(alike, *chances)).astype(float)
    return gain, alike, [str(k) for k in names]


def test_value_and_interval_are_those_of_resampled_clusters() -> None:
    gain, alike, clusters = answers(np.random.default_rng(1), 30, (0.4, 0.1))
    gain[5] = np.nan
    found = group_difference(gain, alike, clusters, seed=3, resamples=500)
    kept = ~np.isnan(gain)
    assert found.value == pytest.approx(gain[kept & alike].mean() - gain[kept & ~alike].mean())
    assert (found.n, found.clusters, found.seed) == (119, 30, 3)
    names = sorted(set(clusters))
    gaps = []
    for drawn in cluster_draws(30, 3, 500):
        picked = np.repeat(np.arange(120), [int(drawn[names.index(name)]) for name in clusters])
        values, first = gain[picked], alike[picked]
        gaps.append(np.nanmean(values[first]) - np.nanmean(values[~first]))
    low, high = np.quantile(gaps, expanded_tails(0.95, 30))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_small_group_widens_the_interval_or_has_none() -> None:
    values, clusters = np.tile([0.0, 1.0], 20), [str(k) for k in range(40)]
    lone = group_difference(values, np.arange(40) == 0, clusters)
    assert (lone.value, lone.low, lone.undefined) == (pytest.approx(-20 / 39), None, True)
    assert not lone.above_zero
    assert not lone.below_zero
    few = group_difference(values, np.arange(40) < 12, clusters)
    many = group_difference(values, np.arange(40) < 20, clusters)
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.high - few.low > many.high - many.low
    none = group_difference(values, np.zeros(40), clusters)
    assert (none.value, none.low, none.n) == (None, None, 40)
    assert group_difference([], [], []).value is None


def test_groups_without_variation_are_no_interval_of_no_width() -> None:
    first = np.arange(40) < 20
    found = group_difference(first.astype(float), first, [str(k) for k in range(40)])
    assert (found.value, found.low, found.undefined, found.above_zero) == (1.0, None, False, True)


def coverage(facts: int, chances: tuple[float, float], times: int) -> float:
    rng, covered = np.random.default_rng(2026), 0
    for _ in range(times):
        gain, alike, clusters = answers(rng, facts, chances)
        found = group_difference(gain, alike, clusters, resamples=1_000)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= chances[0] - chances[1] <= found.high
    return covered / times


def test_intervals_cover_the_difference() -> None:
    assert 0.92 <= coverage(40, (0.4, 0.2), 400) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("facts", [30, 40, 145])
@pytest.mark.parametrize("chances", [(0.2, 0.2), (0.4, 0.1), (0.6, 0.5)])
def test_intervals_cover_many_differences(facts: int, chances: tuple[float, float]) -> None:
    assert 0.935 <= coverage(facts, chances, 2_000) <= 0.975
