"""Compiled models: hooks act in what is run, whatever was compiled, and when."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import crosslatent as xl
from crosslatent.core.errors import ModelError
from crosslatent.core.specs import Site
from crosslatent.model import rewriting
from support.models import tiny_model
from support.numbers import IDS, distances, numbers


@torch.no_grad()
def moved_by_hooks(model, call):
    """How much replacing the attention of block 1 by zeros moves the logits that `call` gives."""
    before = call(IDS).logits
    with rewriting(model, {Site("attn", 1): torch.zeros_like}):
        return float((call(IDS).logits - before).abs().max())


def test_what_is_no_model_of_transformers_is_refused():
    with pytest.raises(ModelError, match="A Linear is not a model of transformers"):
        xl.wrap(nn.Linear(2, 2), tiny_model("llama")[1])


def compile_outside(hf):
    return torch.compile(hf, backend="eager")


def compile_in_place(hf):
    hf.compile(backend="eager")
    return hf


def compile_forward(hf):
    hf.forward = torch.compile(hf.forward, backend="eager")
    return hf


def compile_blocks(hf):
    for layer, block in enumerate(hf.model.layers):
        hf.model.layers[layer] = torch.compile(block, backend="eager")
    return hf


def compile_blocks_in_place(hf):
    for block in hf.model.layers:
        block.compile(backend="eager")
    return hf


@pytest.mark.parametrize(
    "compiler",
    [
        compile_outside,
        compile_in_place,
        compile_forward,
        compile_blocks,
        compile_blocks_in_place,
    ],
)
@pytest.mark.parametrize("ran_before", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_hooks_act_in_models_that_were_compiled(compiler, ran_before):
    hf, tokenizer = tiny_model("llama")
    plain = xl.wrap(copy.deepcopy(hf), tokenizer)
    compiled = compiler(hf)
    if ran_before:  # code that is compiled once would not look for hooks again
        with torch.no_grad():
            compiled(IDS, use_cache=False)
    with pytest.warns(UserWarning, match="LlamaForCausalLM is compiled, and compiled code does no"):
        model = xl.wrap(compiled, tokenizer)
    assert max(distances(numbers(plain), numbers(model))) == 0
    expected = moved_by_hooks(plain, plain.hf)
    assert moved_by_hooks(model, model.hf) == expected > 0.1
    # What the user still holds, compiled or not, is patched like the model.
    assert moved_by_hooks(model, compiled) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_hooks_act_in_a_model_that_is_compiled_after_wrapping():
    model = xl.wrap(*tiny_model("llama"))
    expected = moved_by_hooks(model, model.hf)
    model.hf.compile(backend="eager")
    with torch.no_grad():
        model.hf(IDS)
    assert moved_by_hooks(model, model.hf) == pytest.approx(expected, rel=1e-3)


def test_a_model_as_it_is_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xl.wrap(*tiny_model("llama"))
