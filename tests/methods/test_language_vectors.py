"""Language vectors are the planted difference of languages, and do what their presets say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from crosslatent import engine
from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.specs import EXPANDED_CACHE, SHARED_PREFIX, Site
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.requests import Request
from crosslatent.interventions.intervention import ALL, BUT_THE_FIRST, LAST, PROMPT
from crosslatent.interventions.patched import intervened
from crosslatent.lens.probing import probe
from crosslatent.lens.states import read_states
from crosslatent.methods import language_vectors
from crosslatent.methods.kinds.langvec_itlc import discriminants
from crosslatent.model import reading
from support.planted_languages import SHIFT, bench_of, items, marked_model
from support.rows import assert_equal, wrapped
from support.two_stacks import wrapped_stacks

NAMES = [name for name in METHOD_KINDS.own if name.startswith("langvec-")]
WATCH, OPTIONS = tuple(range(40, 90)), ((70, 71), (75,))


@pytest.fixture(scope="module")
def bench():
    return bench_of(wrapped(), items())


def fitted(name, bench, lang="up", **settings):
    method = METHOD_KINDS[name]()
    chosen = dict(method.settings(bench)[0]) | settings
    return method.fit(bench, [lang], chosen, 0)


def run(bench, rows, path=None):
    request = [Request(tuple(ids), tuple(rows), WATCH, OPTIONS) for ids in prompts(bench)]
    return [
        one.rows for one in engine.run(bench.model, request, max_new_tokens=3, path=path, chunk=4)
    ]


def prompts(bench):
    return bench.ids([item.main + "?" * k for k, item in enumerate(bench.learn[:2])])


def by_oracle(bench, rows):
    return [
        oracle.run_rows(bench.model, ids, rows, max_new_tokens=3, watch=WATCH, options=OPTIONS)
        for ids in prompts(bench)
    ]


def test_there_are_six():
    presets = ("diffmean", "itlc", "kh", "lens", "pca1", "recover")
    assert [f"langvec-{name}" for name in presets] == NAMES


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "langvec-itlc"])
def test_the_vector_is_the_planted_difference(name, layer):
    bench = bench_of(marked_model(), items())
    settings = {"layer": "all"} if name == "langvec-recover" else {"layer": layer, "alpha": 1.0}
    row = fitted(name, bench, **settings).row
    (edit,) = [each for each in row if each.site == Site("block", layer)]
    vector = torch.as_tensor(edit.vector).double()
    planted = torch.zeros(len(vector), dtype=torch.float64)
    planted[:2] = torch.tensor([-SHIFT, SHIFT])  # from "en" to "up"
    # Contents vary too, so that a principal component is not quite the difference.
    least = 0.99 if name == "langvec-pca1" else 1 - 1e-6
    assert float(torch.cosine_similarity(vector, planted, dim=0)) > least
    assert float(vector.norm()) == pytest.approx(float(planted.norm()), rel=0.02)


def test_discriminants_of_languages_that_vary_alike_are_their_difference():
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 400)
    centres = 4 * np.eye(3, 6)
    values = centres[labels] + draw.standard_normal((1200, 6))
    found = discriminants(values, labels)
    assert found.projection.shape == (6, 2)
    inside = (values / found.scale) @ found.projection
    spread = np.stack([inside[labels == one].std(0) for one in range(3)])
    np.testing.assert_allclose(spread, 1.0, atol=0.15)
    method = METHOD_KINDS["langvec-itlc"]()
    states = {name: values[labels == k][:, None] for k, name in enumerate(("en", "up", "no"))}
    (vector,) = method.directions(states, "up", "en")
    planted = centres[1] - centres[0]
    cosine = vector @ planted / np.linalg.norm(vector) / np.linalg.norm(planted)
    assert cosine > 0.99
    assert np.linalg.norm(vector) == pytest.approx(np.linalg.norm(planted), rel=0.1)


def test_itlc_points_from_one_planted_language_to_the_other():
    bench = bench_of(marked_model(), items(40))
    (edit,) = fitted("langvec-itlc", bench).row
    assert edit.site.layer == 1  # Half of 4 blocks: the output of block 1 is hidden_states[2].
    vector = edit.vector / edit.vector.norm()
    assert float(vector[1] - vector[0]) > 1.0
    assert float(vector[2].abs()) < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_strength_0_changes_nothing_bit_for_bit(name, bench):
    for chosen in METHOD_KINDS[name]().settings(bench):
        row = fitted(name, bench, **chosen | {"alpha": 0.0}).row
        # The steering of Lens has no hook then; of the others they are there.
        assert bool(row) == (name != "langvec-lens")
        for plain, found in by_oracle(bench, [(), row]):
            assert (found.ids, found.watched, found.scores) == (
                plain.ids, plain.watched, plain.scores
            )  # fmt: skip


@pytest.mark.parametrize("path", [SHARED_PREFIX, EXPANDED_CACHE])
@pytest.mark.parametrize("name", NAMES)
def test_every_path_equals_the_oracle(name, path, bench):
    method = METHOD_KINDS[name]()
    rows = [method.fit(bench, ["up"], chosen, 0).row for chosen in method.settings(bench)[:5]]
    plain = by_oracle(bench, [()])
    expected = by_oracle(bench, rows)
    for found, right in zip(run(bench, rows, EnginePath(path)), expected, strict=True):
        assert_equal(found, right)
    assert any(
        row.watched != one[0].watched for one, of in zip(plain, expected, strict=True) for row in of
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name != "langvec-lens"])
def test_from_a_language_to_itself_there_is_nothing(name, bench):
    row = fitted(name, bench, "en").row
    assert not any(bool(each.vector.any()) for each in row)


def test_lens_has_no_direction_of_a_language_to_itself(bench):
    with pytest.raises(SpaceError):
        fitted("langvec-lens", bench, "en")


def test_recover_keeps_the_length_of_states(bench):
    row = fitted("langvec-recover", bench, alpha=0.3, scale="relative").row
    assert [each.site.layer for each in row] == [0, 1, 2, 3]
    assert {each.tokens for each in row} == {BUT_THE_FIRST}
    (ids, *_) = prompts(bench)
    site, states = Site("block", 0), []
    for edits in (row[1:], row):

        def receive(_site, value):
            states.append(value[0].clone())

        with intervened(bench.model, [edits]), reading(bench.model, [site], receive):
            bench.model.hf(torch.tensor([ids]))
    plain, moved = states
    torch.testing.assert_close(moved.norm(dim=-1), plain.norm(dim=-1), rtol=1e-5, atol=0)
    assert torch.equal(moved[0], plain[0])
    assert (moved[1:] != plain[1:]).any(-1).all()


def test_which_tokens_each_changes(bench):
    tokens = {name: {each.tokens for each in fitted(name, bench).row} for name in NAMES}
    assert tokens.pop("langvec-kh") == {PROMPT}
    assert tokens.pop("langvec-recover") == {BUT_THE_FIRST}
    assert set(map(frozenset, tokens.values())) == {frozenset({ALL})}
    assert {one["tokens"] for one in METHOD_KINDS["langvec-kh"]().settings(bench)} == {
        "prompt",
        "last",
    }
    assert fitted("langvec-kh", bench, tokens="last").row[0].tokens == LAST


def test_the_released_offset_adds_the_vector_of_the_block_before(bench):
    plain = fitted("langvec-kh", bench, layer=1).row[0]
    moved = fitted("langvec-kh", bench, layer=2, released_offset=True).row[0]
    assert moved.site == Site("block", 2)
    assert torch.equal(moved.vector, plain.vector)
    with pytest.raises(UsageError, match="there is none before block 0"):
        fitted("langvec-kh", bench, layer=0, released_offset=True)


def test_special_tokens_count_in_the_mean_where_the_source_counts_them():
    model = wrapped()
    special = model.tokenizer.all_special_ids[0]
    ids = [[special, 70, 71, 72]]
    layers = range(model.n_layers)
    without, with_all = (
        read_states(model, ids, pooling="mean", layers=layers, special=special_too)
        for special_too in (False, True)
    )
    assert not torch.equal(without, with_all)
    every = read_states(model, [ids[0][:1]], layers=layers)
    torch.testing.assert_close(4 * with_all, 3 * without + every, rtol=1e-4, atol=1e-4)
    assert METHOD_KINDS["langvec-kh"].special
    assert not METHOD_KINDS["langvec-recover"].special


def test_lens_is_the_steering_of_a_space(bench):
    (edit,) = fitted("langvec-lens", bench, layer=2, alpha=-0.5).row
    pairs = bench.pairs(["up"])
    texts = {"up": [one for one, _ in pairs], "en": [other for _, other in pairs]}
    direction = probe(bench.model, texts, held_out=0.0).at(2).direction("up")
    np.testing.assert_allclose(edit.vector.numpy(), direction, atol=1e-6)
    assert (edit.site, edit.alpha) == (Site("block", 2), -0.5)


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_few_and_have_both_signs(name, bench):
    method = METHOD_KINDS[name]()
    for quick, most in ((False, 16), (True, 4)):
        grid = method.settings(replace(bench, quick=quick))
        assert len(grid) <= most
        assert len({repr(one) for one in grid}) == len(grid)
        assert {one["alpha"] > 0 for one in grid} == {True, False}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learnt_is_counted_and_read_once(name, bench, monkeypatch):
    method, counted = METHOD_KINDS[name](), []

    def counting(*args, **kwargs):
        counted.append(1)
        return read_states(*args, **kwargs)

    monkeypatch.setattr(language_vectors, "read_states", counting)
    ways = [method.fit(bench, ["up"], one, 0) for one in method.settings(bench)]
    languages = 3 if name == "langvec-itlc" else 2
    assert len(counted) == (0 if name == "langvec-lens" else languages)
    blocks = bench.model.n_layers if name == "langvec-recover" else 1
    for way in ways:
        assert (way.trained, way.labelled) == (blocks * bench.model.d_model, 0)
        assert way.unlabelled == languages * 12 * 8  # Texts of 8 tokens each.
    assert ways[0].edits(bench.learn[0]) is ways[0].edits(bench.learn[1])


def test_further_texts_are_learnt_from_too(bench):
    more = replace(bench, texts={"up": ["ABBA"] * 2, "en": ["abba", "cede"]})
    assert fitted("langvec-kh", more).unlabelled == 2 * 12 * 8 + 3 * 4


def test_too_few_texts_and_encoders_are_refused(bench):
    few = bench.learning_from(items(3))
    with pytest.raises(UsageError, match="There are 3 texts in 'up' for language vector"):
        fitted("langvec-kh", few)
    encoder = replace(bench, model=wrapped_stacks("t5"))
    for name in NAMES:
        assert METHOD_KINDS[name]().refusal(bench) == ""
        assert METHOD_KINDS[name]().refusal(encoder).startswith("An encoder reads the prompts")
