"""`check` and what it says before: what was found, and what the contracts will take."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import crosslatent as xl
from crosslatent import contracts
from crosslatent.contracts import CONTRACTS, Subject
from crosslatent.contracts.facts import forwards
from crosslatent.core.errors import PairError
from support.models import tiny_model
from support.rows import wrapped
from support.two_stacks import wrapped_stacks


def test_all_contracts_in_their_order():
    outcomes = xl.check(wrapped(), quick=True)
    assert [(one.contract, one.status) for one in outcomes] == [
        (name, "passed") for name in CONTRACTS
    ]


@pytest.mark.parametrize("kind", ["attn", "ffn", "attn_residual", "block"])
def test_one_component(kind):
    model = wrapped()
    outcomes = {one.contract: one for one in xl.check(model, components=[kind], quick=True)}
    assert {one.status for one in outcomes.values()} == {"passed"}
    assert outcomes["self-transplant"].facts["rows"] == 3
    assert outcomes["fast-equals-oracle"].facts["rows"] == 1 + 3 * 3
    assert outcomes["independent-capture"].facts["components"] == 1


def test_an_unknown_component():
    with pytest.raises(PairError, match="Unknown component 'mlp'"):
        xl.check(wrapped(), components=["mlp"])


def test_an_encoder_decoder_with_its_own_component():
    model = wrapped_stacks("t5")
    assert list(contracts.found(model).places) == ["blocks", "attn", "ffn", "cross_attn"]
    for components, rows in ((["cross_attn"], 3), ([], 3 * 5)):
        outcomes = {one.contract: one for one in xl.check(model, components=components, quick=True)}
        assert {one.status for one in outcomes.values()} == {"passed"}
        assert outcomes["self-transplant"].facts["rows"] == rows


def test_a_component_that_the_model_does_not_have():
    with pytest.raises(PairError, match="LlamaForCausalLM has no 'cross_attn'"):
        xl.check(wrapped(), components=["cross_attn"])


def test_quick_takes_the_first_the_middle_and_the_last_block():
    subject = contracts.subject_of(wrapped(num_hidden_layers=7), quick=True)
    assert subject.layers == (0, 3, 6)
    assert subject.new_tokens == 2


@pytest.mark.parametrize("family", ["llama", "bloom"])
@pytest.mark.parametrize("quick", [False, True])
def test_forwards_are_as_many_as_was_said(family, quick):
    model = wrapped(family)
    # Without ends, since what is said is said of answers of full length.
    model.hf.generation_config.eos_token_id = model.hf.config.eos_token_id = None
    subject = contracts.subject_of(model, quick=quick)
    counted = []
    embeddings = model.hf.get_input_embeddings()
    embeddings.register_forward_pre_hook(lambda _module, args: counted.append(len(args[0])))
    assert {one.status for one in contracts.run_all(subject)} == {"passed"}
    said = sum(forwards(subject).values())
    assert sum(counted) <= said <= 1.3 * sum(counted)


def test_cost_is_that_of_the_subject():
    subject = contracts.subject_of(wrapped())
    cost = contracts.cost(subject)
    assert cost.forwards == sum(forwards(subject).values())
    assert cost.tokens == len(subject.aux)
    assert 0 < cost.seconds < 5
    assert cost.total == cost.forwards * cost.seconds


def test_every_contract_has_a_cost():
    assert list(forwards(contracts.subject_of(wrapped()))) == list(CONTRACTS)


def word_tokenizer():
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1, "hello": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>"
    )


def test_a_tokenizer_that_knows_none_of_the_words():
    hf, _ = tiny_model("llama")
    subject = Subject.of(xl.wrap(hf, word_tokenizer()))
    assert not subject.from_text
    assert len(set(subject.prompts)) == 3
    assert max(map(max, subject.prompts)) < hf.config.vocab_size
    assert contracts.run("fast-equals-oracle", subject).status == "passed"
    # Texts that differ in length alone say as little.
    assert not Subject.of(subject.model, ("a b", "c d e", "f")).from_text


def test_texts_are_what_is_asked_where_the_tokenizer_knows_them():
    subject = Subject.of(wrapped())
    assert subject.from_text
    assert subject.model.text_of(list(subject.main)) == contracts.subject.TEXTS[0]


def places(found):
    return {part: place.paths for part, place in found.places.items()}


def test_what_is_found_in_a_plain_model():
    found = contracts.found(wrapped())
    assert places(found) == {
        "blocks": ("model.layers",),
        "attn": ("self_attn",),
        "ffn": ("mlp",),
    }
    assert "by its name" in found.places["attn"].how
    assert found.norms == {}
    assert (found.model_type, found.architecture) == ("llama", "LlamaForCausalLM")
    assert (found.blocks, found.d_model, found.dtype) == (4, 32, "float32")
    assert (found.path, found.reason) == ("shared-prefix", "")


def test_norms_after_modules_are_found():
    assert contracts.found(wrapped("gemma2")).norms == {
        "attn": ("post_attention_layernorm",),
        "ffn": ("post_feedforward_layernorm",),
    }
    assert contracts.found(wrapped("opt-norm-after")).norms == {}


def test_a_row_of_the_table_and_names_of_the_user_are_told_apart():
    found = contracts.found(wrapped("bloom"))
    assert places(found)["attn"] == ("self_attention.dense",)
    assert "table of odd families (bloom)" in found.places["ffn"].how
    assert found.path == "expanded-cache"
    assert "AttentionInterface" in found.reason
    hf, tokenizer = tiny_model("llama")
    mine = contracts.found(xl.wrap(hf, tokenizer, modules={"attn": "self_attn"}))
    assert mine.places["attn"].how.startswith("named by you")
    assert mine.places["ffn"].how.startswith("found by its name")


def test_finding_leaves_no_hook():
    model = wrapped()
    contracts.found(model)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in model.hf.modules()
    )
