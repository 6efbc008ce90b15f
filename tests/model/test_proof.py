"""What counts as proof that modules make up the stream, and what does not."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from transformers import BartConfig, MBartConfig
from transformers.models.bart.modeling_bart import BartDecoderLayer
from transformers.models.mbart.modeling_mbart import MBartDecoderLayer

import crosslatent as xl
from crosslatent.core.errors import ModelError
from crosslatent.model import proof
from crosslatent.model.trace import Call, Trace, probe
from support.models import tiny_model


def seen_in(family, layer=1, **settings):
    """What the probe sees of one block."""
    model = xl.wrap(*tiny_model(family, **settings))
    block = model.blocks[layer].whole
    paths = [name for name, _ in block.named_children()]
    trace = Trace()
    with ExitStack() as hooks:
        trace.watch(hooks, [block, *block.children()])
        probe(model.hf)
    return trace.seen(block, paths)


def changed(seen, path, change):
    """The same block, if a module had returned something else."""
    calls = [Call(call.entered, change(call.left)) for call in seen.calls[path]]
    return replace(seen, calls={**seen.calls, path: calls})


@pytest.mark.parametrize("family", ["llama", "gemma2", "olmo2", "granite", "phi", "glm4"])
def test_the_modules_themselves_pass_and_others_do_not(family):
    seen = seen_in(family)
    assert proof.makes_up(seen, "self_attn", "mlp")
    for path in ("self_attn", "mlp"):
        for wrong in (torch.zeros_like, lambda value: value.flip(-1), lambda value: value.flip(1)):
            assert not proof.makes_up(changed(seen, path, wrong), "self_attn", "mlp")


def test_a_norm_is_needed_where_there_is_one():
    seen = seen_in("gemma2")
    for norm in ("post_attention_layernorm", "post_feedforward_layernorm"):
        others = {path: calls for path, calls in seen.calls.items() if path != norm}
        missing = replace(seen, calls=others, norms=seen.norms - {norm})
        assert not proof.makes_up(missing, "self_attn", "mlp")


def test_a_norm_that_was_given_something_else_does_not_count():
    seen = seen_in("gemma2")
    norm = "post_attention_layernorm"
    calls = [Call(call.entered.flip(-1), call.left) for call in seen.calls[norm]]
    assert not proof.makes_up(replace(seen, calls={**seen.calls, norm: calls}), "self_attn", "mlp")


def test_what_has_matrices_is_no_norm():
    seen = seen_in("llama")
    assert seen.norms == {"input_layernorm", "post_attention_layernorm"}
    # The feed-forward is given exactly what this norm returns, and what it returns is added.
    assert not proof.makes_up(seen, "self_attn", "post_attention_layernorm")


def test_a_scale_is_one_number_and_not_nothing():
    seen = seen_in("granite")
    scaled = changed(seen, "mlp", lambda value: value * 3)
    assert proof.makes_up(scaled, "self_attn", "mlp")
    by_token = changed(seen, "mlp", lambda value: value * torch.tensor([1.0, 2, 3])[None, :, None])
    assert not proof.makes_up(by_token, "self_attn", "mlp")
    alone = replace(seen, left=seen.entered + seen.calls["self_attn"][-1].left)
    assert not proof.makes_up(alone, "self_attn", "mlp")


def test_a_small_part_shows_beside_large_numbers():
    """One dimension of the stream may be thousands of times larger than what blocks add."""
    seen = seen_in("llama")
    large = torch.zeros_like(seen.entered)
    large[..., 0] = 1e5
    grown = replace(seen, entered=seen.entered + large, left=seen.left + large)
    assert proof.makes_up(grown, "self_attn", "mlp")
    assert not proof.makes_up(changed(grown, "mlp", torch.zeros_like), "self_attn", "mlp")


def test_a_shared_feed_forward_beside_experts_is_refused():
    """What the block adds is the sum of two modules, so neither is its feed-forward."""
    hf, tokenizer = tiny_model("granitemoeshared", shared_intermediate_size=16)
    with pytest.raises(ModelError, match="does not add its modules directly"):
        xl.wrap(hf, tokenizer)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "gpt_neox", "opt", "bloom"])
def test_the_proof_holds_in_half_precision(family, dtype):
    hf, tokenizer = tiny_model(family)
    assert xl.wrap(hf.to(dtype), tokenizer).n_layers == 4


def test_pairs_that_would_pass_are_found():
    assert list(proof.that_make_up(seen_in("llama"), 2)) == [("self_attn", "mlp")]


def test_numbers_that_are_not_finite_prove_nothing():
    hf, tokenizer = tiny_model("llama")
    hf.model.layers[2].mlp.down_proj.weight.data[3] = torch.nan
    with pytest.raises(ModelError, match="Block 2: input .* by nan"):
        xl.wrap(hf, tokenizer)


@pytest.mark.parametrize("before", [True, False], ids=["norms before", "norms after"])
def test_three_modules_make_up_a_block_that_looks_at_an_encoder_too(before):
    kind = MBartDecoderLayer if before else BartDecoderLayer
    config = (MBartConfig if before else BartConfig)(
        d_model=32, decoder_attention_heads=4, decoder_ffn_dim=64, init_std=0.3
    )
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    block = kind(config, layer_idx=0).eval()
    trace = Trace()
    with ExitStack() as hooks:
        trace.watch(hooks, [block, *block.children()])
        block(torch.randn(1, 3, 32), encoder_hidden_states=torch.randn(1, 5, 32))
    seen = trace.seen(block, [name for name, _ in block.named_children()])
    assert proof.makes_up(seen, "self_attn", "encoder_attn", "fc2")
    assert not proof.makes_up(seen, "self_attn", "fc2")
    assert not proof.makes_up(seen, "encoder_attn", "fc2")
