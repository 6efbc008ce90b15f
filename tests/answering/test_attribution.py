"""Attribution is the slope of real transplants at strength 0, and leaves the model as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosslatent.answering.gradients import (
    CANDIDATES,
    KINDS,
    AttributionScore,
    attribute,
    attributions,
)
from crosslatent.core.errors import PromptError, UsageError
from crosslatent.core.specs import OF_EVERY_MODEL, Site
from crosslatent.engine.oracle import reading
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.kinds.transplant import Transplant
from support.models import FAMILIES
from support.rows import AUX, MAIN, ids_of, wrapped

STEP = 1e-3
"""Norms compute in float32 in models of any type, so smaller steps drown in rounding."""
SOURCES = [0, 3]
"""Sources that are compared, with all targets."""

OPTIONS = ((40, 41), (60,), (70,))


def precise(family):
    """A tiny model in float64, in which a small step still shows."""
    model = wrapped(family)
    model.hf.double()
    if family == "gpt_oss":  # the other ways to run experts have no float64
        model.hf.set_experts_implementation("eager")
    return model


def prompts(model):
    return ids_of(model, MAIN), ids_of(model, AUX)


def likeliest(model, main, component, vectors):
    """The tokens that are likeliest unmodified, or under a pair of a block and itself."""
    edits = [Transplant(Site(component, at), vectors[at]) for at in range(model.n_layers)]
    seen = []
    for row in [(), *((edit,) for edit in edits)]:
        with reading(model, main, row) as start:
            seen.append(start.logits[0].log_softmax(-1))
    order = torch.stack(seen).amax(0).argsort(descending=True)
    return AttributionScore("rise", tuple((token,) for token in order[:CANDIDATES].tolist()))


def steps(value):
    """The slope of a function at 0, over two widths, so that its curvature drops out."""
    near, far = (value(width) - value(-width) for width in (STEP, 2 * STEP))
    return (8 * near - far) / (12 * STEP)


def by_small_steps(model, main, aux, component, score, positions=1, *, removed=False):
    """The estimate of every pair, from small strengths of the oracle's own edit.

    That is the slope at strength 0; with `removed`, the lower of it and of what comes of a module
    that writes nothing, and of the slope there.
    """
    vectors = capture_ids(model, [aux], [component], positions=positions)[component][0]
    if score.kind == "rise" and not score.options:
        score = likeliest(model, main, component, vectors)

    def value(*edits):
        with reading(model, main, edits) as start:
            return score.of(start.logits[0])

    def slope(source, target):
        site, vector = Site(component, target), vectors[source]
        found = steps(lambda width: value(Transplant(site, vector, width)))
        if removed:
            there = value(Transplant(site, 0 * vector)) - value()
            nothing = there + steps(lambda width: value(Transplant(site, width * vector)))
            found = torch.minimum(found, nothing)
        return float(found.max())

    return np.array([[slope(i, j) for j in range(model.n_layers)] for i in SOURCES])


def clear_options(model, main):
    """Options of which one is clearly the likeliest, another clearly the second."""
    with reading(model, main, ()) as start:
        order = start.logits[0].argsort(descending=True).tolist()
    return (order[60],), (order[0],), (order[150], order[170])


def assert_close(found, expected):
    """Within half a percent of the largest slope."""
    largest = np.abs(expected).max()
    assert largest > 0.05
    assert np.abs(found[SOURCES] - expected).max() < 0.005 * largest


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", OF_EVERY_MODEL)
def test_it_is_the_slope_of_a_transplant(family, component):
    model = precise(family)
    main, aux = prompts(model)
    score = AttributionScore("rise", clear_options(model, main))
    found = attribute(model, main, aux, [component], score=score, removed=False)[component]
    assert found.shape == (model.n_layers, model.n_layers)
    assert found.dtype == np.float32
    expected = by_small_steps(model, main, aux, component, score)
    assert_close(found, expected)


@pytest.mark.parametrize("family", ["llama", "gpt_oss", "falcon"])
@pytest.mark.parametrize("component", ["attn", "ffn", "attn_residual"])
def test_long_steps_are_estimated_without_the_own_output_too(family, component):
    model = precise(family)
    main, aux = prompts(model)
    score = AttributionScore("rise", clear_options(model, main))
    found = attribute(model, main, aux, [component], score=score)[component]
    expected = by_small_steps(model, main, aux, component, score, removed=True)
    assert_close(found, expected)
    plain = attribute(model, main, aux, [component], score=score, removed=False)[component]
    assert np.all(found <= plain + 1e-6)
    assert not np.allclose(found, plain)


@pytest.mark.parametrize("family", ["gemma2", "olmo2"])
def test_a_module_with_a_norm_after_it_has_no_output_of_nearly_nothing(family):
    model = precise(family)
    main, aux = prompts(model)
    for component in ("attn", "ffn"):
        found = [
            attribute(model, main, aux, [component], removed=removed)[component]
            for removed in (True, False)
        ]
        assert np.array_equal(*found)


def test_a_short_step_is_estimated_from_the_own_output_alone():
    model = precise("llama")
    main, aux = prompts(model)
    for component in ("attn", "ffn", "block"):
        found = [
            attribute(model, main, aux, [component], strength=1e-3, removed=removed)[component]
            for removed in (True, False)
        ]
        assert np.array_equal(*found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_options", [True, False])
def test_every_score_and_several_positions(kind, has_options):
    model = precise("llama")
    main, aux = prompts(model)
    score = AttributionScore(kind, clear_options(model, main) if has_options else ())
    found = attribute(model, main, aux, ["ffn"], score=score, positions=3, removed=False)["ffn"]
    expected = by_small_steps(model, main, aux, "ffn", score, positions=3)
    assert_close(found, expected)


def test_a_self_transplant_changes_nothing():
    model = wrapped()
    main, _ = prompts(model)
    found = attribute(model, main, main, OF_EVERY_MODEL)
    for component in ("attn", "ffn", "block"):
        assert np.abs(np.diag(found[component])).max() < 1e-4
        assert np.abs(found[component]).max() > 0.1
    # The residual enters twice there.
    assert np.abs(np.diag(found["attn_residual"])).max() > 0.1


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "phi3", "gpt_oss"])
def test_batches_and_padding_change_nothing(family):
    model = wrapped(family)
    texts = [(MAIN, AUX), ("x", AUX), (AUX, MAIN), ("Habari ya asubuhi?", "y")]
    pairs = [(ids_of(model, main), ids_of(model, aux)) for main, aux in texts]
    scores = [
        AttributionScore("rise", OPTIONS),
        AttributionScore(),
        AttributionScore("margin"),
        AttributionScore("entropy"),
    ]
    together = list(attributions(model, pairs, OF_EVERY_MODEL, scores=scores, batch_size=3))
    for (main, aux), score, found in zip(pairs, scores, together, strict=True):
        alone = attribute(model, main, aux, OF_EVERY_MODEL, score=score)
        for component in OF_EVERY_MODEL:
            np.testing.assert_allclose(
                found[component], alone[component], rtol=1e-3, atol=1e-3, err_msg=component
            )


def test_progress_is_told():
    model = wrapped()
    told = []
    pair = prompts(model)
    found = attributions(
        model,
        [pair] * 3,
        ["ffn"],
        scores=[AttributionScore()] * 3,
        batch_size=2,
        advance=lambda done, total: told.append((done, total)),
    )
    assert len(list(found)) == 3
    assert told == [(2, 3), (3, 3)]


def test_a_prompt_beyond_the_rotary_limit_is_read_in_one_piece():
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
    model = wrapped(max_position_embeddings=16, rope_parameters=rope)
    model.hf.double()
    main, _ = prompts(model)
    aux = main[::-1]  # as long: dynamic embeddings stay as the longest text so far wanted them
    assert model.rotary_limit is not None
    assert len(main) > model.rotary_limit
    scores = [AttributionScore()] * 2
    found = list(attributions(model, [(main, aux)] * 2, ["attn"], scores=scores, removed=False))
    expected = by_small_steps(model, main, aux, "attn", AttributionScore())
    for each in found:
        assert_close(each["attn"], expected)


def state_of(model):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules()]
    weights = [(weight.requires_grad, weight.grad) for weight in model.hf.parameters()]
    return hooks, weights, model.hf.training


def test_nothing_is_left_on_the_model():
    model = wrapped()
    main, aux = prompts(model)
    next(iter(model.hf.parameters())).requires_grad_(False)
    before = state_of(model)
    with torch.no_grad():  # gradients are switched on inside, and only there
        attribute(model, main, aux, OF_EVERY_MODEL)
        assert not torch.is_grad_enabled()
    assert state_of(model) == before
    assert all(gradient is None for _, gradient in before[1])


def test_nothing_is_left_after_an_exception(monkeypatch):
    model = wrapped()
    main, aux = prompts(model)
    before = state_of(model)

    def fail(*_args, **_kwargs):
        raise RuntimeError("no gradient")

    monkeypatch.setattr(torch.autograd, "grad", fail)
    with pytest.raises(RuntimeError, match="no gradient"):
        attribute(model, main, aux, OF_EVERY_MODEL)
    assert state_of(model) == before


def test_what_cannot_be_computed_is_refused():
    with pytest.raises(UsageError, match="Unknown score"):
        AttributionScore("luck")
    with pytest.raises(UsageError, match="two or more"):
        AttributionScore(options=((1,),))
    with pytest.raises(UsageError, match="a token of its own"):
        AttributionScore(options=((1,), ()))
    model = wrapped()
    with pytest.raises(PromptError):
        attribute(model, [5], [5, 6], ["ffn"], positions=2)
