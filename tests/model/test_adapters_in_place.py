"""Adapters left in place: read and patched as they act, and told apart."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import LlamaConfig

import crosslatent as xl
from crosslatent.contracts import CONTRACTS, Subject, run
from crosslatent.core.errors import ModelError
from crosslatent.engine import oracle
from support.models import tiny_model
from support.numbers import distances, numbers

peft = pytest.importorskip("peft", reason="peft is not installed (extra: lens)")


def adapted(family="llama", **settings):
    """A model with LoRA in every linear layer, whose part in the numbers is large."""
    hf, tokenizer = tiny_model(family)
    config = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return peft.get_peft_model(hf, peft.LoraConfig(**config | settings)), tokenizer


# GPT-2 has layers of its own kind; in BLOOM and OPT, the module itself is what PEFT replaces.
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "opt", "gemma2"])
def test_an_adapter_in_place_gives_what_the_merged_model_gives(family):
    wrapped, tokenizer = adapted(family)
    model = xl.wrap(wrapped, tokenizer)
    assert model.hf is wrapped.get_base_model()
    merged = xl.wrap(copy.deepcopy(wrapped).merge_and_unload(), tokenizer)
    plain = xl.wrap(tiny_model(family)[0], tokenizer)
    assert max(distances(numbers(merged), numbers(model))) < 1e-4
    assert min(distances(numbers(plain), numbers(model))[:5]) > 1e-2
    with wrapped.disable_adapter():
        assert max(distances(numbers(plain), numbers(model))) < 1e-6
    assert max(distances(numbers(merged), numbers(model))) < 1e-4


def test_transplants_with_an_adapter_equal_those_of_the_merged_model():
    wrapped, tokenizer = adapted()
    model = xl.wrap(wrapped, tokenizer)
    merged = xl.wrap(copy.deepcopy(wrapped).merge_and_unload(), tokenizer)
    rows, subject = Subject.of(merged).rows(("attn", "ffn")), Subject.of(model)
    wanted = {"max_new_tokens": 4, "watch": subject.watch}
    expected = oracle.run_rows(merged, subject.main, rows, **wanted)
    found = oracle.run_rows(model, subject.main, rows, **wanted)
    assert len({row.ids for row in expected}) > 5
    subject.check_equal(expected, found, "merged and in place")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "opt", "mixtral"])
@pytest.mark.parametrize("contract", CONTRACTS)
def test_contracts_with_an_adapter(family, contract):
    model = xl.wrap(*adapted(family))
    outcome = run(contract, Subject.of(model))
    assert (outcome.status, outcome.reason) == ("passed", "")


def test_another_adapter_and_its_strength_are_another_model():
    wrapped, tokenizer = adapted()
    first = xl.wrap(wrapped, tokenizer).identity
    assert first["active_adapters"] == ["default"]
    wrapped.add_adapter("other", peft.LoraConfig(r=2, target_modules="all-linear"))
    wrapped.set_adapter("other")
    second = xl.wrap(wrapped, tokenizer).identity
    assert second["active_adapters"] == ["other"]
    with wrapped.disable_adapter():
        off = xl.wrap(wrapped, tokenizer).identity
    stronger = xl.wrap(*adapted(lora_alpha=16)).identity
    assert off["active_adapters"] == []
    found = [each["adapters_hash"] for each in (first, second, off, stronger)]
    assert len(set(found)) == 4
    assert stronger["weights_hash"] == first["weights_hash"]
    assert "active_adapters" not in xl.wrap(*tiny_model("llama")).identity


def test_injected_adapters_and_modules_to_save():
    hf, tokenizer = tiny_model("llama")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    injected = peft.inject_adapter_in_model(config, hf)
    assert xl.wrap(injected, tokenizer).identity["active_adapters"] == ["default"]
    saved, tokenizer = adapted(modules_to_save=["lm_head", "embed_tokens"])
    model = xl.wrap(saved, tokenizer)
    assert (model.vocabulary, model.device.type) == (len(tokenizer), "cpu")
    assert model.head is model.hf.lm_head


def test_generate_of_the_wrapper_is_patched():
    wrapped, tokenizer = adapted()
    model = xl.wrap(wrapped, tokenizer)
    vectors = xl.capture(model, "What is the capital?", components=["ffn"])
    prompt = tokenizer("Mji mkuu?", return_tensors="pt")
    prompt.pop("token_type_ids", None)
    asked = {**prompt, "max_new_tokens": 4, "do_sample": False}
    plain = wrapped.generate(**asked).tolist()
    with xl.patched(model, vectors, component="ffn", source=3, target=0):
        assert wrapped.generate(**asked).tolist() == model.hf.generate(**asked).tolist() != plain


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
            "'default' is of type PREFIX_TUNING, which acts around the model",
        ),
        (
            lambda: peft.LoraConfig(
                task_type="CAUSAL_LM", target_modules=["q_proj"], alora_invocation_tokens=[5]
            ),
            "'default' is of type LORA with invocation tokens, which acts around",
        ),
    ],
)
def test_adapters_around_the_model_are_refused(config, says):
    hf, tokenizer = tiny_model("llama")
    with pytest.raises(ModelError, match=says):
        xl.wrap(peft.get_peft_model(hf, config()), tokenizer)


def test_a_compiled_adapter_is_unwrapped_from_both():
    wrapped, tokenizer = adapted()
    with pytest.warns(UserWarning, match="is compiled"):
        model = xl.wrap(torch.compile(wrapped, backend="eager"), tokenizer)
    assert model.hf is wrapped.get_base_model()
    assert isinstance(model.hf.config, LlamaConfig)
