"""Steering adds what it says at every token, under every path, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import crosslatent as xl
from crosslatent import engine
from crosslatent.core.errors import PairError, SpaceError, UsageError
from crosslatent.core.specs import EXPANDED_CACHE, PATHS, SHARED_PREFIX, Site
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.requests import Request
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.lens.steering import Steering, steered
from crosslatent.model import encode_batch
from support.rows import AUX, MAIN, all_rows, answers, assert_equal, ids_of, wrapped

TEXTS = (MAIN, "Habari ya leo?", "Jina lako ni nani, na unatoka wapi? Jibu:")


@pytest.fixture
def model():
    return wrapped()


@pytest.fixture
def space(make_space):
    return make_space()


def logits(model, text=MAIN):
    with torch.no_grad():
        return model.hf(**encode_batch(model, [ids_of(model, text)]).parts().__next__()[1]).logits


def by_hand(model, changes):
    """Plain hooks on blocks: layer -> function of the hidden states."""
    handles = []
    for layer, change in changes.items():

        def hook(_module, _args, output, change=change):
            hidden = output[0] if isinstance(output, tuple) else output
            changed = change(hidden)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handles.append(model.blocks[layer].whole.register_forward_hook(hook))
    return handles


def hooks_of(model):
    return [
        (name, len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.hf.named_modules()
    ]


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2"])
def test_the_direction_is_added_to_every_token(family, space):
    model = wrapped(family)
    shift = {k: torch.tensor(1.5 * space.at(k).direction("sw")).float() for k in (1, 3)}
    handles = by_hand(model, {k: lambda hidden, k=k: hidden + shift[k] for k in shift})
    expected = logits(model)
    for handle in handles:
        handle.remove()
    plain = logits(model)
    with steered(model, space, Steering("sw", 1.5, (1, -1))):
        found = logits(model)
    assert torch.equal(found, expected)
    assert (found - plain).abs().min(dim=-1).values.max() > 0
    assert torch.equal(logits(model), plain)


def test_full_steering_along_a_direction_moves_the_central_mean_to_the_language(space):
    subspace = space.at(2)
    moved = subspace.mean("en") + subspace.direction("es")
    assert moved == pytest.approx(subspace.mean("es"))


def test_the_agnostic_part_is_moved_to_the_central_language(model, space):
    subspace = space.at(2)
    seen = {}
    handles = by_hand(model, {2: lambda hidden: seen.setdefault("plain", hidden)})
    logits(model)
    handles[0].remove()
    with steered(model, space, Steering("sw", 1.0, (2,), "agnostic")):
        handles = by_hand(model, {2: lambda hidden: seen.setdefault("moved", hidden)})
        logits(model)
    handles[0].remove()
    plain, moved = (seen[name].double().numpy() for name in ("plain", "moved"))
    right = plain + subspace.agnostic_part(subspace.mean("en") - plain)
    np.testing.assert_allclose(moved, right, atol=1e-4)
    assert np.abs(moved - plain).max() > 0.1
    # At strength 1 nothing of the old agnostic part is left; the specific part is as it was.
    at_mean = np.broadcast_to(subspace.agnostic_part(subspace.mean("en")), moved.shape)
    np.testing.assert_allclose(subspace.agnostic_part(moved), at_mean, atol=1e-4)
    np.testing.assert_allclose(subspace.coordinates(moved), subspace.coordinates(plain), atol=1e-4)


@pytest.mark.parametrize(
    "steering",
    [
        Steering("sw", 0.0, (0, 1, 2, 3)),
        Steering("sw", 0.0, (0, 1), "agnostic"),
        Steering("en", 4.0, (0, 1, 2, 3)),
    ],
)
def test_nothing_changes_bit_for_bit(model, space, steering):
    plain, hooks = logits(model), hooks_of(model)
    with steered(model, space, steering):
        assert torch.equal(logits(model), plain)
        assert hooks_of(model) == hooks


def test_hooks_are_gone_after_success_and_after_an_exception(model, space):
    before, steering = hooks_of(model), Steering("sw", 2.0, (0, 3))
    with steered(model, space, steering):
        assert hooks_of(model) != before
    assert hooks_of(model) == before
    with pytest.raises(RuntimeError, match="midway"), steered(model, space, steering):
        raise RuntimeError("midway")
    assert hooks_of(model) == before


@pytest.mark.parametrize("part", ["direction", "agnostic"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_model_keeps_its_type(space, dtype, part):
    model = wrapped()
    model.hf.to(dtype)
    plain = logits(model)
    with steered(model, space, Steering("sw", 2.0, (1,), part)):
        found = logits(model)
    assert found.dtype == dtype
    assert not torch.equal(found, plain)


@pytest.mark.parametrize("part", ["direction", "agnostic"])
def test_padding_on_either_side_agrees(model, space, part):
    prompts = [ids_of(model, text) for text in TEXTS]
    with steered(model, space, Steering("sw", 1.0, (0, 2), part)):
        alone, left, right = (
            capture_ids(model, prompts, ["block"], side=side, batch_size=size)["block"]
            for side, size in (("left", 1), ("left", 3), ("right", 3))
        )
    plain = capture_ids(model, prompts, ["block"])["block"]
    torch.testing.assert_close(left, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(right, alone, atol=1e-4, rtol=1e-4)
    assert (alone - plain).abs().max() > 0.1


@pytest.mark.parametrize("part", ["direction", "agnostic"])
@pytest.mark.parametrize("path", [SHARED_PREFIX, EXPANDED_CACHE])
def test_every_path_under_steering_equals_the_oracle_under_steering(space, path, part):
    model = wrapped()
    requests = [
        Request(tuple(ids), tuple(all_rows(model, ids_of(model, AUX), ["ffn", "block"])))
        for ids in (ids_of(model, text) for text in TEXTS[:2])
    ]
    watch = tuple(range(5))
    requests = [Request(each.main, each.rows, watch, ((40, 41), (42,))) for each in requests]
    with steered(model, space, Steering("sw", 2.0, (0, 2), part)):
        fast = list(engine.run(model, requests, max_new_tokens=5, path=EnginePath(path)))
        slow = [
            oracle.run_rows(
                model, each.main, each.rows, max_new_tokens=5, watch=watch, options=each.options
            )
            for each in requests
        ]
    for answered, right in zip(fast, slow, strict=True):
        assert_equal(answered.rows, right)
    found = [answers(each) for each in slow]
    assert len(set(found[0])) > 10  # rows really differ
    plain = [answers(each.rows) for each in engine.run(model, requests, max_new_tokens=5)]
    changed = [
        a != b
        for one, other in zip(found, plain, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert sum(changed) > len(changed) / 2


def test_the_best_path_is_found_under_steering(model, space):
    with steered(model, space, Steering("sw", 2.0, (0, 2))):
        assert engine.best_path(model) == EnginePath("shared-prefix")


@pytest.mark.parametrize(("component", "layer"), [("ffn", 1), ("attn", 2), ("block", 2)])
def test_steering_and_a_transplant_equal_hooks_by_hand(model, space, component, layer):
    vector = xl.capture(model, AUX, [component])[component][3]
    shift = torch.tensor(2.0 * space.at(2).direction("sw")).float()
    main, new_tokens = ids_of(model, MAIN), 5
    ids = list(main)

    def put(hidden):
        hidden = hidden.clone()
        hidden[:, len(main) - 1] = vector
        return hidden

    block = model.blocks[layer]
    module = {"ffn": block.ffn, "attn": block.attn, "block": block.whole}[component]

    def replace(_module, _args, output):
        return (put(output[0]), *output[1:]) if isinstance(output, tuple) else put(output)

    handles = by_hand(model, {2: lambda hidden: hidden + shift})
    handles.append(module.register_forward_hook(replace))
    for _ in range(new_tokens):  # without a cache: every step reads everything again
        with torch.no_grad():
            ids.append(int(model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    for handle in handles:
        handle.remove()

    row = (Transplant(Site(component, layer), vector),)
    ways = [EnginePath(name) for name in PATHS]
    with steered(model, space, Steering("sw", 2.0, (2,))):
        found = [
            engine.run_rows(model, main, [row], max_new_tokens=new_tokens, path=path)[0].ids
            for path in ways
        ]
        vectors = {component: vector.expand(4, -1)}
        with xl.patched(model, vectors, component=component, source=0, target=layer):
            out = model.hf.generate(
                torch.tensor([main]), do_sample=False, max_new_tokens=new_tokens
            )
    found.append(tuple(out[0, len(main) :].tolist()))
    right = tuple(ids[len(main) :])
    assert not set(right) & model.eos_ids
    assert found == [right] * 4


def test_what_is_captured_inside_is_of_the_steered_model(model, space):
    plain = xl.capture(model, AUX, ["block"])["block"]
    with steered(model, space, Steering("sw", 1.0, (1,))):
        inside = xl.capture(model, AUX, ["block"])["block"]
    assert torch.equal(inside[0], plain[0])
    shift = torch.tensor(space.at(1).direction("sw")).float()
    torch.testing.assert_close(inside[1], plain[1] + shift)
    assert not torch.allclose(inside[2], plain[2])


def test_around_a_transplant_call(model, space):
    alone = xl.transplant(
        model, main=MAIN, aux=AUX, component="ffn", source=0, target=1, max_new_tokens=4
    )
    with steered(model, space, Steering("sw", 2.0, (0, 2))):
        both = xl.transplant(
            model, main=MAIN, aux=AUX, component="ffn", source=0, target=1, max_new_tokens=4
        )
        vector = xl.capture(model, AUX, ["ffn"])["ffn"][0]
        rows = [(), (Transplant(Site("ffn", 1), vector),)]
        slow = oracle.run_rows(model, ids_of(model, MAIN), rows, max_new_tokens=4)
    assert (both.vanilla_ids, both.output_ids) == tuple(answers(slow))
    assert both.output_ids != alone.output_ids


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("sw", float("nan"), (0,)), UsageError, "finite"),
        (("sw", 1.0, ()), UsageError, "no layer"),
        (("sw", 1.0, ("final",)), UsageError, "'final'"),
        (("sw", 1.0, (0,), "specific"), UsageError, "'specific'"),
        (("sw", 1.0, (4,)), PairError, "4 blocks"),
        (("sw", 1.0, (1, -3)), UsageError, "more than once"),
        (("hi", 1.0, (0,)), SpaceError, "'hi'"),
        (("hi", 0.0, (0,), "agnostic"), SpaceError, "'hi'"),
    ],
)
def test_what_cannot_be_done_is_refused(model, space, arguments, error, words):
    with pytest.raises(error, match=words), steered(model, space, Steering(*arguments)):
        pass


def test_a_space_of_another_shape_is_refused(model, make_space):
    for space in (make_space(n_layers=3), make_space(d_model=16)):
        steering = steered(model, space, Steering("sw", 1.0, (0,)))
        with pytest.raises(SpaceError, match="probe this model"), steering:
            pass


def test_a_model_in_training_mode_is_steered_without_dropout(make_space):
    model = wrapped("gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    ids = torch.tensor([ids_of(model, MAIN)])

    def act():
        with steered(model, make_space(), Steering("sw", 4.0, (1,))), torch.no_grad():
            new = model.hf.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4
            )
            return new, model.hf(ids).logits

    expected = act()
    model.hf.train()
    assert all(map(torch.equal, act(), expected))
    assert all(module.training for module in model.hf.modules())
