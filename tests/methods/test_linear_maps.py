"""INCLINE's maps are the least squares that they claim to be, thin or whole, and are added."""

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
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import LAST
from crosslatent.methods.linear_maps import RIDGES, Map, fitted_map, quality_of, ridge_map
from support.planted_languages import bench_of, items
from support.rows import assert_equal, wrapped
from support.two_stacks import wrapped_stacks

NAMES = [name for name in METHOD_KINDS.own if name.startswith("incline-")]
WATCH = tuple(range(40, 90))


@pytest.fixture(scope="module")
def bench():
    return bench_of(wrapped(), items(16))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(one):
    return one.into if one.out is None else one.out.T @ one.into


def fitted(name, bench, seed=0, **settings):
    return METHOD_KINDS[name]().fit(bench, ["up"], {"alpha": 0.5} | settings, seed)


def by_oracle(bench, rows, item=0):
    (ids,) = bench.ids([bench.learn[item].main])
    return oracle.run_rows(bench.model, ids, rows, max_new_tokens=3, watch=WATCH)


def test_there_are_five():
    assert [f"incline-{n}" for n in ("attn", "block", "ffn", "identity", "shuffled")] == NAMES


@pytest.mark.parametrize("count", [12, 40])
def test_a_known_map_is_recovered(count):
    right = drawn(12, 12)
    x = drawn(count, 12, seed=1)
    found = ridge_map(x, x @ right.T, 0.0)
    torch.testing.assert_close(whole(found), right, atol=1e-5, rtol=1e-5)


def test_the_best_ridge_of_noise_free_pairs_is_none():
    right, x = drawn(12, 12), drawn(60, 12, seed=1)
    found, quality = fitted_map(x, x @ right.T, seed=0)
    torch.testing.assert_close(whole(found), right, atol=1e-5, rtol=1e-5)
    assert quality == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("ridge", [each for each in RIDGES if each])
@pytest.mark.parametrize("count", [5, 30])
def test_the_thin_form_equals_the_whole_one(count, ridge):
    x, y = drawn(count, 12), drawn(count, 12, seed=1)
    penalty = ridge * float(x.square().sum()) / 12
    by_width = torch.linalg.solve(x.T @ x + penalty * torch.eye(12), x.T @ y).T
    by_texts = (x.T @ torch.linalg.solve(x @ x.T + penalty * torch.eye(count), y)).T
    torch.testing.assert_close(by_width, by_texts)
    found = ridge_map(x, y, ridge)
    assert (found.out is None) == (count == 30)
    torch.testing.assert_close(whole(found), by_width)
    states = drawn(7, 12, seed=2)
    torch.testing.assert_close(found.of(states), states @ by_width.T)


def test_without_a_ridge_it_is_the_released_least_squares():
    x, y = drawn(5, 12), drawn(5, 12, seed=1)
    released = torch.linalg.lstsq(x, y, driver="gelsd").solution.T
    torch.testing.assert_close(whole(ridge_map(x, y, 0.0)), released)
    # Two texts alike: still finite.
    assert whole(ridge_map(torch.cat([x, x[:1]]), torch.cat([y, y[:1]]), 0.0)).isfinite().all()


def test_quality_of_no_map_is_that_of_the_states_themselves():
    x = drawn(6, 4)
    assert quality_of(Map(None), x, x, x.mean(0)) == pytest.approx((1.0, 1.0))
    assert quality_of(Map(None), x, x.roll(1, 0), x.mean(0)).found == 0
    noise = drawn(400, 4, seed=3)
    assert quality_of(Map(torch.zeros(4, 4).double()), x, noise[:6], noise.mean(0)).explained < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_strength_0_changes_nothing_bit_for_bit(name, bench):
    row = fitted(name, bench, alpha=0.0).row
    assert len(row) == bench.model.n_layers
    plain, found = by_oracle(bench, [(), row])
    assert (found.ids, found.watched) == (plain.ids, plain.watched)


@pytest.mark.parametrize("path", [SHARED_PREFIX, EXPANDED_CACHE])
@pytest.mark.parametrize("name", NAMES)
def test_every_path_equals_the_oracle(name, path, bench):
    rows = [fitted(name, bench, alpha=alpha).row for alpha in (0.25, -1.0)]
    mains = bench.ids([bench.learn[0].main, bench.learn[1].main + "?"])
    requests = [Request(tuple(ids), tuple(rows), WATCH) for ids in mains]
    answers = engine.run(bench.model, requests, max_new_tokens=3, path=EnginePath(path))
    for ids, answered in zip(mains, answers, strict=True):
        right = oracle.run_rows(bench.model, ids, rows, max_new_tokens=3, watch=WATCH)
        assert_equal(answered.rows, right)
        assert right[0].watched != right[1].watched


def test_each_is_at_its_component_of_every_block(bench):
    for name, component in (("block", "block"), ("attn", "attn"), ("ffn", "ffn")):
        row = fitted(f"incline-{name}", bench).row
        assert [each.site for each in row] == [Site(component, k) for k in range(4)]
        assert {each.tokens for each in row} == {LAST}


def test_the_map_of_few_pairs_stays_thin_and_that_of_many_does_not(bench):
    thin = fitted("incline-block", bench).row[0]
    assert thin.out.shape == thin.into.shape == (16, bench.model.d_model)
    many = fitted("incline-block", bench.learning_from(items(40))).row[0]
    assert many.out is None
    assert many.into.shape == (32, 32)


def test_a_map_brings_a_text_near_its_counterpart(bench):
    """Fitted and applied on the same texts."""
    row = fitted("incline-block", bench, alpha=1.0).row
    (pair, *_) = bench.pairs(["up"])
    main, aux = (
        capture_ids(bench.model, bench.ids([text]), ["block"])["block"][0, 3] for text in pair
    )
    before, after = (main - aux).norm(), (row[3].mapped(main) - aux).norm()
    assert after < before / 4


def test_features_may_be_means_and_vectors_those_of_an_unmodified_run(bench):
    live = fitted("incline-block", bench, alpha=0.5)
    mean = fitted("incline-block", bench, alpha=0.5, features="mean")
    assert not torch.equal(live.row[0].into, mean.row[0].into)
    frozen = fitted("incline-block", bench, alpha=0.5, vectors="unpatched")
    item = bench.learn[0]
    edits = frozen.edits(item)
    states = capture_ids(bench.model, bench.ids([item.main]), ["block"])["block"][0]
    for each, edit, state in zip(live.row, edits, states, strict=True):
        torch.testing.assert_close(edit.vector, each.mapped(state))
    # Of one block alone, there is no difference; of all, there is.
    first, unpatched_first = by_oracle(bench, [live.row[:1], edits[:1]])
    assert first.watched == pytest.approx(unpatched_first.watched, abs=1e-4)
    every, unpatched = by_oracle(bench, [live.row, edits])
    assert every.watched != pytest.approx(unpatched.watched, abs=1e-2)
    assert frozen.extra_tokens(item) == len(item.main)
    assert live.extra_tokens(item) == 0


def test_the_control_without_a_map_makes_states_longer(bench):
    way = fitted("incline-identity", bench, alpha=0.25)
    assert (way.trained, way.unlabelled, way.notes) == (0, 0, ())
    own = torch.randn(3, bench.model.d_model)
    torch.testing.assert_close(way.row[0].change(own), 1.25 * own)
    assert not METHOD_KINDS["incline-identity"].fits


def test_the_shuffled_control_gives_no_text_its_own_counterpart():
    method, states = METHOD_KINDS["incline-shuffled"](), torch.arange(9.0)[:, None, None]
    for seed in range(20):
        shuffled = method.targets(states, seed).flatten().tolist()
        assert sorted(shuffled) == list(range(9))
        assert all(place != value for place, value in enumerate(shuffled))
    assert METHOD_KINDS["incline-shuffled"].seeded


def test_what_was_learnt_is_said(bench):
    for name in ("incline-block", "incline-shuffled"):
        way = fitted(name, bench)
        assert way.trained == 4 * 32 * 32
        assert (way.labelled, way.unlabelled) == (0, 2 * 16 * 8)
        (note,) = way.notes
        assert "the maps explain" in note
        assert "nearest to the own counterpart in" in note
    twice = [fitted("incline-block", bench, seed=1).row[0].into for _ in range(2)]
    assert torch.equal(*twice)


def test_settings_are_few_and_have_both_signs(bench):
    for quick, most in ((False, 10), (True, 4)):
        grid = METHOD_KINDS["incline-block"]().settings(replace(bench, quick=quick))
        assert len(grid) == most
        assert sum(one["alpha"] for one in grid) == 0
        assert all(-1 <= one["alpha"] <= 1 and one["alpha"] for one in grid)


def test_what_cannot_be_fitted_is_refused(bench):
    with pytest.raises(UsageError, match="There are 5 texts in 'up' for INCLINE to learn from"):
        fitted("incline-block", bench.learning_from(items(5)))
    method = METHOD_KINDS["incline-block"]()
    assert method.refusal(bench) == ""
    alone = bench.learning_from([replace(item, aux="") for item in bench.learn])
    assert method.refusal(alone).startswith("No pilot question has a counterpart")
    encoder = replace(bench, model=wrapped_stacks("t5"))
    assert method.refusal(encoder).startswith("An encoder reads the prompts")
