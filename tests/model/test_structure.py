"""Which modules are which: found, named by the user, or refused with the line to paste."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2Model,
    LlavaConfig,
    LlavaForConditionalGeneration,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

import crosslatent as xl
from crosslatent.core.errors import ModelError
from crosslatent.model.structure import Names
from crosslatent.model.trace import with_hidden
from support.families import REFUSED
from support.models import byte_tokenizer, has_type, tiny_model
from support.rows import AUX, MAIN, wrapped

RENAMED = {"blocks": "model.layers", "attn": "looker", "ffn": "thinker"}


def renamed(family="llama"):
    """A model whose blocks call their modules as nobody does."""
    hf, tokenizer = tiny_model(family)
    for block in hf.model.layers:
        for old, new in (("self_attn", "looker"), ("mlp", "thinker")):
            module = getattr(block, old)
            delattr(block, old)
            block.register_module(new, module)
        block.forward = through(block)
    return hf, tokenizer


def through(block):
    """The forward of a Llama block, under the new names."""

    def forward(hidden_states, **kwargs):
        hidden_states = (
            hidden_states
            + block.looker(hidden_states=block.input_layernorm(hidden_states), **kwargs)[0]
        )
        return hidden_states + block.thinker(block.post_attention_layernorm(hidden_states))

    return forward


def test_names_that_nobody_uses_are_refused_with_the_line_to_paste():
    with pytest.raises(ModelError) as error:
        xl.wrap(*renamed())
    said = str(error.value)
    assert "no module of it has a name that is usual for attention" in said
    assert "its children are input_layernorm, post_attention_layernorm, looker, thinker" in said
    assert 'modules={"attn": "looker", "ffn": "thinker"}' in said
    assert "--modules attn=looker,ffn=thinker." in said


def test_what_is_named_is_taken_and_gives_the_same_numbers():
    model = xl.wrap(*renamed(), modules=RENAMED)
    usual = wrapped()
    for component in ("attn", "ffn", "attn_residual"):
        asked = {"main": MAIN, "aux": AUX, "component": component, "source": 1, "target": 2}
        assert xl.transplant(model, **asked) == xl.transplant(usual, **asked)
    assert model.modules == RENAMED == model.identity["modules"]
    assert "modules" not in usual.identity


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"attn": "mlp", "ffn": "self_attn"}, "the feed-forward 'self_attn' looks at other tokens"),
        ({"ffn": "post_attention_layernorm"}, "does not add its modules directly"),
        ({"ffn": "self_attn"}, "does not add its modules directly"),
        ({"ffn": "mlp.up_proj"}, r"feed-forward 'mlp.up_proj' gives .1, 3, 64., but the residual"),
        (
            {"ffn": "mlp.act"},
            "Block 0 of LlamaForCausalLM has no 'mlp.act': its children are self_",
        ),
        ({"blocks": "model.layer"}, "has no 'model.layer': its lists of modules are model.layers"),
        ({"blocks": "model"}, "'model' is a LlamaModel, not a list of decoder blocks"),
        ({"head": "lm_head"}, "Cannot name the module 'head' of a model: give blocks, attn, ffn"),
        ({"attn": ""}, "The path of 'attn' is empty"),
    ],
)
def test_what_is_named_is_proven_like_what_is_found(modules, says):
    hf, tokenizer = tiny_model("llama")
    with pytest.raises(ModelError, match=says):
        xl.wrap(hf, tokenizer, modules=modules)


def test_a_module_that_is_never_called_is_not_the_one():
    hf, tokenizer = tiny_model("llama")
    for block in hf.model.layers:
        block.idle = nn.Linear(32, 32)
    with pytest.raises(ModelError, match="feed-forward 'idle' gives nothing .it is not called."):
        xl.wrap(hf, tokenizer, modules={"ffn": "idle"})


class Around(nn.Module):
    """Calls a module that stands elsewhere, and returns what it returns."""

    def __init__(self, inner):
        super().__init__()
        self.call = lambda hidden: inner(hidden)

    def forward(self, hidden):
        return self.call(hidden)


def test_two_that_pass_are_one_too_many():
    hf, tokenizer = tiny_model("llama")
    for block in hf.model.layers:
        block.moe, block.looker = Around(block.mlp), block.self_attn
        block.thinker = block.moe
        block.forward = through(block)
    with pytest.raises(
        ModelError, match="both make up the block's output.*--modules attn=self_att"
    ):
        xl.wrap(hf, tokenizer)
    assert xl.wrap(hf, tokenizer, modules={"ffn": "mlp"}).n_layers == 4


def test_two_lists_of_as_many_blocks_are_one_too_many():
    hf, tokenizer = tiny_model("llama")
    hf.model.others = nn.ModuleList(tiny_model("llama", seed=1)[0].model.layers)
    with pytest.raises(ModelError) as error:
        xl.wrap(hf, tokenizer)
    assert "more than one list of 4 modules" in str(error.value)
    assert "'model.layers' (4), 'model.others' (4)" in str(error.value)
    assert "--modules blocks=model.layers" in str(error.value)
    assert xl.wrap(hf, tokenizer, modules={"blocks": "model.layers"}).n_layers == 4


def test_lists_of_other_things_are_told_apart():
    hf, tokenizer = tiny_model("llama")
    hf.model.adapters = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
    assert xl.wrap(hf, tokenizer).blocks[0].whole is hf.model.layers[0]


def test_a_list_that_is_too_short_is_refused():
    hf, tokenizer = tiny_model("llama")
    hf.config.num_hidden_layers = 5
    with pytest.raises(ModelError, match=r"no list of 5 modules.*its lists are 'model.layers' .4."):
        xl.wrap(hf, tokenizer)
    with pytest.raises(ModelError, match="Found 4 decoder blocks at 'model.layers', but"):
        xl.wrap(hf, tokenizer, modules={"blocks": "model.layers"})


@pytest.mark.parametrize("family", REFUSED)
def test_recurrent_and_hybrid_models_are_refused_with_the_reason(family):
    if not has_type(family):
        pytest.skip(f"this version of transformers has no {family}")
    hf, tokenizer = tiny_model(family, **REFUSED[family])
    with pytest.raises(ModelError, match=r"is recurrent or hybrid \((blocks \d|its blocks)"):
        xl.wrap(hf, tokenizer)


def test_a_model_that_cannot_run_is_said():
    hf, tokenizer = tiny_model("llama")
    hf.model.layers[2].mlp.up_proj = nn.Linear(32, 7)
    with pytest.raises(ModelError, match="LlamaForCausalLM fails on a text of a few tokens .Runt"):
        xl.wrap(hf, tokenizer)


def test_blocks_that_are_not_called_or_give_no_states_are_said():
    hf, tokenizer = tiny_model("llama")
    hf.spare = copy.deepcopy(hf.model.layers)
    with pytest.raises(ModelError, match=r"Block 0 of LlamaForCausalLM .spare.0. is not called"):
        xl.wrap(hf, tokenizer, modules={"blocks": "spare"})
    last = hf.model.layers[3]
    last.forward = lambda hidden_states, **_: Wrapped(states=hidden_states)
    hf.model.norm = nn.Identity()
    hf.model.norm.forward = lambda out: out.states
    with pytest.raises(ModelError, match=r"Block 3 .* returns a Wrapped, and no tensor of hidden"):
        xl.wrap(hf, tokenizer, modules={"blocks": "model.layers"})


@dataclass
class Wrapped:
    """What no block of transformers returns."""

    states: torch.Tensor


def test_blocks_that_return_lists_are_read_and_edited():
    """As those of the first GPT do, which keeps no cache: reading works, answering says why not."""
    config = OpenAIGPTConfig(vocab_size=258, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    model = xl.wrap(OpenAIGPTLMHeadModel(config), byte_tokenizer())
    assert [block.attn for block in model.blocks] == [each.attn for each in model.hf.transformer.h]
    assert with_hidden([1, 2], 3) == [3, 2]
    with pytest.raises(
        ModelError, match=r"OpenAIGPTLMHeadModel was handed a cache as '(cache|past_key_values)'"
    ):
        xl.transplant(model, main=MAIN, aux=AUX, component="ffn", source=0, target=1)


@pytest.mark.parametrize(
    ("kind", "found"),
    [(GPT2Model, "no logits"), (GPT2ForSequenceClassification, r"logits of shape \(1, 2\)")],
)
def test_models_that_cannot_write_text_are_said_where_they_should(kind, found):
    config = GPT2Config(vocab_size=258, n_embd=32, n_layer=2, n_head=2, pad_token_id=0)
    model = xl.wrap(kind(config), byte_tokenizer())
    with pytest.raises(ModelError, match=f"{kind.__name__} returns {found}, where answering"):
        xl.transplant(model, main=MAIN, aux=AUX, component="ffn", source=0, target=1)


def test_the_final_norm_and_the_head_are_those_that_make_the_logits():
    for family, name in (("llama", "model.norm"), ("gpt2", "transformer.ln_f"), ("phi", None)):
        model = wrapped(family)
        expected = model.hf.get_submodule(name or "model.final_layernorm")
        assert model.norm is expected
        assert model.head is model.hf.get_output_embeddings()
    assert wrapped("opt", do_layer_norm_before=False).norm is None


def test_feed_forwards_that_know_no_rows_are_edited_in_the_right_one():
    """OPT's second layer works on the tokens of all rows in one."""
    model = wrapped("opt")
    assert all(block.flat == {block.ffn} for block in model.blocks)
    texts = ["Mji?", "City of Kenya?"]
    together = xl.capture(model, texts, ["ffn"])["ffn"]
    for text, vectors in zip(texts, together, strict=True):
        assert torch.allclose(xl.capture(model, text, ["ffn"])["ffn"], vectors, atol=1e-4)


def test_given_names_come_before_those_of_the_table():
    given = Names.of({"ffn": "mlp"})
    assert given.over(Names(attn="a", ffn="b")) == Names(attn="a", ffn="mlp")
    assert Names.of(None) == Names()


def test_of_two_stacks_the_text_decoder_is_taken():
    """The vision tower has as many blocks, of the same shape."""
    text = tiny_model("llama")[0].config
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        image_size=16, patch_size=8,
    )  # fmt: skip
    hf = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text))
    model = xl.wrap(hf, byte_tokenizer())
    paths = {module: path for path, module in hf.named_modules()}
    for layer, block in enumerate(model.blocks):
        for part, name in ((block.whole, ""), (block.attn, ".self_attn"), (block.ffn, ".mlp")):
            assert paths[part] == f"model.language_model.layers.{layer}{name}"
    vectors = xl.capture(model, AUX, ["ffn"])
    with xl.patched(model, vectors, component="ffn", source=1, target=2):
        hooked = {path for path, module in hf.named_modules() if module._forward_hooks}
    assert hooked == {"model.language_model.layers.2.mlp"}
