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
from crosslatent.tasks.metrics import js_similarity
from scripts import culture_null


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


def _mixed(swap: np.ndarray, one: Cells, other: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights of one condition, of another one where they are exchanged."""
    return np.where(swap, other.values, one.values), np.where(swap, other.weights, one.weights)


def test_only_units_of_both_conditions_are_compared():
    values = np.arange(24.0)
    some = values.copy()
    some[:4] = np.nan
    (row, *_) = measure_rows({VANILLA: cells(values), TRANSPLANT: cells(some)}, {"": 1.0}, seed=0)
    assert row.vanilla.n == 24
    assert row.change.n == 20
    assert row.change.value == pytest.approx(0.0)


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
    near = OpinionWorld(questions=80, any_shift=0.3).draw(1)
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


def test_coverage_nulls_and_power_of_the_script():
    """Few repetitions, wide bounds: `python -m scripts.culture_null` has the thousand."""
    few = range(60)
    assert culture_null.coverage(culture_null.SHIFTED, few) >= 0.85
    for name in ("nothing", "permuted"):
        world = (
            culture_null.NOTHING
            if name == "nothing"
            else replace(culture_null.SHIFTED, same_labels=False)
        )
        found = culture_null.claimed(replace(world, questions=60), few)
        assert found[3] <= found[2] <= 0.12
        assert name == "permuted" or found[1] <= 0.15
    needed = culture_null.questions_needed(culture_null.SHIFTED)
    shifted = culture_null.claimed(replace(culture_null.SHIFTED, questions=needed), range(20))
    assert shifted[3] >= 0.6
