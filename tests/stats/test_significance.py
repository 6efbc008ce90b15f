"""Tests of paired answers: by hand, against scipy and statsmodels, invariances, undefined cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.contingency_tables import mcnemar as theirs_mcnemar

from crosslatent.stats import (
    PermutationTest,
    cluster_permutation,
    cluster_permutations,
    cluster_sign_test,
    mcnemar,
    paired_test,
)

SIDES = ("two_sided", "greater", "less")


def p_values(test: PermutationTest) -> tuple[float | None, ...]:
    return test.p_two_sided, test.p_greater, test.p_less


def clustered(seed: int, clusters: int, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray, list]:
    rng = np.random.default_rng(seed)
    names = [f"c{k}" for k in np.repeat(np.arange(clusters), rng.integers(1, 5, clusters))]
    control = (rng.random(len(names)) < 0.4).astype(float)
    return (rng.random(len(names)) < 0.4 + gain).astype(float), control, names


def of_scipy(true: np.ndarray, control: np.ndarray, names: list, side: str, draws: float) -> float:
    labels = np.array(names)
    sums = [
        np.array([side[labels == name].sum() for name in sorted(set(names))])
        for side in (true, control)
    ]
    return permutation_test(
        tuple(sums),
        lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples",
        alternative=side.replace("_", "-"),
        n_resamples=draws,
        rng=np.random.default_rng(1),
    ).pvalue


@pytest.mark.parametrize(
    ("repaired", "broken", "p"),
    [(5, 0, 2 * 0.5**5), (0, 5, 2 * 0.5**5), (3, 3, 1.0), (4, 1, 2 * 6 * 0.5**5)],
)
def test_mcnemar_by_hand(repaired: int, broken: int, p: float) -> None:
    assert mcnemar(repaired, broken) == pytest.approx(p)


def test_mcnemar_is_undefined_when_nothing_changed() -> None:
    assert mcnemar(0, 0) is None


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(repaired: int, broken: int) -> None:
    if repaired + broken:
        theirs = theirs_mcnemar([[9, repaired], [broken, 9]], exact=True).pvalue
        assert mcnemar(repaired, broken) == pytest.approx(theirs)


def test_permutation_by_hand() -> None:
    # Sums by cluster 2, 1, 1: of the eight patterns one reaches 4, and one -4.
    test = cluster_permutation([1, 1, 1, 1], [0, 0, 0, 0], ["a", "a", "b", "c"])
    assert p_values(test) == (2 / 8, 1 / 8, 1.0)
    assert (test.value, test.n, test.clusters, test.differing) == (1.0, 4, 3, 3)
    assert (test.exact, test.permutations) == (True, 8)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", range(4))
def test_few_clusters_are_enumerated_as_scipy_does(seed: int, side: str) -> None:
    true, control, names = clustered(seed, 11)
    test = cluster_permutation(true, control, names)
    assert test.exact
    expected = of_scipy(true, control, names, side, math.inf)
    assert getattr(test, f"p_{side}") == pytest.approx(expected)


@pytest.mark.parametrize("side", SIDES)
def test_many_clusters_are_drawn_as_scipy_does(side: str) -> None:
    true, control, names = clustered(3, 60, gain=0.12)
    test = cluster_permutation(true, control, names)
    assert not test.exact
    assert test.permutations == 10_000
    expected = of_scipy(true, control, names, side, 9_999)
    assert getattr(test, f"p_{side}") == pytest.approx(expected, abs=0.015)


def test_p_is_never_zero() -> None:
    names = [f"c{k}" for k in range(60)]
    test = cluster_permutation([1] * 60, [0] * 60, names, permutations=199)
    assert p_values(test) == (1 / 200, 1 / 200, 1.0)


def test_a_union_is_taken_over_the_attempts_that_both_sides_have() -> None:
    true = np.array([[[0, 1], [0, math.nan]], [[0, 0], [0, 1]], [[math.nan] * 2] * 2])
    control = np.array([[[0, 0], [1, 1]], [[0, 0], [0, math.nan]], [[1, 1], [1, 1]]])
    test = cluster_permutation(true, control, ["a", "b", "c"], statistic="union")
    # First item: 1 against 1; second: 0 against 0; the third has no attempt in common.
    assert (test.value, test.n, test.differing) == (0.0, 2, 0)
    mean = cluster_permutation(true, control, ["a", "b", "c"])
    assert mean.value == pytest.approx((1 / 3 - 1 / 3 + 0) / 2)


def test_exchanging_cubes_and_exchanging_their_unions_is_the_same() -> None:
    rng = np.random.default_rng(5)
    true, control = (rng.random((2, 40, 3, 3)) < 0.15).astype(float)
    names = [f"c{k // 4}" for k in range(40)]
    flipped = np.array([int(name[1:]) % 2 == 0 for name in names])[:, None, None]
    swapped = np.where(flipped, control, true), np.where(flipped, true, control)
    unions = [side.any(axis=(1, 2)).astype(float) for side in swapped]
    cubes = cluster_permutation(*swapped, names, statistic="union")
    assert cubes == cluster_permutation(*unions, names)


@pytest.mark.parametrize(
    ("true", "control"), [([], []), ([math.nan], [1]), ([1, 0], [1, 0]), ([1, 0], [0, 1])]
)
def test_nothing_to_exchange_is_undefined(true: list, control: list) -> None:
    test = cluster_permutation(true, control, ["a"] * len(true))
    assert p_values(test) == (None, None, None)
    assert test.differing == 0
    assert (test.value is None) == (test.n == 0)


def test_columns_together_are_the_columns_one_by_one() -> None:
    rng = np.random.default_rng(2)
    true, control = (rng.random((2, 50, 4)) < 0.5).astype(float)
    true[rng.random(true.shape) < 0.1] = math.nan
    true[:, 2] = control[:, 2]
    names = [f"c{k // 2}" for k in range(50)]
    together = cluster_permutations(true, control, names, permutations=500)
    alone = [
        cluster_permutation(true[:, k], control[:, k], names, permutations=500) for k in range(4)
    ]
    assert together == alone
    assert [test.p_greater is None for test in together] == [False, False, True, False]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="shape"):
        cluster_permutation([1, 0], [1], ["a", "b"])
    with pytest.raises(ValueError, match="2 observations but 1 cluster names"):
        cluster_permutation([1, 0], [1, 1], ["a"])
    with pytest.raises(ValueError, match="no statistic 'median'"):
        cluster_permutation([1], [0], ["a"], statistic="median")  # type: ignore[arg-type]


answers = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.integers(0, 5)),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60)
@given(answers)
def test_swapping_the_sides_swaps_the_one_sided_tests(rows: list[tuple]) -> None:
    true, control, clusters = map(list, zip(*rows, strict=True))
    names = [f"c{k}" for k in clusters]
    one, other = (
        cluster_permutation(true, control, names),
        cluster_permutation(control, true, names),
    )
    assert one.p_two_sided == other.p_two_sided
    assert (one.p_greater, one.p_less) == (other.p_less, other.p_greater)
    assert one.value == -other.value


@settings(max_examples=60)
@given(answers, st.randoms(use_true_random=False))
def test_order_and_names_do_not_matter(rows: list[tuple], random) -> None:
    shuffled = random.sample(rows, len(rows))
    tests = [
        cluster_permutation(
            [row[0] for row in some], [row[1] for row in some], [name + str(row[2]) for row in some]
        )
        for some, name in ((rows, "a"), (shuffled, "b"))
    ]
    assert tests[0] == tests[1]


@settings(max_examples=60)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=12))
def test_with_one_item_per_cluster_all_tests_are_mcnemar(change: list[float]) -> None:
    names = [str(k) for k in range(len(change))]
    expected = mcnemar(change.count(1.0), change.count(-1.0))
    signs = cluster_sign_test(change, names)
    permuted = cluster_permutation(change, [0.0] * len(change), names)
    assert signs.p_two_sided == expected
    assert permuted.p_two_sided == (None if expected is None else pytest.approx(expected))


def test_sign_test_counts_clusters() -> None:
    test = cluster_sign_test([1, 1, -1, 1, -1, 0, math.nan], list("aaabccd"))
    assert (test.positive, test.negative, test.level) == (2, 1, 0)
    assert (test.n, test.clusters, test.p_two_sided) == (6, 3, 1.0)
    assert cluster_sign_test([], []).p_two_sided is None


def repeated(facts: int, times: int) -> tuple[list[float], list[float], list[str]]:
    """Every fact answered alike `times` times: three of four repaired, the others broken."""
    after = [float(k % 4 != 0) for k in range(facts) for _ in range(times)]
    names = [f"fact{k}" for k in range(facts) for _ in range(times)]
    return after, [1 - right for right in after], names


@pytest.mark.parametrize(("facts", "times"), [(8, 4), (8, 14), (12, 2), (9, 3), (5, 50)])
@pytest.mark.parametrize("one_language", [True, False])
def test_answers_that_only_repeat_add_nothing_to_a_claim(
    facts: int, times: int, one_language: bool
) -> None:
    after, before, names = repeated(facts, times)
    test = paired_test(after, before, names, one_language=one_language)
    assert test.method == "permutation by cluster"
    assert test.p_value == cluster_permutation(after, before, names).p_two_sided
    assert test.p_value == pytest.approx(mcnemar(facts - -(-facts // 4), -(-facts // 4)))
    items = mcnemar(int(sum(after)), int(sum(before)))
    assert items is not None
    assert items < test.p_value


@pytest.mark.parametrize(
    ("after", "names", "one_language", "method"),
    [
        ([1, 1, 0], ["a", "b", "c"], True, "exact McNemar"),
        ([1, 1, 0], ["a", "b", "c"], False, "permutation by cluster"),
        ([1, 1, 0], ["a", "b", "b"], True, "permutation by cluster"),
        ([0.5, 1, 0], ["a", "b", "c"], True, "permutation by cluster"),
        ([1, 1, math.nan], ["a", "b", "b"], True, "exact McNemar"),
        ([math.nan] * 3, ["a", "b", "c"], True, "exact McNemar"),
    ],
    ids=["once", "languages", "twice", "scores", "twice but once missing", "nothing"],
)
def test_questions_are_counted_only_where_each_is_a_fact_of_its_own(
    after: list[float], names: list[str], one_language: bool, method: str
) -> None:
    assert paired_test(after, [0, 0, 1], names, one_language=one_language).method == method
