"""Adapters sit on the linear layers of the chosen blocks alone, and PEFT reads what is saved."""

from __future__ import annotations

import json
from types import SimpleNamespace

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from crosslatent.core.errors import MissingExtraError, ModelError, UsageError
from crosslatent.core.specs import Site
from crosslatent.lens.training.fork import fork
from crosslatent.lens.training.lora import add_lora, check_weights
from crosslatent.lens.training.train_spec import LoraSpec
from crosslatent.model import reading, wrap
from support.models import FAMILIES, save_tiny, tiny_model

IDS = torch.arange(7, 19)[None]
SPEC = LoraSpec(rank=3, alpha=6.0)


def tiny(family="llama", seed=0, **overrides):
    return wrap(*tiny_model(family, seed, **overrides), name="tiny")


def logits(hf):
    with torch.no_grad():
        return hf(input_ids=IDS, use_cache=False).logits


def train_a_step(adapted):
    """Change every adapter weight, as training would."""
    torch.manual_seed(5)
    loss = adapted.model.hf(input_ids=IDS).logits.square().mean()
    loss.backward()
    with torch.no_grad():
        for weight in adapted.parameters:
            weight += 0.05 * torch.randn_like(weight)


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_adapters_change_nothing_and_touch_only_their_blocks(family):
    model, before = tiny(family), logits(tiny(family).hf)

    adapted = add_lora(model, (1, 3), SPEC)

    assert torch.equal(logits(model.hf), before)
    assert adapted.layers
    inside = [f"{name}." for name, module in model.hf.named_modules() if module in wholes(model)]
    assert len(inside) == 2
    assert all(name.startswith(tuple(inside)) for name in adapted.layers)
    linear = sum(
        isinstance(module, nn.Linear) for layer in (1, 3) for module in plain_modules(family, layer)
    )
    assert len(adapted.layers) == linear
    trainable = {id(weight) for weight in model.hf.parameters() if weight.requires_grad}
    assert trainable == {id(weight) for weight in adapted.parameters}
    assert len(adapted.parameters) == 2 * linear
    assert adapted.left_out == (2 * (4 + 4 + 1) if family == "gpt_oss" else 0)


def wholes(model):
    return [model.blocks[layer].whole for layer in (1, 3)]


def plain_modules(family, layer):
    return tiny(family).blocks[layer].whole.modules()


def test_blocks_stay_valid_and_feel_the_adapters():
    model = tiny()
    adapted = add_lora(model, (2,), SPEC)
    seen = {}

    def states():
        sites = [Site(component, layer) for component in ("attn", "ffn") for layer in range(4)]
        with (
            torch.no_grad(),
            reading(model, sites, lambda site, value: seen.update({site: value.clone()})),
        ):
            model.hf(input_ids=IDS)
        return dict(seen)

    before = states()
    train_a_step(adapted)
    after = states()

    changed = {
        (site.component, site.layer) for site in before if not before[site].equal(after[site])
    }
    assert changed == {("attn", 2), ("ffn", 2), ("attn", 3), ("ffn", 3)}


def test_a_model_that_shares_the_weights_stays_as_it_was():
    model = tiny()
    twin = fork(model, ())
    before = logits(model.hf)

    adapted = add_lora(twin, (3,), SPEC)
    train_a_step(adapted)

    assert all(weight.requires_grad and weight.grad is None for weight in model.hf.parameters())
    assert torch.equal(logits(model.hf), before)
    assert not torch.equal(logits(twin.hf), before)
    held = {weight.data_ptr() for weight in model.hf.parameters()}
    assert {
        weight.data_ptr() for name, weight in twin.hf.named_parameters() if "lora_" not in name
    } == held


def test_what_is_saved_is_what_peft_reads(tmp_path):
    base = save_tiny(tmp_path / "base")
    model = wrap(AutoModelForCausalLM.from_pretrained(base), tiny().tokenizer)
    # So many layers that PEFT would shorten their names.
    adapted = add_lora(model, (0, 1, 2), SPEC)
    train_a_step(adapted)
    trained = logits(model.hf)

    adapted.save(tmp_path / "adapter", str(base))

    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert config["target_modules"] == list(adapted.layers)
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (3, 6.0, "LORA")
    fresh = AutoModelForCausalLM.from_pretrained(base)
    assert not torch.allclose(logits(fresh), trained, atol=1e-3)
    read = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter")
    assert torch.equal(logits(read), trained)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert set(saved) == set(peft.get_peft_model_state_dict(read))


def test_the_seed_decides_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, same, other = (add_lora(tiny(), (3,), SPEC, seed=seed).state() for seed in (1, 1, 2))

    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_conv1d_layers_get_adapters(tmp_path):
    model = tiny()
    model.blocks[3].ffn.down_proj = Conv1D(32, 64)
    before = logits(model.hf)

    adapted = add_lora(model, (3,), SPEC)

    assert "model.layers.3.mlp.down_proj" in adapted.layers
    assert torch.equal(logits(model.hf), before)


def test_half_precision_keeps_adapters_in_single():
    model = tiny()
    model.hf.to(torch.bfloat16)
    adapted = add_lora(model, (3,), SPEC)
    assert {weight.dtype for weight in adapted.parameters} == {torch.float32}
    train_a_step(adapted)
    assert torch.isfinite(logits(model.hf)).all()


def test_dropout_acts_in_training_mode_only():
    model = tiny()
    adapted = add_lora(model, (3,), LoraSpec(rank=3, alpha=6.0, dropout=0.5))
    assert not model.hf.training
    train_a_step(adapted)
    assert torch.equal(logits(model.hf), logits(model.hf))
    model.hf.train()
    assert not torch.equal(logits(model.hf), logits(model.hf))


class _Experts(nn.Module):
    """A feed-forward of four experts held in one tensor each."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(4, 32, 8))
        self.up_bias = nn.Parameter(torch.randn(4, 8))
        self.down = nn.Parameter(torch.randn(4, 8, 32))


def test_blocks_without_linear_layers_are_refused_with_a_count():
    model = tiny()
    block = model.blocks[1].whole
    block.self_attn, block.mlp = nn.Identity(), _Experts()
    with pytest.raises(ModelError, match="Block 1 has no linear layer .* only 8 matrices"):
        add_lora(model, (1, 2), SPEC)
    assert all(weight.requires_grad for weight in model.hf.parameters())


@pytest.mark.parametrize(
    ("blocks", "says"),
    [((), "on no block"), ((1, 4), "block 4: name some of 0 to 3"), ((-1,), "-1")],
)
def test_blocks_that_are_not_there_are_refused(blocks, says):
    with pytest.raises(UsageError, match=says):
        add_lora(tiny(), blocks, SPEC)


def test_a_second_set_of_adapters_is_refused():
    model = tiny()
    add_lora(model, (3,), SPEC)
    with pytest.raises(ModelError, match="has adapters already"):
        add_lora(model, (2,), SPEC)


def test_without_peft_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"need peft, .* pip install .*\[lens\]'"):
        add_lora(tiny(), (3,), SPEC)


def test_plain_weights_may_be_trained():
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny()
        model.hf.to(dtype)
        check_weights(model, lora=False)


def test_quantised_models_are_refused_without_lora():
    model = tiny()
    model.hf.is_quantized = True
    model.hf.quantization_method = SimpleNamespace(value="bitsandbytes")
    with pytest.raises(ModelError, match=r"quantised \(bitsandbytes\).* train adapters"):
        check_weights(model, lora=False)
    check_weights(model, lora=True)


def test_integer_weights_are_refused_in_trained_blocks_only():
    model = tiny()
    layer = model.blocks[1].ffn.up_proj
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"mlp.up_proj.weight of block 1 is int8"):
        check_weights(model, lora=False)
    with pytest.raises(ModelError, match="block 1"):
        check_weights(model, lora=False, blocks=(1, 2))
    check_weights(model, lora=False, blocks=(2, 3))
    check_weights(model, lora=True)


def test_eight_bit_floats_and_packed_buffers_are_refused():
    model = tiny()
    layer = model.blocks[2].attn.q_proj
    layer.weight = nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ModelError, match="float8_e4m3fn"):
        check_weights(model, lora=False, blocks=(2,))
    model = tiny()
    model.blocks[3].ffn.register_buffer("qweight", torch.zeros(4, 32, dtype=torch.int32))
    with pytest.raises(ModelError, match="mlp.qweight of block 3 is int32"):
        check_weights(model, lora=False)


def test_weights_of_a_packing_type_are_refused():
    kind = type("PackedTensor", (nn.Parameter,), {"__module__": "torchao.dtypes"})
    model = tiny()
    layer = model.blocks[3].ffn.up_proj
    layer.weight = layer.weight.data.as_subclass(kind)
    with pytest.raises(ModelError, match="up_proj.weight of block 3 is a PackedTensor"):
        check_weights(model, lora=False)
