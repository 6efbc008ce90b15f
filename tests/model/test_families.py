"""Families whose blocks or attention are unusual: what is captured, what is proven, what counts."""

from __future__ import annotations

import pytest
import torch

import crosslatent as xl
from crosslatent.core.errors import ModelError
from crosslatent.engine import oracle
from crosslatent.model import blocks
from crosslatent.model.structure import FAMILIES
from support.models import ALL_FAMILIES, CONTEXT, byte_tokenizer, tiny_model
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped
from support.two_stacks import ENCODED, tiny_two_stacks

NORMS_AFTER = ["gemma2", "gemma3_text", "olmo2"]
NORM_OF = {"attn": "post_attention_layernorm", "ffn": "post_feedforward_layernorm"}


def record(model, modules):
    """Inputs and outputs of `modules`, by their keys, at the last token of MAIN."""
    seen = {}
    handles = [
        module.register_forward_hook(
            lambda _m, args, out, at=key: seen.update({at: (args[0][0, -1].clone(), first(out))})
        )
        for key, module in modules.items()
    ]
    with torch.no_grad():
        model.hf(torch.tensor([ids_of(model, MAIN)]))
    for handle in handles:
        handle.remove()
    return seen


def first(output):
    """What a module returns for the last token, whatever else it returns beside it."""
    hidden = output[0] if isinstance(output, tuple) else output
    return hidden[0, -1].clone()


@pytest.mark.parametrize("family", NORMS_AFTER)
@pytest.mark.parametrize("component", ["attn", "ffn"])
def test_what_is_captured_is_what_the_module_returns_before_the_norm(family, component):
    model = wrapped(family)
    captured = xl.capture(model, MAIN, [component])[component]
    norms = {
        layer: block.whole.get_submodule(NORM_OF[component])
        for layer, block in enumerate(model.blocks)
    }
    for layer, (entered, left) in record(model, norms).items():
        assert torch.allclose(captured[layer], entered, atol=1e-5)
        assert not torch.allclose(captured[layer], left, atol=1e-3)


@pytest.mark.parametrize("family", ["falcon", "gpt_neox"])
def test_parallel_modules_are_captured_apart(family):
    model = wrapped(family)
    captured = xl.capture(model, MAIN, ["attn", "ffn", "block"])
    blocks = {layer: block.whole for layer, block in enumerate(model.blocks)}
    feeds = {("ffn", layer): block.ffn for layer, block in enumerate(model.blocks)}
    seen = record(model, blocks | feeds)
    for layer, block in enumerate(model.blocks):
        entered, left = seen[layer]
        attn, ffn = captured["attn"][layer], captured["ffn"][layer]
        assert torch.allclose(entered + attn + ffn, left, atol=1e-4)
        # Falcon goes on to add the attention output to this very tensor.
        alone = block.ffn(seen["ffn", layer][0][None, None])[0, 0]
        assert torch.allclose(ffn, alone, atol=1e-4)
        assert attn.abs().max() > 0.1


def test_the_feed_forward_of_experts_is_captured_whole():
    model = wrapped("gpt_oss")
    captured = xl.capture(model, MAIN, ["ffn"])["ffn"]
    feeds = {layer: block.ffn for layer, block in enumerate(model.blocks)}
    for layer, (_entered, left) in record(model, feeds).items():
        assert torch.allclose(captured[layer], left, atol=1e-5)


def test_a_form_that_reads_in_both_directions_is_refused():
    hf, tokenizer = tiny_model("gemma3_text", use_bidirectional_attention=True)
    with pytest.raises(ModelError, match="is not causal"):
        xl.wrap(hf, tokenizer)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
        ("falcon", {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}),
        ("falcon", {"parallel_attn": False}),
        ("falcon-alibi", {"parallel_attn": True}),
        ("gpt_neox", {"use_parallel_residual": False}),
        ("phi3", {"sliding_window": 6}),
        ("opt", {"do_layer_norm_before": False}),
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
    ],
)
def test_other_forms_of_a_family_add_up_too(family, settings):
    assert wrapped(family, **settings).n_layers == 4


def test_every_row_of_the_table_is_tested_and_needed(monkeypatch):
    for model_type in FAMILIES:
        assert model_type in (*ALL_FAMILIES, *ENCODED)
        hf, tokenizer = (
            (tiny_two_stacks(model_type), byte_tokenizer())
            if model_type in ENCODED
            else tiny_model(model_type)
        )
        assert xl.wrap(hf, tokenizer).n_layers == 4
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "FAMILIES", {})
            with pytest.raises(ModelError, match="does not add its modules directly|has a name"):
                xl.wrap(hf, tokenizer)


def answers(model):
    rows = all_rows(model, ids_of(model, AUX), ["attn"])
    return [a.ids for a in oracle.run_rows(model, ids_of(model, MAIN), rows, max_new_tokens=4)]


def without_sinks(model):
    for block in model.blocks:
        torch.nn.init.constant_(block.attn.sinks, -1e4)
    return model


@pytest.mark.parametrize(
    ("family", "without"),
    [
        ("gemma2", {"sliding_window": CONTEXT}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma3_text", {"sliding_window": CONTEXT}),
        ("gpt_oss", {"sliding_window": CONTEXT}),
        ("falcon-alibi", {"alibi": False}),
    ],
)
def test_what_is_unusual_about_a_family_shows_in_its_answers(family, without):
    assert answers(wrapped(family)) != answers(wrapped(family, **without))


def test_attention_sinks_show_in_the_answers():
    assert answers(wrapped("gpt_oss")) != answers(without_sinks(wrapped("gpt_oss")))


def test_soft_caps_are_kept_where_sdpa_would_drop_them():
    hf, tokenizer = tiny_model("gemma2")
    hf.config._attn_implementation = "sdpa"
    assert answers(xl.wrap(hf, tokenizer)) == answers(wrapped("gemma2"))
    # Without caps sdpa is left alone.
    hf, tokenizer = tiny_model("gemma2", attn_logit_softcapping=None)
    hf.config._attn_implementation = "sdpa"
    xl.wrap(hf, tokenizer)
    assert hf.config._attn_implementation == "sdpa"
