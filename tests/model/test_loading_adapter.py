"""A folder with a PEFT adapter is loaded as its base with the adapter merged."""

from __future__ import annotations

import json
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import crosslatent as xl
from crosslatent.core.errors import MissingExtraError, ModelError
from crosslatent.model import adapters
from support.models import byte_tokenizer, save_tiny

IDS = torch.arange(7, 19)[None]
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def logits(hf):
    with torch.no_grad():
        return hf(input_ids=IDS, use_cache=False).logits


def save_adapter(folder, base, *, seed=0, layers=(2, 3), **fields):
    """An adapter made with PEFT alone, with weights that count."""
    hf = AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(
        r=2,
        target_modules=["q_proj", "down_proj"],
        layers_to_transform=list(layers),
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(hf, config)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.train(False)
    adapted.save_pretrained(folder)
    change(folder, **fields)
    return logits(adapted)


def change(folder, **fields):
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def base(tmp_path):
    return save_tiny(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path, base):
    save_adapter(tmp_path / "adapter", base)
    return tmp_path / "adapter"


def test_an_adapter_is_loaded_as_its_base_with_the_adapter_merged(tmp_path, base):
    folder = tmp_path / "adapter"
    expected = save_adapter(folder, base)

    model, plain = xl.load(folder), xl.load(base)

    assert type(model.hf) is type(plain.hf)
    assert not any("lora" in name for name, _ in model.hf.named_parameters())
    assert torch.allclose(logits(model.hf), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(plain.hf), expected, atol=1e-1)
    assert model.name == str(folder)
    assert (model.n_layers, model.tokenizer.get_vocab()) == (4, plain.tokenizer.get_vocab())
    assert not model.hf.training
    assert all(weight.requires_grad for weight in model.hf.parameters())  # as in any loaded model


def test_what_merging_in_half_precision_loses_is_told(tmp_path, base):
    folder = tmp_path / "adapter"
    save_adapter(folder, base)
    tensors = load_file(folder / WEIGHTS)
    save_file({name: 0.01 * value for name, value in tensors.items()}, folder / WEIGHTS)
    with pytest.warns(adapters.AdapterWarning, match="% of what the adapter .*bfloat16") as seen:
        half = xl.load(folder, dtype="bfloat16")
    told = int(str(seen[0].message).split("%")[0])
    plain, exact = xl.load(base, dtype="bfloat16"), xl.load(folder)  # silent
    start = dict(plain.hf.named_parameters())
    wide, narrow = dict(exact.hf.named_parameters()), dict(half.hf.named_parameters())
    was = dict(xl.load(base).hf.named_parameters())
    names = [name for name in wide if not torch.equal(wide[name], was[name])]
    with torch.no_grad():
        change = torch.cat([(wide[name] - was[name]).flatten() for name in names])
        kept = torch.cat([(narrow[name].float() - start[name].float()).flatten() for name in names])
    assert told == pytest.approx(100 * float((kept - change).norm() / change.norm()), abs=1)
    assert told > 10


def test_the_identity_tells_adapter_and_base_apart(tmp_path, base, adapter):
    save_adapter(tmp_path / "other", base, seed=1)
    change(shutil.copytree(adapter, tmp_path / "louder"), lora_alpha=9)
    shutil.copytree(adapter, tmp_path / "copy")

    names = ("base", "adapter", "other", "louder", "copy")
    ids = {name: xl.load(tmp_path / name).identity for name in names}

    assert ids["copy"] == ids["adapter"]
    assert ids["adapter"]["parameters"] == ids["base"]["parameters"]
    for one, other in (("base", "adapter"), ("adapter", "other"), ("adapter", "louder")):
        assert ids[one]["weights_hash"] != ids[other]["weights_hash"]
    assert len({ids[name].get("adapters", [None])[0] for name in names}) == 4


def test_a_change_too_small_for_the_sample_of_weights_still_counts(tmp_path, base, adapter):
    weights = load_file(adapter / WEIGHTS)
    save_file({name: 0 * value for name, value in weights.items()}, adapter / WEIGHTS)

    silent, plain = xl.load(adapter), xl.load(base)

    assert silent.identity["weights_hash"] == plain.identity["weights_hash"]
    assert silent.identity != plain.identity


def test_the_base_may_stand_beside_the_adapter(tmp_path, base, monkeypatch):
    expected = save_adapter(tmp_path / "adapter", base, base_model_name_or_path="../base")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")
    assert torch.allclose(logits(xl.load(tmp_path / "adapter").hf), expected, atol=1e-4)


def test_an_adapter_on_an_adapter(tmp_path, base, adapter):
    merged = xl.load(adapter)
    merged.hf.save_pretrained(tmp_path / "merged")
    merged.tokenizer.save_pretrained(tmp_path / "merged")
    top = tmp_path / "top"
    expected = save_adapter(top, tmp_path / "merged", seed=4, base_model_name_or_path=str(adapter))

    model = xl.load(top)

    assert torch.allclose(logits(model.hf), expected, rtol=1e-4, atol=1e-4)
    assert len(model.identity["adapters"]) == 2


def test_the_tokenizer_of_the_adapter_goes_first(base, adapter):
    tokenizer = type(byte_tokenizer()).from_pretrained(base)
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(adapter)
    assert xl.load(adapter).tokenizer.chat_template == "{{ messages[0].content }}"
    assert xl.load(base).tokenizer.chat_template is None


def base_is_a_missing_path(folder):
    change(folder, base_model_name_or_path="/no/such/folder")


def base_is_not_on_the_hub(folder):
    change(folder, base_model_name_or_path="no/such")


def base_is_not_named(folder):
    change(folder, base_model_name_or_path=None)


def base_is_the_adapter(folder):
    change(folder, base_model_name_or_path=str(folder.parent / "." / "adapter"))


def base_is_an_adapter_on_this_one(folder):
    shutil.copytree(folder, folder.parent / "other")
    change(folder.parent / "other", base_model_name_or_path=str(folder))
    change(folder, base_model_name_or_path="../other")


def base_is_quantised(folder):
    path = folder.parent / "base" / "config.json"
    quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    path.write_text(json.dumps(json.loads(path.read_text()) | quantised))


def base_is_smaller(folder):
    shutil.rmtree(folder.parent / "base")
    save_tiny(folder.parent / "base", num_hidden_layers=3)


def base_is_narrower(folder):
    shutil.rmtree(folder.parent / "base")
    save_tiny(folder.parent / "base", hidden_size=16)


def base_has_no_weights(folder):
    next((folder.parent / "base").glob("*.safetensors")).unlink()


def config_is_torn(folder):
    (folder / CONFIG).write_text("{")


def weights_are_pickled(folder):
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "adapter_model.bin")


def weights_are_missing(folder):
    (folder / WEIGHTS).unlink()


def weights_are_torn(folder):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:500])


def weights_are_not_all_there(folder):
    _, *rest = sorted(load_file(folder / WEIGHTS).items())
    save_file(dict(rest), folder / WEIGHTS)


def adapter_is_of_another_kind(folder):
    change(folder, peft_type="NO_SUCH")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (base_is_a_missing_path, "trained on '/no/such/folder', which is not there"),
        (base_is_not_on_the_hub, "Cannot load the base 'no/such' of the adapter"),
        (base_is_not_named, "names no base model (base_model_name_or_path is None)"),
        (base_is_the_adapter, "is based on itself"),
        (base_is_an_adapter_on_this_one, "is based on itself"),
        (base_is_quantised, "base that is quantised (bitsandbytes)"),
        (base_is_smaller, "does not fit its base: "),
        (base_is_narrower, "cannot be merged into its base"),
        (base_has_no_weights, "holds no weights: it must hold model.safetensors"),
        (config_is_torn, "Cannot read "),
        (weights_are_pickled, "is pickled (adapter_model.bin), which can run code"),
        (weights_are_missing, "must hold adapter_model.safetensors"),
        (weights_are_torn, "cannot be merged into its base"),
        (weights_are_not_all_there, "does not fit its base: 1 weights have no counterpart"),
        (adapter_is_of_another_kind, "cannot be merged into its base"),
    ],
)
def test_broken_adapters_are_refused(adapter, break_it, says):
    break_it(adapter)
    with pytest.raises(ModelError) as error:
        xl.load(adapter)
    assert says in str(error.value)


def test_a_base_that_was_quantised_when_loaded_is_refused(base, adapter):
    model = xl.load(base)
    model.hf.is_quantized = True
    with pytest.raises(ModelError, match="quantised"):
        adapters.merge(model.hf, adapter)


def test_an_offloaded_base_is_refused(base, adapter):
    hf = AutoModelForCausalLM.from_pretrained(base)
    hf.model.layers[0].to("meta")
    with pytest.raises(ModelError, match="partly offloaded"):
        adapters.merge(hf, adapter)


def test_without_peft_the_message_says_what_to_install(adapter, monkeypatch):
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"need peft, .* pip install .*\[lens\]'"):
        xl.load(adapter)
