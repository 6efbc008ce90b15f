"""Neurons that were planted for languages are found, and scaled as CLAS says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from crosslatent import engine
from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.specs import EXPANDED_CACHE, SHARED_PREFIX, Site
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.requests import Request
from crosslatent.methods.neuron_classes import (
    LearntClasses,
    NeuronClasses,
    TextMeans,
    agreement,
    classes_of,
    factors_of,
)
from support.planted_languages import SHARED, SPECIFIC, bench_of, items, marked_model
from support.rows import assert_equal, wrapped
from support.two_stacks import wrapped_stacks

WATCH = tuple(range(40, 90))
FIRST = {"window": [0, 1]}


@pytest.fixture(scope="module")
def bench():
    return bench_of(wrapped(), items(16))


def fitted(name, bench, seed=0, **settings):
    method = METHOD_KINDS[name]()
    return method.fit(bench, ["up"], dict(method.settings(bench)[0]) | settings, seed)


def states(langs=4, texts=60, neurons=200, signal=3.0, seed=0):
    """Neuron k of each block is active in language k alone, k + 10 in languages k and k + 1."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for k in range(langs):
        own = torch.randn(texts, 2, neurons, generator=generator) - signal
        own[..., [k, k + 10, (k - 1) % langs + 10, 20]] += 2 * signal
        found[f"l{k}"] = own
    return found


def means_of(states):
    return {lang: TextMeans.of(one) for lang, one in states.items()}


def test_classes_are_counts_of_languages():
    active = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]).bool()[:, None]
    classes = NeuronClasses.of(active)
    assert classes.specific.tolist() == [[True, False, False, False]]
    assert classes.partial.tolist() == [[False, False, True, False]]


def test_planted_neurons_are_found_and_halves_agree():
    classes, agreed = classes_of(means_of(states()))
    for layer in range(2):
        assert torch.nonzero(classes.specific[layer]).flatten().tolist() == [0, 1, 2, 3]
        assert torch.nonzero(classes.partial[layer]).flatten().tolist() == [10, 11, 12, 13]
    assert agreed == 1.0
    assert "language-specific" in LearntClasses(classes, agreed, 0).note


def test_with_languages_permuted_over_the_texts_nothing_is_called_specific():
    """Neurons near zero, as most are in a model: then chance decides on which side."""
    planted = states(signal=0.0)
    mixed = torch.cat(list(planted.values()))
    order = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(1))
    permuted = dict(zip(planted, mixed[order].chunk(len(planted)), strict=True))
    classes, agreed = classes_of(means_of(permuted))
    assert agreed < 0.8
    note = LearntClasses(classes, agreed, 0).note
    assert "specific" not in note
    assert "less than 0.8" in note


def test_a_model_without_specific_neurons_agrees():
    nothing = torch.zeros(3, 1, 5).bool()
    assert agreement(nothing, nothing) == 1.0


def test_neurons_planted_in_a_model_are_found():
    bench = bench_of(marked_model(1e-3), items(16))
    way = fitted("clas", bench, factors=[3.0, 0.5], **FIRST)
    (scale,) = way.row
    assert scale.site == Site("neurons", 0)
    assert float(scale.factors[SHARED]) == 3.0
    assert float(scale.factors[SPECIFIC]) == 0.5
    assert way.trained == int((scale.factors != 1).sum())
    assert way.notes[0] == "Factors 3 (shared) and 0.5 (specific)."


def test_a_higher_threshold_leaves_fewer_active(bench):
    changed = [fitted("clas", bench, threshold=at, **FIRST).trained for at in (0.0, 1e6)]
    assert changed[0] > changed[1] == 0


def test_random_neurons_are_as_many_in_every_block(bench):
    one, other = (fitted(name, bench, factors=[2.0, 0.5]) for name in ("clas", "clas-random"))
    again = fitted("clas-random", bench, seed=1, factors=[2.0, 0.5])
    assert one.trained == other.trained
    for true, drawn in zip(one.row, other.row, strict=True):
        assert true.site == drawn.site
        assert not torch.equal(true.factors, drawn.factors)
        for factor in (2.0, 0.5, 1.0):
            assert int((true.factors == factor).sum()) == int((drawn.factors == factor).sum())
    assert any(
        not torch.equal(a.factors, b.factors) for a, b in zip(other.row, again.row, strict=True)
    )
    assert "drawn at random" in other.notes[1]
    assert METHOD_KINDS["clas-random"].seeded


@pytest.mark.parametrize("name", ["clas", "clas-random"])
def test_factors_of_1_change_nothing_bit_for_bit(name, bench):
    (ids,) = bench.ids([bench.learn[0].main])
    for settings in ({"factors": [1.0, 1.0]}, {"alpha": 0.0}):
        row = fitted(name, bench, **settings).row
        assert row
        plain, found = oracle.run_rows(bench.model, ids, [(), row], max_new_tokens=3, watch=WATCH)
        assert (found.ids, found.watched) == (plain.ids, plain.watched)


@pytest.mark.parametrize("path", [SHARED_PREFIX, EXPANDED_CACHE])
@pytest.mark.parametrize("name", ["clas", "clas-random"])
def test_every_path_equals_the_oracle(name, path, bench):
    rows = [fitted(name, bench, alpha=alpha, window=[0, 3]).row for alpha in (1.0, -5.0)]
    mains = bench.ids([bench.learn[0].main, bench.learn[1].main + "?"])
    requests = [Request(tuple(ids), tuple(rows), WATCH) for ids in mains]
    answers = engine.run(bench.model, requests, max_new_tokens=3, path=EnginePath(path))
    for ids, answered in zip(mains, answers, strict=True):
        right = oracle.run_rows(bench.model, ids, rows, max_new_tokens=3, watch=WATCH)
        assert_equal(answered.rows, right)
        assert right[0].watched != right[1].watched


def test_two_factors_are_all_that_matters():
    assert factors_of({"alpha": -5.0, "beta": 0.4, "gamma": 0.2}) == pytest.approx((-1.0, 2.0))
    assert factors_of({"alpha": 1.0}) == pytest.approx((1.4, 0.8))
    h, alpha, beta, gamma = 3.0, -2.0, 0.3, 0.2
    shared, specific = factors_of({"alpha": alpha, "beta": beta, "gamma": gamma})
    assert shared * h == pytest.approx((1 - alpha) * h + alpha * (h * (1 + beta)))
    assert specific * h == pytest.approx((1 - alpha) * h + alpha * (h * (1 - gamma)))


def test_windows_are_late_and_one_setting_changes_signs(bench):
    for quick, most in ((False, 12), (True, 4)):
        grid = METHOD_KINDS["clas"]().settings(replace(bench, quick=quick))
        assert 4 <= len(grid) <= most
        assert any(factors_of(one)[0] < 0 for one in grid)
        for one in grid:
            first, stop = one["window"]
            assert bench.model.n_layers // 2 <= first < stop <= bench.model.n_layers


def test_all_languages_are_learnt_from(bench):
    way = fitted("clas", bench)
    assert way.unlabelled == 3 * 16 * 8
    assert way.labelled == 0


def test_what_cannot_run_says_why(bench):
    method = METHOD_KINDS["clas"]()
    assert method.refusal(bench) == ""
    two = bench.learning_from(items(16, ["up"]))
    assert method.refusal(two).startswith("There are texts in 2 languages (en, up), but")
    with pytest.raises(UsageError, match="There are texts in 0 languages"):
        fitted("clas", bench.learning_from(items(3)))
    assert method.refusal(replace(bench, model=wrapped_stacks("t5"))).startswith("An encoder")
    assert "neurons" in method.refusal(replace(bench, model=wrapped("gpt_oss")))
