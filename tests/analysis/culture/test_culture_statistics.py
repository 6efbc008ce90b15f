"""Contrasts, differences in differences and steps: equal to plain loops, right on known worlds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from crosslatent.analysis.culture.contrasts import MeasureRow, measure_rows, not_worse
from crosslatent.analysis.culture.culture_answers import (
    DONOR,
    OTHER_CULTURE,
    TRANSPLANT,
    VANILLA,
    Cells,
    Closeness,
)
from crosslatent.analysis.culture.differences import differences
from crosslatent.analysis.culture.measure_cells import made_of
from crosslatent.analysis.culture.opinions import (
    entropy,
    flattened,
    kept_options,
    similarity,
    spread,
)
from crosslatent.analysis.culture.steps import country_claims
from crosslatent.planted.opinion_world import OpinionWorld
from crosslatent.stats.hypothesis_tests import holm
from crosslatent.tasks.metrics import js_similarity


def drawn(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1.0] * 4, n)


def test_similarity_is_that_of_scipy_and_of_the_metric():
    p, h = drawn(30), drawn(30, 1)
    h[:5, 3] = 0
    h /= h.sum(1, keepdims=True)
    found = similarity(p, h)
    np.testing.assert_allclose(found, 1 - jensenshannon(p, h, base=2, axis=1), atol=1e-12)
    metric = [js_similarity(a, b) for a, b in zip(p, h, strict=True)]
    np.testing.assert_allclose(found, metric, atol=1e-12)
    assert np.isnan(similarity(p, np.full_like(h, np.nan))).all()
    assert similarity(p, p) == pytest.approx(1.0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 20.0])
def test_flattening_finds_a_temperature_again(temperature):
    p = drawn(40)
    warm = p ** (1 / temperature)
    warm /= warm.sum(1, keepdims=True)
    np.testing.assert_allclose(flattened(p, entropy(warm)), warm, atol=1e-6)


def test_flattening_at_its_limits():
    p = np.array([[0.5, 0.3, 0.2, 0.0], [0.5, 0.5, 0.0, 0.0]])
    uniform = flattened(p, np.array([9.0, 9.0]))
    np.testing.assert_allclose(uniform, [[1 / 3, 1 / 3, 1 / 3, 0], [0.5, 0.5, 0, 0]], atol=1e-4)
    sharp = flattened(p, np.array([0.0, 0.0]))
    np.testing.assert_allclose(sharp, [[1, 0, 0, 0], [0.5, 0.5, 0, 0]], atol=1e-6)
    assert np.isnan(flattened(p, np.array([np.nan, 1.0]))[0]).all()


def test_options_that_are_no_opinion_are_left_out():
    missing = frozenset({"don't know", "no answer"})
    assert kept_options(["Good", "Don't know", "Bad", "No answer "], missing) == [0, 2]
    assert kept_options(["Good", "Don't know"], missing) == [0, 1]  # nothing would be left


def test_spread_is_the_mean_over_pairs_of_countries():
    shares = np.stack([drawn(6), drawn(6, 1), drawn(6, 2)], 1)
    shares[0, 2] = np.nan
    pairs = [
        jensenshannon(one[a], one[b], base=2) ** 2
        for one in shares
        for a, b in ((0, 1), (0, 2), (1, 2))
        if not np.isnan(one[[a, b]]).any()
    ]
    assert spread(shares) == pytest.approx(np.mean(pairs))


def cells(values: np.ndarray, groups: bool = False, weights: np.ndarray | None = None) -> Cells:
    """Twelve clusters of two units; countries a and b; groups x and y."""
    return made_of(
        (
            f"u{k}",
            f"c{k // 2}",
            "ab"[k % 2],
            "xy"[k % 3 == 0] if groups else "",
            float(value),
            1.0 if weights is None else float(weights[k]),
        )
        for k, value in enumerate(values)
    )


def plain(one: Cells, signs: dict[str, float], country: str = "", weight=None) -> float:
    """The estimate by loops, with a weight for each cluster."""
    total = 0.0
    for group, sign in signs.items():
        each = []
        for name in [country] if country else dict.fromkeys(one.countries):
            at = [
                k
                for k in range(len(one.units))
                if one.countries[k] == name and one.groups[k] == group
            ]
            w = [1.0 if weight is None else weight[one.clusters[k]] for k in at]
            below = sum(a * one.weights[k] for a, k in zip(w, at, strict=True))
            above = sum(a * one.values[k] for a, k in zip(w, at, strict=True))
            if below > 0:
                each.append(above / below)
        total += sign * float(np.mean(each))
    return total


@pytest.mark.parametrize("kind", ["means", "groups", "ratios"])
def test_figures_are_those_of_plain_loops(kind):
    chance = np.random.default_rng(1)
    signs = {"x": 1.0, "y": -1.0} if kind == "groups" else {"": 1.0}
    weights = chance.integers(0, 2, 24) if kind == "ratios" else None

    def one(shift: float) -> Cells:
        values = chance.random(24) + shift
        return cells(values if weights is None else values * weights, kind == "groups", weights)

    sides = {VANILLA: one(0.0), TRANSPLANT: one(0.3), "noise": one(0.1)}
    for row in measure_rows(sides, signs, seed=0):
        country = row.country
        truth = {name: plain(side, signs, country) for name, side in sides.items()}
        assert row.vanilla.value == pytest.approx(truth[VANILLA])
        assert row.change.value == pytest.approx(truth[TRANSPLANT] - truth[VANILLA])
        assert row.against["noise"].value == pytest.approx(truth[TRANSPLANT] - truth["noise"])
        assert row.controls["noise"].value == pytest.approx(truth["noise"] - truth[VANILLA])
        assert row.change.low < row.change.value < row.change.high
        if not country:
            assert row.change.p == pytest.approx(exact_p(sides, signs))


def exact_p(sides: dict[str, Cells], signs: dict[str, float]) -> float:
    """All exchanges of two conditions within the twelve clusters, by loops."""
    one, other = sides[TRANSPLANT], sides[VANILLA]
    observed = plain(one, signs) - plain(other, signs)
    place = {name: k for k, name in enumerate(dict.fromkeys(one.clusters))}
    at = np.array([place[name] for name in one.clusters])
    count, further = len(place), 0
    for pattern in range(2**count):
        swap = (pattern >> at & 1).astype(bool)
        a, b = (
            Cells(one.units, one.clusters, one.countries, one.groups, first, weights)
            for first, weights in (
                (
                    np.where(swap, other.values, one.values),
                    np.where(swap, other.weights, one.weights),
                ),
                (
                    np.where(swap, one.values, other.values),
                    np.where(swap, one.weights, other.weights),
                ),
            )
        )
        further += abs(plain(a, signs) - plain(b, signs)) >= abs(observed) - 1e-9
    return further / 2**count


def test_only_units_of_both_conditions_are_compared():
    values = np.arange(24.0)
    some = values.copy()
    some[:4] = np.nan
    (row, *_) = measure_rows({VANILLA: cells(values), TRANSPLANT: cells(some)}, {"": 1.0}, seed=0)
    assert row.vanilla.n == 24
    assert row.change.n == 20
    assert row.change.value == pytest.approx(0.0)


def test_nearly_the_same_distributions_have_their_true_similarity():
    """Of p (1 + d) and p (1 - d) the divergence is, for small d, the sum of p d^2 / (2 log 2)."""
    p, d = drawn(50), 1e-9 * np.random.default_rng(3).normal(size=(50, 4))
    expected = np.sqrt((p * d**2).sum(1) / (2 * np.log(2)))
    np.testing.assert_allclose(1 - similarity(p * (1 + d), p * (1 - d)), expected, atol=1e-15)
    assert (similarity(p, p) == 1.0).all()


def test_ragged_options_and_countries_without_data():
    """Shape (questions, countries, options); options that are not there are 0."""
    p = np.array([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]])
    h = np.array([[[0.1, 0.9, 0.0], [np.nan] * 3], [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]])
    found = similarity(p[:, None], h)
    assert np.isnan(found[0, 1])
    assert found[0, 0] == pytest.approx(js_similarity(p[0, :2], h[0, 0, :2]), abs=1e-12)
    for country in (0, 1):
        expected = js_similarity(p[1], h[1, country])
        assert found[1, country] == pytest.approx(expected, abs=1e-12)
    assert similarity(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 0.0


def test_exchanges_that_leave_nothing_to_divide_by_are_no_evidence():
    """Each side counts in one cluster: half of the exchanges leave one of them none."""
    first, second = np.zeros((2, 24))
    first[:2], second[2:4] = 1, 1
    sides = {
        VANILLA: cells(np.zeros(24), weights=second),
        TRANSPLANT: cells(first, weights=first),
    }
    (row, *_) = measure_rows(sides, {"": 1.0}, seed=0)
    assert row.change.value == 1.0
    assert row.change.p == pytest.approx(1.0)


def test_what_all_clusters_agree_on_has_no_interval():
    values = np.random.default_rng(0).random(24)
    sides = {VANILLA: cells(values), TRANSPLANT: cells(values)}
    (row, *_) = measure_rows(sides, {"": 1.0}, seed=0)
    assert (row.change.value, row.change.low, row.change.high) == (0.0, None, None)
    assert row.change.floor == 0.0  # twelve clusters do not agree by chance


def test_bounds_of_non_inferiority_are_one_sided():
    chance = np.random.default_rng(4)
    values = chance.random(24)
    sides = {VANILLA: cells(values), TRANSPLANT: cells(values + chance.normal(size=24))}
    (row, *_) = measure_rows(sides, {"": 1.0}, seed=0)
    assert row.change.low < row.change.floor < row.change.value
    between = -(row.change.low + row.change.floor) / 2
    assert not_worse(row, between) is True


def test_changes_are_corrected_over_countries():
    chance = np.random.default_rng(5)
    values = chance.random(24)
    moved = values + 0.3 * chance.normal(size=24) + np.tile([0.3, 0.0], 12)
    pooled, one, two = measure_rows(
        {VANILLA: cells(values), TRANSPLANT: cells(moved)}, {"": 1.0}, seed=0
    )
    assert pooled.holm is None
    assert [one.holm, two.holm] == list(holm([one.change.p, two.change.p]).adjusted)


def test_not_worse_needs_an_interval_above_the_margin():
    values = np.random.default_rng(0).random(24)
    (same, *_) = measure_rows(
        {VANILLA: cells(values), TRANSPLANT: cells(values)}, {"": 1.0}, seed=0
    )
    (worse, *_) = measure_rows(
        {VANILLA: cells(values), TRANSPLANT: cells(values - 1)}, {"": 1.0}, seed=0
    )
    (wide, *_) = measure_rows(
        {VANILLA: cells(values), TRANSPLANT: cells(values[::-1])}, {"": 1.0}, seed=0
    )
    assert [not_worse(row, 0.02) for row in (same, worse, wide)] == [True, False, None]
    assert not_worse(MeasureRow("", None, None, None), 0.02) is None


def test_differences_are_those_of_their_definitions():
    world = OpinionWorld(questions=30, countries=3, shift=0.3)
    near = world.draw(5)
    found = differences(near, seed=0, exchanges=99)
    runs, rows = near.runs, range(len(near.own))

    def own(name: str, k: int) -> float:
        return runs[name][k, near.own[k]]

    def others(name: str, k: int) -> float:
        return float(np.mean([v for c, v in enumerate(runs[name][k]) if c != near.own[k]]))

    donors = [name for name in runs if name.startswith(DONOR)]
    for country, place in {name: k for k, name in enumerate(near.countries)}.items():
        asked = [k for k in rows if near.own[k] == place]
        did = [
            own(TRANSPLANT, k) - own(VANILLA, k) - others(TRANSPLANT, k) + others(VANILLA, k)
            for k in asked
        ]
        assert found["did_country"][country].value == pytest.approx(np.mean(did))
        full = []
        for k in asked:
            every = [own(d, k) - others(d, k) for d in donors if np.isfinite(own(d, k))]
            full.append(own(TRANSPLANT, k) - others(TRANSPLANT, k) - np.mean(every))
        assert found["did_full"][country].value == pytest.approx(np.mean(full))
    single = [found["did_country"][name].value for name in near.countries]
    assert found["did_country"][""].value == pytest.approx(np.mean(single))


def test_a_temperature_gains_nothing_over_flatness():
    near = OpinionWorld(questions=60, temperature=2.0).draw(0)
    found = differences(near, seed=0, exchanges=99)
    assert abs(found["own_gain"][""].value) > 0.01
    assert abs(found["over_flat"][""].value) < 1e-6
    assert all(one.step < 2 for one in country_claims(near, seed=0, exchanges=499))


def test_a_donor_that_does_the_same_for_everybody_is_no_claim():
    near = OpinionWorld(questions=80, mean_shift=0.3).draw(1)
    found = differences(near, seed=0, exchanges=99)["did_full"][""]
    assert found.low < 0 < found.high
    assert all(one.step < 3 for one in country_claims(near, seed=0, exchanges=499))


def test_a_planted_shift_is_claimed_with_all_steps():
    claims = country_claims(OpinionWorld(questions=100, shift=0.3).draw(2), seed=0, exchanges=999)
    assert [one.step for one in claims] == [3] * 5
    assert claims[0].country == ""


def test_without_a_control_a_step_is_not_tested():
    near = OpinionWorld(questions=100, shift=0.3).draw(2)
    runs = {name: each for name, each in near.runs.items() if name != OTHER_CULTURE}
    claims = country_claims(replace(near, runs=runs), seed=0, exchanges=499)
    assert {one.step for one in claims} == {2}
    assert claims[1].reasons[3] == "It is not tested: no other culture is matched."
    assert claims[1].holm[3] is None
    alone = Closeness(
        near.countries[:1], np.zeros(400, dtype=np.intp), near.clusters, near.runs, near.sureness
    )
    alone = replace(alone, runs={name: each[:, :1] for name, each in near.runs.items()})
    (_, only) = country_claims(alone, seed=0, exchanges=99)
    assert "no other country" in only.reasons[2]


def test_the_joint_test_of_a_change_is_that_of_plain_loops():
    """All exchanges of eight questions, each change in units of its spread under exchanges."""
    near = OpinionWorld(questions=8, countries=2, shift=0.1).draw(3)
    claims = {one.country: one.tests["changed"] for one in country_claims(near, seed=0)}
    for place, country in enumerate(near.countries):
        at = np.flatnonzero(near.own == place)
        changes = [
            [near.runs[TRANSPLANT][k, place] - near.runs[VANILLA][k, place] for k in at],
            [near.runs[TRANSPLANT][k, 1 - place] - near.runs[VANILLA][k, 1 - place] for k in at],
            [near.sureness[TRANSPLANT][k] - near.sureness[VANILLA][k] for k in at],
        ]
        every = [
            [abs(sum(d if pattern >> i & 1 else -d for i, d in enumerate(one))) for one in changes]
            for pattern in range(2**8)
        ]
        spread_of = [np.sqrt(np.mean(np.square(one[:-1]))) for one in zip(*every, strict=True)]
        largest = [max(v / s for v, s in zip(one, spread_of, strict=True)) for one in every]
        expected = np.mean([one >= largest[-1] - 1e-9 for one in largest])
        assert claims[country] == pytest.approx(expected)


def test_rounding_is_no_gain_over_flatness():
    """The model knows the country, so that a temperature alone brings its answers closer to it."""
    near = OpinionWorld(questions=60, known=0.5, temperature=0.5).draw(0)
    rounded = replace(near, flat=near.flat - 1e-8)
    found = differences(rounded, seed=0)
    assert found["did_country"][""].p < 0.01
    assert found["over_flat"][""].value == 0.0
    assert found["over_flat"][""].p == 1.0
    assert {one.step for one in country_claims(rounded, seed=0)} == {1}


def test_a_step_needs_all_of_its_tests():
    """Any donor brings answers closer to the country asked about: that is the second step."""
    near = OpinionWorld(questions=100, any_shift=0.3).draw(1)
    claims = country_claims(near, seed=0)
    assert {one.step for one in claims} == {2}
    for one in claims[1:]:
        names = ("did_full", "over_other_culture", "over_shuffled")
        assert one.holm[3] >= max(one.tests[name] for name in names)
