"""Separability: the nearest mean on held-out texts, against a loop and on clouds of points."""

from __future__ import annotations

import numpy as np
import pytest

from crosslatent.core.subspace import fit_subspaces
from crosslatent.lens.state_statistics import learned_rule, nearest, separability

LANGS = ("en", "sw", "hi")


def clouds(distance, seed, n=40, d=12):
    """States of three languages around means that lie `distance` apart in all; n d each."""
    centres = 5 + distance * np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0][:3]
    noise = np.random.default_rng(seed)
    return {lang: centres[k] + noise.normal(size=(n, d)) for k, lang in enumerate(LANGS)}


def told_apart(distance, rank=None, clusters=None):
    """What is found in two layers, of which the second has its texts in the wrong order."""
    subspace = fit_subspaces(clouds(distance, seed=1), central="en", rank=rank)
    states = np.concatenate(list(clouds(distance, seed=2).values()))
    langs = [lang for lang in LANGS for _ in range(40)]
    clusters = clusters or [str(k) for k in range(len(langs))]
    both = np.stack([states, states[::-1]], axis=1)
    found = separability(both, langs, clusters, [subspace] * 2, [0, "final"])
    return found, subspace, states, langs


def test_it_is_the_share_of_texts_nearest_to_their_own_mean():
    found, subspace, states, langs = told_apart(2.0, rank=1)
    hits, inside = 0, 0
    for state, lang in zip(states, langs, strict=True):
        by_mean = [np.linalg.norm(state - subspace.mean(other)) for other in LANGS]
        hits += LANGS[int(np.argmin(by_mean))] == lang
        axis = subspace.specific[:, 0]
        by_axis = [abs((state - subspace.mean(other)) @ axis) for other in LANGS]
        inside += LANGS[int(np.argmin(by_axis))] == lang
    one = found[0]
    assert one.full.value == pytest.approx(hits / 120)
    assert one.specific.value == pytest.approx(inside / 120)
    assert inside < hits < 120
    assert one.full.low < one.full.value < one.full.high
    assert (one.layer, one.n, one.chance) == (0, 120, pytest.approx(1 / 3))


def test_the_learned_rule_ignores_a_spread_that_hides_the_means_from_the_nearest_one():
    draw = np.random.default_rng(0)
    langs = [lang for lang in LANGS for _ in range(40)]
    states = draw.normal(size=(120, 6))
    states[:, 0] *= 100  # says nothing, and drowns the others in every distance
    for place, lang in enumerate(langs):
        states[place, 1 + LANGS.index(lang)] += 6
    clusters = [str(k) for k in range(120)]
    subspace = fit_subspaces(
        {lang: states[np.array(langs) == lang] for lang in LANGS}, central="en"
    )
    found = separability(states[:, None], langs, clusters, [subspace], [0])[0]
    assert found.linear.value > 0.95
    assert found.full.value < 0.8


def test_the_learned_rule_finds_nothing_in_noise_and_tells_parallel_texts_together():
    draw = np.random.default_rng(1)
    langs = [lang for _ in range(40) for lang in LANGS]
    own = draw.normal(size=(40, 60))
    # Every row's three texts are alike but for a sign by row: told apart only by knowing the row.
    states = np.repeat(own, 3, axis=0) + 0.01 * draw.normal(size=(120, 60))
    rows = [str(k) for k in range(40) for _ in LANGS]
    told = learned_rule(states, langs, rows)
    assert abs(told.mean() - 1 / 3) < 0.2


def test_there_are_too_few_texts_to_learn_from():
    assert learned_rule(np.ones((8, 3)), ["en"] * 4 + ["sw"] * 4, list("abcdefgh")) is None


def test_every_layer_has_its_own_states():
    found, *_ = told_apart(9.0)
    assert [one.layer for one in found] == [0, "final"]
    assert found[0].full.value == 1.0
    assert found[1].full.value < 0.5


def test_languages_far_apart_are_told_apart_and_equal_ones_are_not():
    far, near = told_apart(9.0)[0][0], told_apart(0.0)[0][0]
    assert far.full.value == far.specific.value == 1.0
    assert abs(near.full.value - 1 / 3) < 0.2


def test_at_full_rank_the_subspace_holds_all_that_the_rule_uses():
    one = told_apart(2.0)[0][0]
    assert one.full == one.specific


def test_parallel_lines_are_one_cluster():
    rows = [str(k) for _ in LANGS for k in range(40)]
    one, alone = told_apart(2.0, clusters=rows)[0][0], told_apart(2.0)[0][0]
    assert (one.full.clusters, alone.full.clusters) == (40, 120)
    assert one.full.value == alone.full.value


def test_without_texts_there_is_nothing():
    subspace = fit_subspaces(clouds(1.0, seed=0), central="en")
    assert separability(np.zeros((0, 1, 12)), [], [], [subspace], [0]) == []


def test_nearest():
    means = np.array([[0.0, 0.0], [4.0, 0.0]])
    assert nearest(np.array([[1.0, 9.0], [3.0, -9.0]]), means).tolist() == [0, 1]
