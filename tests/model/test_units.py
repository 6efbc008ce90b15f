"""Neurons and heads are what enters the last matrices, and what cannot be proven is refused."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import crosslatent as xl
from crosslatent import engine
from crosslatent.core.errors import PairError
from crosslatent.core.specs import Site
from crosslatent.engine import oracle
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import ALL, LAST
from crosslatent.interventions.kinds.ablate import Ablate
from crosslatent.interventions.kinds.transplant import Transplant
from support.rows import ids_of, wrapped
from support.two_stacks import wrapped_stacks

MAIN = "Swali la kwanza ni lipi? Jibu:"
AUX = "What is the first question? Answer:"
WATCH = (40, 50, 60, 70, 80, 90)


@cache
def model_of(family):
    return wrapped(family)


def answer(model, row, main=MAIN, new_tokens=4):
    (found,) = oracle.run_rows(
        model, ids_of(model, main), [row], max_new_tokens=new_tokens, watch=WATCH
    )
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "falcon", "bloom"])
def test_neurons_at_zero_are_a_matrix_without_their_columns(family):
    model, other = model_of(family), wrapped(family)
    units = other.units("neurons")[1]
    weight = units.projection.weight
    inputs = 0 if type(units.projection).__name__ == "Conv1D" else 1
    with torch.no_grad():
        weight.index_fill_(inputs, torch.tensor([3, 7, 11]), 0.0)
    right = answer(other, ())
    row = (Ablate(Site("neurons", 1), units=(3, 7, 11), tokens=ALL),)
    found = answer(model, row)
    assert found.watched == pytest.approx(right.watched, abs=1e-4)
    assert found.ids == right.ids
    assert found.watched != answer(model, ()).watched


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "gpt_neox"])
def test_a_head_at_zero_is_a_matrix_without_its_columns(family):
    model, other = model_of(family), wrapped(family)
    units = other.units("heads")[2]
    assert (units.count, units.groups) == (4, 8)
    inputs = 0 if type(units.projection).__name__ == "Conv1D" else 1
    with torch.no_grad():
        units.projection.weight.index_fill_(inputs, torch.tensor(units.places(2)), 0.0)
    right = answer(other, ())
    found = answer(model, (Ablate(Site("heads", 2), units=tuple(units.places(2)), tokens=ALL),))
    assert found.watched == pytest.approx(right.watched, abs=1e-4)
    assert found.watched != answer(model, ()).watched


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_block_that_writes_nothing_has_its_last_matrices_all_the_same(family):
    """As depth expansion adds blocks, and pruning leaves them: all matrices of it give the same."""
    model, other = wrapped(family), wrapped(family)
    with torch.no_grad():
        for module in (model.blocks[1].attn, model.blocks[1].ffn):
            for weight in module.parameters():
                weight.zero_()
    for component in ("neurons", "heads"):
        found, usual = model.units(component)[1], other.units(component)[1]
        assert (found.count, found.groups) == (usual.count, usual.groups)
        names = [
            next(name for name, each in one.hf.named_modules() if each is units.projection)
            for one, units in ((model, found), (other, usual))
        ]
        assert names[0] == names[1]


@pytest.mark.parametrize("component", ["neurons", "heads"])
@pytest.mark.parametrize("tokens", [LAST, ALL], ids=["last", "all"])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_fast_paths_equal_the_oracle(component, tokens, family):
    model = model_of(family)
    width = model.width(component)
    rows = [()] + [
        (Ablate(Site(component, layer), units=units, scale=scale, tokens=tokens),)
        for layer in range(model.n_layers)
        for units, scale in ((None, 0.0), (tuple(range(width // 2)), 3.0))
    ]
    main = ids_of(model, MAIN)
    found = engine.run_rows(model, main, rows, max_new_tokens=4, watch=WATCH)
    expected = oracle.run_rows(model, main, rows, max_new_tokens=4, watch=WATCH)
    for one, other in zip(found, expected, strict=True):
        assert one.watched == pytest.approx(other.watched, abs=1e-3)
        assert one.ids == other.ids
    assert all(row.watched != expected[0].watched for row in expected[1:])


@pytest.mark.parametrize("component", ["neurons", "heads"])
def test_own_values_change_nothing_and_those_of_another_prompt_do(component):
    model = model_of("llama")
    own, other = capture_ids(model, [ids_of(model, text) for text in (MAIN, AUX)], [component])[
        component
    ]
    assert own.shape == (model.n_layers, model.width(component))
    plain = answer(model, ())
    same = answer(model, (Transplant(Site(component, 1), own[1]),))
    assert same.watched == pytest.approx(plain.watched, abs=1e-5)
    assert answer(model, (Transplant(Site(component, 1), other[2]),)).watched != plain.watched


def test_all_neurons_are_the_feed_forward_without_its_bias():
    model = model_of("llama")
    neurons = answer(model, (Ablate(Site("neurons", 1), tokens=ALL),))
    whole = answer(model, (Ablate(Site("ffn", 1), tokens=ALL),))
    assert neurons.watched == pytest.approx(whole.watched, abs=1e-5)


def test_experts_have_no_neurons_that_could_be_proven():
    with pytest.raises(PairError, match="no 'neurons' that could be proven: no single matrix"):
        model_of("mixtral").check_component("neurons")
    assert model_of("mixtral").units("heads")[0].count == 4


@pytest.mark.parametrize("family", ["bloom", "falcon", "mpt", "diffllama"])
def test_heads_that_were_not_seen_apart_are_refused(family):
    with pytest.raises(PairError, match="no 'heads' that could be proven"):
        model_of(family).check_component("heads")
    # What was tried is not left behind.
    assert answer(model_of(family), ()).ids == answer(wrapped(family), ()).ids


def test_the_decoder_of_two_stacks():
    model = wrapped_stacks("t5")
    before = answer(model, ())
    for component in ("neurons", "heads"):
        try:
            width = model.width(component)
        except PairError:
            continue
        assert answer(model, (Ablate(Site(component, 1)),)).watched != before.watched
        assert width > 1


def test_a_unit_that_is_not_there():
    units = model_of("llama").units("heads")[0]
    with pytest.raises(PairError, match="no head 4: this block has 4, so use 0 to 3"):
        units.places(4)


def test_captured_by_name():
    model = model_of("llama")
    assert xl.capture(model, MAIN, "neurons")["neurons"].shape == (4, 64)
    assert xl.capture(model, MAIN, "heads")["heads"].shape == (4, 32)
