"""The cache goes in and comes out under the name that transformers, or a model, has for it."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig

import crosslatent as xl
from crosslatent import engine
from crosslatent.answering.ask import sample
from crosslatent.answering.gradients import attribute
from crosslatent.core.errors import ModelError, PromptError
from crosslatent.engine import oracle
from crosslatent.model import caches
from support.models import tiny_model
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped
from support.two_stacks import wrapped_stacks


class Module(nn.Module):
    """Has the forward that a test gives it."""

    def __init__(self, forward):
        super().__init__()
        self.forward = forward


INSTALLED = caches.cache_name(tiny_model("llama")[0])
SIGNATURES = [
    (lambda input_ids=None, cache=None: None, "cache"),
    (lambda input_ids=None, past_key_values=None: None, "past_key_values"),
    (lambda input_ids=None, cache=None, **more: None, "cache"),
    (lambda input_ids=None, past_key_values=None, **more: None, "past_key_values"),
    (lambda input_ids=None, **more: None, INSTALLED),
    (lambda *args, **more: None, INSTALLED),
    (lambda input_ids=None, cache=None, past_key_values=None: None, INSTALLED),
]


@pytest.mark.parametrize(("forward", "name"), SIGNATURES)
def test_the_name_is_what_the_signature_says(forward, name):
    assert caches.cache_name(Module(forward)) == name


def test_a_forward_without_a_cache_is_refused():
    with pytest.raises(ModelError, match="Module takes input_ids, but no cache of keys and values"):
        caches.cache_name(Module(lambda input_ids: None))


def renamed(model, name):
    """The model with a forward of its own, which calls its cache as code of a model may do."""
    right, installed = model.hf.forward, INSTALLED

    def forward(**given):
        if name in given:
            given[installed] = given.pop(name)
        return right(**given)

    def old(input_ids=None, past_key_values=None, **more):
        return forward(input_ids=input_ids, past_key_values=past_key_values, **more)

    def new(input_ids=None, cache=None, **more):
        return forward(input_ids=input_ids, cache=cache, **more)

    model.hf.forward = {"past_key_values": old, "cache": new}[name]
    return model


@pytest.mark.parametrize("name", caches.NAMES)
def test_rows_of_a_model_with_a_name_of_its_own(name):
    plain, model = wrapped(), renamed(wrapped(), name)
    ids, rows = ids_of(plain, MAIN), all_rows(plain, ids_of(plain, AUX), ["ffn"])[:5]
    slow = oracle.run_rows(plain, ids, rows, max_new_tokens=4)
    assert_equal(oracle.run_rows(model, ids, rows, max_new_tokens=4), slow)
    assert engine.best_path(model).reason == ""
    assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=4), slow)


def test_a_cache_that_is_left_out_without_a_word_is_noticed():
    model = wrapped()
    right = model.hf.forward
    model.hf.forward = lambda input_ids=None, **more: right(
        input_ids=input_ids, **{name: more[name] for name in more if name not in caches.NAMES}
    )
    said = r"LlamaForCausalLM was handed a cache as .*, which holds 0 tokens .* should hold \d+:"
    with pytest.raises(ModelError, match=said):
        oracle.run_rows(model, ids_of(model, MAIN), [()], max_new_tokens=2)


@dataclass
class Output:
    cache: object = None


def test_what_a_forward_returns():
    cache = DynamicCache()
    assert caches.cache_of(Output(cache)) is cache
    assert caches.cache_of(SimpleNamespace(past_key_values=cache)) is cache
    with pytest.raises(ModelError, match="Output without a cache"):
        caches.cache_of(Output())


@pytest.mark.parametrize("kind", [DynamicCache, lambda: None])
def test_the_cache_among_arguments(kind):
    cache = kind()
    for name in caches.NAMES:
        assert caches.cache_in({"input_ids": 1, name: cache}) is cache
    assert caches.cache_in({}) is None


def test_rows_are_kept_in_both_parts_of_two_stacks():
    parts = [DynamicCache(), DynamicCache()]
    for part in parts:
        part.update(torch.arange(3.0).view(3, 1, 1, 1), torch.zeros(3, 1, 1, 1), 0)
    caches.keep_rows(EncoderDecoderCache(*parts), torch.tensor([2, 0]))
    assert [part.layers[0].keys.flatten().tolist() for part in parts] == [[2, 0], [2, 0]]


NEW = 5
PLAIN = {"do_sample": False, "max_new_tokens": NEW, "pad_token_id": 0}


@contextmanager
def hooked(model, change):
    """Changes the arguments of every forward, in the order in which these are opened."""

    def hook(module, args, kwargs):
        return change(caches.named(module.forward, args, kwargs))

    handle = model.hf.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def patched(model, vectors, how, **asked):
    """`xl.patched`, which sees the cache in another way than the model then gets it."""
    places = list(signature(model.hf.forward).parameters)

    def change(given):
        if INSTALLED not in given:
            return (), given
        cache = given.pop(INSTALLED)
        if how != "by position":
            return (), given | {how: cache}
        before = places[: places.index(INSTALLED)]
        return (*(given.pop(name, None) for name in before), cache), given

    def back(given):
        name = INSTALLED if how == "by position" else how
        cache = given.pop(name, None)
        return (), given if cache is None else given | {INSTALLED: cache}

    with hooked(model, change), xl.patched(model, vectors, **asked), hooked(model, back):
        yield


FAMILIES = ["llama", "gemma2", "gpt_neox", "t5", "bart"]


def model_of(family):
    return wrapped_stacks(family) if family in ("t5", "bart") else wrapped(family)


def generated(model, **more):
    ids = torch.tensor([ids_of(model, MAIN)])
    return model.hf.generate(ids, attention_mask=torch.ones_like(ids), **PLAIN, **more).tolist()


@pytest.mark.parametrize("how", [*caches.NAMES, "by position"])
@pytest.mark.parametrize("family", FAMILIES)
def test_patched_finds_the_cache_however_it_is_handed_over(family, how):
    model = model_of(family)
    asked = {"component": "block", "source": 0, "target": 2}
    vectors = xl.capture(model, AUX, ["block"])
    settings = [{}, {"use_cache": False}, {"num_beams": 2}]
    with hooked_once(model, vectors["block"][0], 2):
        expected = generated(model)
    with patched(model, vectors, how, **asked):
        found = [generated(model, **each) for each in settings]
    assert found[0] == found[1] == expected
    with xl.patched(model, vectors, **asked):
        assert [generated(model, **each) for each in settings] == found
    assert expected != generated(model)


@contextmanager
def hooked_once(model, vector, target):
    """Puts a vector at the last token of what the first forward gives, by hand."""
    todo = [True]

    def hook(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        if todo:
            todo.clear()
            hidden[:, -1] = vector

    handle = model.blocks[target].whole.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("family", [*FAMILIES, "falcon-alibi"])
@pytest.mark.parametrize("prompt", [MAIN, "M"])
def test_a_cache_under_a_name_that_nobody_knows_stops_generate(family, prompt):
    """A step of one token after a prompt of one token looks like the first step otherwise."""
    model = model_of(family)
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, prompt)])
    asked = {"component": "ffn", "source": 0, "target": 2}
    with (
        patched(model, vectors, "memory", **asked),
        pytest.raises(PromptError, match="goes on with 1 tokens after .*without a cache"),
    ):
        model.hf.generate(ids, **PLAIN)


def test_arguments_by_position_count():
    model = wrapped()
    vectors = xl.capture(model, AUX, ["ffn"])
    ids, short = ids_of(model, MAIN), ids_of(model, "Habari?")
    rows = torch.tensor([ids, short + [0] * (len(ids) - len(short))])
    mask = torch.tensor([[1] * len(ids), [1] * len(short) + [0] * (len(ids) - len(short))])
    config = GenerationConfig(prompt_lookup_num_tokens=2)
    with torch.no_grad(), xl.patched(model, vectors, component="ffn", source=0, target=2):
        named = model.hf(input_ids=rows, attention_mask=mask).logits
        assert torch.equal(model.hf(rows, mask).logits, named)
        alone = model.hf(rows[1:, : len(short)]).logits[0, -1]
        assert torch.allclose(named[1, len(short) - 1], alone, atol=1e-4)
        with pytest.raises(PromptError, match="prompt_lookup_num_tokens"):
            model.hf.generate(rows[:1], config)
        with pytest.raises(PromptError, match=r"attention mask \(4 dimensions\)"):
            model.hf(rows, mask[:, None, None, :].expand(-1, -1, len(ids), -1).float())
        # `generate` makes a mask of its own where pads are in a batch that has none.
        with pytest.raises(PromptError, match="right-padded"):
            model.hf.generate(rows, **PLAIN)


def test_a_decoder_may_be_given_its_start_by_position():
    model = wrapped_stacks("t5")
    vectors = xl.capture(model, AUX, ["ffn"])
    ids = torch.tensor([ids_of(model, MAIN)])
    start = torch.tensor([[0]])
    with torch.no_grad(), xl.patched(model, vectors, component="ffn", source=0, target=2):
        named = model.hf(input_ids=ids, decoder_input_ids=start).logits
        assert torch.equal(model.hf(ids, None, start).logits, named)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_nothing_is_said_about_arguments_that_will_be_gone(family, caplog):
    """Of transformers, neither as a warning nor in its log."""
    model = model_of(family)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        warnings.simplefilter("error", DeprecationWarning)
        vectors = xl.capture(model, AUX, ["ffn"])
        ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX), ["ffn"])[:4]
        for name in ("auto", "expanded-cache", "oracle"):
            path = engine.chosen_path(model, name)
            engine.run_rows(model, ids, rows, max_new_tokens=3, path=path)
        if family == "llama":
            attribute(model, ids, ids_of(model, AUX), ["ffn"])
            xl.capture(model, AUX, ["ffn"], chunk=5)
        list(sample(model, [ids], ["a"], samples=2, max_new_tokens=3))
        with xl.patched(model, vectors, component="ffn", source=0, target=2):
            generated(model)
    assert "deprecated" not in caplog.text
