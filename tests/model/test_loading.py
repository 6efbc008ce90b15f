"""Models are loaded from folders, and what cannot be used is refused with a way out."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import crosslatent as xl
from crosslatent.core.errors import ModelError
from crosslatent.model.folder import layers_of
from support.models import FAMILIES, save_tiny, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_folders_of_every_family_load(tmp_path, family):
    model = xl.load(save_tiny(tmp_path / family, family))
    assert (model.n_layers, model.d_model) == (4, 32)
    assert layers_of(tmp_path / family) in (4, None)
    assert model.dtype == torch.float32
    assert model.eos_ids == {model.tokenizer.eos_token_id}


def test_identity_tells_weights_apart_and_not_folders(tmp_path):
    one = xl.load(save_tiny(tmp_path / "one")).identity
    copy = xl.load(save_tiny(tmp_path / "copy")).identity
    other = xl.load(save_tiny(tmp_path / "other", seed=1)).identity
    assert one["weights_hash"] == copy["weights_hash"] != other["weights_hash"]
    assert one["config_hash"] == copy["config_hash"] == other["config_hash"]


def folder_without_weights(folder):
    next(folder.glob("*.safetensors")).unlink()


def folder_with_pickle(folder):
    folder_without_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def folder_with_half_the_weights(folder):
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:1000])


def folder_of_an_encoder(folder):
    change_type(folder, "bert")


def folder_of_a_recurrent_model(folder):
    change_type(folder, "mamba")


def folder_of_an_unknown_family(folder):
    change_type(folder, "hurlyburly")


def folder_without_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def change_type(folder, model_type):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type}))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (folder_without_weights, "holds no weights: it must hold model.safetensors"),
        (folder_with_pickle, "pickled weights only"),
        (folder_with_half_the_weights, "Cannot load a language model"),
        (folder_of_an_encoder, "type 'bert' is not a decoder"),
        (folder_of_a_recurrent_model, "MambaForCausalLM is recurrent or hybrid"),
        (folder_of_an_unknown_family, "Cannot load a language model"),
        (folder_without_tokenizer, "holds no tokenizer: it must hold tokenizer.json"),
    ],
)
def test_broken_folders_are_refused(tmp_path, break_it, says):
    folder = save_tiny(tmp_path / "model")
    break_it(folder)
    with pytest.raises(ModelError) as error:
        xl.load(folder)
    assert says in str(error.value)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a model folder"):
        xl.load(tmp_path)
    with pytest.raises(
        ModelError, match="Cannot load 'no/such': there is no such folder here, the hub is"
    ):
        xl.load("no/such")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"device": "abacus"}, "device 'abacus'"), ({"dtype": "int3"}, "Unknown dtype 'int3'")],
)
def test_unknown_devices_and_dtypes_are_refused(tiny_folder, options, says):
    with pytest.raises(ModelError, match=says):
        xl.load(tiny_folder, **options)


class _Halved(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        return self.inner(*args) / 2


def test_blocks_that_do_not_add_their_modules_are_refused():
    hf, tokenizer = tiny_model("llama")
    layer = hf.model.layers[1]
    forward = layer.forward
    layer.forward = lambda *args, **kwargs: forward(*args, **kwargs) * 1.01
    with pytest.raises(ModelError, match="Block 1: input .* differs from the block's output"):
        xl.wrap(hf, tokenizer)


def test_a_wrapped_module_still_adds_up():
    hf, tokenizer = tiny_model("llama")
    hf.model.layers[0].mlp = _Halved(hf.model.layers[0].mlp)
    assert xl.wrap(hf, tokenizer).n_layers == 4
