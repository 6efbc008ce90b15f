"""Simulated opinions: what is planted is there, and rows say the same as closeness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crosslatent.analysis.culture.culture_answers import DONOR, TRANSPLANT, VANILLA
from crosslatent.analysis.culture.measures.similarity import Similarity
from crosslatent.analysis.culture.opinions import entropy
from crosslatent.planted.opinion_world import OpinionWorld

WORLD = OpinionWorld(questions=12, countries=3, known=0.2, shift=0.2)


@pytest.mark.parametrize("world", [WORLD, replace(WORLD, same_labels=False)])
def test_rows_say_what_closeness_says(world):
    near, (questions, runs) = world.draw(7), world.answers(7)
    found = Similarity().closeness(questions, runs)
    assert found.countries == near.countries
    assert (found.own == near.own).all()
    assert [one.split("/")[1] for one in found.clusters] == list(near.clusters)
    assert set(found.runs) == set(near.runs)
    for name, values in near.runs.items():
        np.testing.assert_allclose(found.runs[name], values, atol=1e-9)
    np.testing.assert_allclose(found.flat, near.flat, atol=1e-9)
    np.testing.assert_allclose(found.sureness[TRANSPLANT], near.sureness[TRANSPLANT], atol=1e-9)


def test_questions_have_the_options_and_donors_that_were_asked_for():
    questions, runs = OpinionWorld(questions=200, countries=2, options=(2, 6)).answers(0)
    assert {len(one.options) for one in questions} == {2, 3, 4, 5, 6}
    assert all(sum(one.shares) == pytest.approx(1) for one in questions)
    for one in questions:
        assert one.id not in runs[f"{DONOR}{one.lang}"].plain
        assert len(runs[VANILLA].plain[one.id].probabilities) == len(one.options)


def test_a_shift_is_the_weight_of_the_own_country():
    """Without noise, and with the mean weight over very many questions."""
    world = OpinionWorld(questions=4000, countries=2, shift=0.2, moved=1, noise=0.0)
    questions, runs = world.answers(1)
    weights = {one.country: [] for one in questions}
    for one in questions:
        old, new = (
            np.array(runs[name].plain[one.id].probabilities) for name in (VANILLA, TRANSPLANT)
        )
        gap = np.array(one.shares) - old
        weights[one.country].append((new - old) @ gap / (gap @ gap))
    moved, still = (np.array(each) for each in weights.values())
    assert np.minimum(0.2 * np.random.default_rng(0).gamma(0.5, 2.0, 10**6), 1).mean() == (
        pytest.approx(moved.mean(), abs=0.02)
    )
    np.testing.assert_allclose(still, 0.0, atol=1e-9)


def test_a_temperature_is_that_of_the_unmodified_answers():
    questions, runs = OpinionWorld(questions=10, temperature=2.0).answers(0)
    for one in questions:
        old, new = (
            np.array(runs[name].plain[one.id].probabilities) for name in (VANILLA, TRANSPLANT)
        )
        np.testing.assert_allclose(new, old**0.5 / (old**0.5).sum())
        assert entropy(new) >= entropy(old)


def test_a_seed_is_a_world():
    assert (WORLD.draw(1).runs[VANILLA] == WORLD.draw(1).runs[VANILLA]).all()
    assert (WORLD.draw(1).runs[VANILLA] != WORLD.draw(2).runs[VANILLA]).any()
