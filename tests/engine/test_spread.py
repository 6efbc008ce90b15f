"""A model whose weights lie on several devices, some only fetched when used, answers the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from transformers import AutoModelForCausalLM, PreTrainedModel

from crosslatent import engine, load, wrap
from crosslatent.contracts import CONTRACTS, Subject, run
from crosslatent.core.errors import MissingExtraError, ModelError
from crosslatent.engine import best_path, oracle
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.model import loading
from support.models import byte_tokenizer, save_tiny
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped

IN_MEMORY = ("model.embed_tokens", "model.layers.1", "model.layers.3", "lm_head")
"""What accelerate keeps in CPU memory and fetches when it is used."""

ON_DISK = {
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.layers.2": "cpu",
    "model.layers.3": "disk",
    "model.norm": "cpu",
    "lm_head": "cpu",
}


def offloaded(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    for name in IN_MEMORY:
        cpu_offload(hf.get_submodule(name), execution_device=torch.device("cpu"))
    return hf


def test_weights_that_are_fetched_when_used(tmp_path):
    hf = offloaded(save_tiny(tmp_path / "model"))
    assert hf.get_input_embeddings().weight.device.type == "meta"
    model, plain = wrap(hf, byte_tokenizer()), wrapped()
    assert model.identity["weights_hash"] == plain.identity["weights_hash"]
    assert best_path(model).name == "shared-prefix"
    ids, rows = ids_of(plain, MAIN), all_rows(plain, ids_of(plain, AUX), ["ffn", "attn"])
    slow = oracle.run_rows(plain, ids, rows, max_new_tokens=5)
    assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=5), slow)


# Earlier versions of transformers take a model without a device for one on another device.
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")
@pytest.mark.parametrize("contract", CONTRACTS)
def test_contracts_of_a_model_that_is_offloaded_to_memory(tmp_path, contract):
    model = wrap(offloaded(save_tiny(tmp_path / "model")), byte_tokenizer())
    outcome = run(contract, Subject.of(model, new_tokens=2))
    assert (outcome.status, outcome.reason) == ("passed", "")


def test_near_ties_of_an_offloaded_half_model_cannot_be_settled(tmp_path):
    model = wrap(offloaded(save_tiny(tmp_path / "model"), torch.bfloat16), byte_tokenizer())
    with pytest.raises(ModelError, match="--exact needs .* are offloaded until they are used"):
        TieBreaker(model, 3)


def test_offloading_to_disk_is_refused(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model")
    said = r"partly offloaded to disk .model.layers.1; 2 in all.*, which would be read again"
    hf = AutoModelForCausalLM.from_pretrained(folder, device_map=ON_DISK)
    with pytest.raises(ModelError, match=said):
        wrap(hf, byte_tokenizer())
    # What --device spread does where memory is short.
    monkeypatch.setattr(loading, "_spread", lambda: {"device_map": ON_DISK})
    with pytest.raises(ModelError, match=said):
        load(folder, device="spread")


def test_disk_is_seen_where_no_map_says_so(tmp_path):
    hf = AutoModelForCausalLM.from_pretrained(save_tiny(tmp_path / "model"))
    disk_offload(hf.model.layers[2], tmp_path / "offload", execution_device=torch.device("cpu"))
    with pytest.raises(ModelError, match=r"offloaded to disk .model.layers.2"):
        wrap(hf, byte_tokenizer())


def test_a_model_can_be_loaded_spread(tmp_path):
    folder = save_tiny(tmp_path / "model")
    model, plain = load(folder, device="spread"), load(folder, device="cpu")
    ids, rows = ids_of(plain, MAIN), all_rows(plain, ids_of(plain, AUX), ["ffn"])
    slow = oracle.run_rows(plain, ids, rows, max_new_tokens=5)
    assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=5), slow)


def test_spreading_without_accelerate_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="several devices needs accelerate"):
        load(save_tiny(tmp_path / "model"), device="spread")
