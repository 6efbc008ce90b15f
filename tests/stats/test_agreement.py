"""Agreement of grids against scipy, invariances, undefined cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from crosslatent.stats import grid_correlation, split_half


def cubes(seed: int, items: int = 60, side: int = 5, spread: float = 0.4) -> np.ndarray:
    """Two 0/1 cubes with the same chances by cell, shape (2, items, side, side)."""
    rng = np.random.default_rng(seed)
    chances = 0.3 + spread * rng.random((side, side))
    return (rng.random((2, items, side, side)) < chances).astype(float)


def names_of(items: int, size: int = 2) -> list[str]:
    return [f"c{k // size}" for k in range(items)]


def test_value_is_that_of_scipy_over_the_cells_that_both_have() -> None:
    first, second = cubes(0)
    first[:, 1, :], second[:, :, 2] = math.nan, math.nan
    first[np.random.default_rng(1).random(first.shape) < 0.2] = math.nan
    found = grid_correlation(first, second, names_of(60), resamples=50)
    with np.errstate(invalid="ignore"):
        grids = [np.nansum(c, 0) / (~np.isnan(c)).sum(0) for c in (first, second)]
    theirs = spearmanr(grids[0].ravel(), grids[1].ravel(), nan_policy="omit").statistic
    assert found.value == pytest.approx(theirs)
    assert found.cells == 16
    assert (found.n, found.clusters) == (60, 30)


def test_interval_holds_the_value_and_narrows_with_clusters() -> None:
    widths = []
    for items in (40, 400):
        first, second = cubes(2, items)
        found = grid_correlation(first, second, names_of(items), resamples=300)
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert -1 < found.low < found.value < found.high < 1
        widths.append(found.high - found.low)
    assert widths[1] < widths[0]


def test_interval_of_grids_without_anything_in_common_covers_zero() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(40):
        first, second = (rng.random((2, 40, 30)) < 0.4).astype(float)
        found = grid_correlation(first, second, names_of(40), resamples=200)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert covered >= 34


def test_interval_is_repeatable_and_its_seed_matters() -> None:
    first, second = cubes(4)
    found = [
        grid_correlation(first, second, names_of(60), seed=seed, resamples=100)
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1]
    assert found[0].low != found[2].low


def test_a_grid_agrees_with_itself_and_has_no_interval() -> None:
    first, _ = cubes(5)
    found = grid_correlation(first, first, names_of(60), resamples=50)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    mirrored = grid_correlation(first, 1 - first, names_of(60), resamples=50)
    assert (mirrored.value, mirrored.low) == (-1.0, None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.ones((6, 4)), np.arange(24.0).reshape(6, 4)),
        (np.full((6, 4), math.nan), np.arange(24.0).reshape(6, 4)),
        (np.arange(12.0).reshape(6, 2), np.arange(12.0).reshape(6, 2)),
        (np.zeros((0, 4)), np.zeros((0, 4))),
    ],
    ids=["constant", "nothing observed", "two cells", "no items"],
)
def test_undefined_is_none(first: np.ndarray, second: np.ndarray) -> None:
    found = grid_correlation(first, second, names_of(len(first)), resamples=20)
    assert (found.value, found.low, found.high) == (None, None, None)


def test_one_cluster_has_a_value_but_no_interval() -> None:
    first, second = cubes(6, items=8)
    found = grid_correlation(first, second, ["a"] * 8)
    assert found.value is not None
    assert found.low is None


@settings(max_examples=20)
@given(st.integers(0, 1_000), st.randoms(use_true_random=False))
def test_neither_side_nor_order_nor_scale_matters(seed: int, random) -> None:
    first, second = cubes(seed, items=20, side=3)
    names = names_of(20)
    order, cells = random.sample(range(20), 20), random.sample(range(9), 9)
    moved = [cube.reshape(20, 9)[order][:, cells] for cube in (first, second)]
    found = [
        grid_correlation(first, second, names, resamples=60),
        grid_correlation(second, first, names, resamples=60),
        grid_correlation(moved[0], 2 * moved[1] + 1, [names[k] for k in order], resamples=60),
    ]
    for name in ("value", "low", "high"):
        values = [getattr(one, name) for one in found]
        assert values[1:] == [None if values[0] is None else pytest.approx(values[0])] * 2


def test_grids_must_match() -> None:
    with pytest.raises(ValueError, match="shapes"):
        grid_correlation(np.zeros((3, 2, 2)), np.zeros((3, 4)), list("abc"))
    with pytest.raises(ValueError, match="3 observations but 2 cluster names"):
        split_half(np.zeros((3, 4)), list("ab"))


def test_halves_agree_where_cells_differ_and_not_where_they_do_not() -> None:
    signal = split_half(cubes(7, items=400)[0], names_of(400))
    assert signal.value is not None
    assert signal.low is not None
    assert signal.high is not None
    assert 0.7 < signal.low < signal.value < signal.high <= 1
    noise = [split_half(cubes(seed, 200, spread=0.0)[0], names_of(200)).value for seed in range(20)]
    assert abs(np.mean([value for value in noise if value is not None])) < 0.15


def test_full_length_is_spearman_and_browns_formula() -> None:
    found = split_half(cubes(8)[0], names_of(60), splits=40)
    assert found.value is not None
    assert found.full == pytest.approx(2 * found.value / (1 + found.value))
    assert (found.splits, found.cells, found.n, found.clusters) == (40, 25, 60, 30)


def test_a_cluster_is_never_divided() -> None:
    # Every cluster holds an item and its opposite, so undivided clusters leave nothing to rank.
    first = (np.random.default_rng(9).random((20, 6)) < 0.5).astype(float)
    cube = np.stack([first, 1 - first], axis=1).reshape(40, 6)
    assert split_half(cube, names_of(40)).value is None
    assert split_half(cube, [str(k) for k in range(40)]).value is not None


def test_halves_are_repeatable_and_need_four_clusters() -> None:
    cube = cubes(10, items=8)[0]
    assert split_half(cube, names_of(8), seed=3) == split_half(cube, names_of(8), seed=3)
    assert split_half(cube, names_of(8), seed=3) != split_half(cube, names_of(8), seed=4)
    few = split_half(cube[:6], names_of(6))
    assert (few.value, few.low, few.full, few.clusters) == (None, None, None, 3)
