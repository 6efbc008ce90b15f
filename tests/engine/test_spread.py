"""A model whose weights lie on several devices, some only fetched when used, answers the same."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM

from crosslatent import engine, load, oracle, wrap
from crosslatent.engine import best_path
from crosslatent.errors import ModelError
from crosslatent.model import loading
from support.models import byte_tokenizer, save_tiny
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped

PLACES = {
    "model.embed_tokens": "disk",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.layers.2": "cpu",
    "model.layers.3": "disk",
    "model.norm": "cpu",
    "lm_head": "cpu",
}


def test_weights_that_are_fetched_when_used(tmp_path):
    folder = save_tiny(tmp_path / "model")
    hf = AutoModelForCausalLM.from_pretrained(
        folder, device_map=PLACES, offload_folder=tmp_path / "offload"
    )
    assert hf.get_input_embeddings().weight.device.type == "meta"
    model, plain = wrap(hf, byte_tokenizer()), wrapped()
    assert model.identity["weights_hash"] == plain.identity["weights_hash"]
    assert best_path(model).name == "shared-prefix"
    ids, rows = ids_of(plain, MAIN), all_rows(plain, ids_of(plain, AUX), ["ffn", "attn"])
    slow = oracle.run_rows(plain, ids, rows, max_new_tokens=5)
    assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=5), slow)


def test_a_model_can_be_loaded_spread(tmp_path):
    folder = save_tiny(tmp_path / "model")
    model, plain = load(folder, device="spread"), load(folder, device="cpu")
    ids, rows = ids_of(plain, MAIN), all_rows(plain, ids_of(plain, AUX), ["ffn"])
    slow = oracle.run_rows(plain, ids, rows, max_new_tokens=5)
    assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=5), slow)


def test_spreading_without_accelerate_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="--device spread needs accelerate"):
        load(save_tiny(tmp_path / "model"), device="spread")
