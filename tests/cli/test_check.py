"""`crosslatent check`: a table, JSON, and an exit code that scripts can rely on."""

from __future__ import annotations

import json

import pytest

from crosslatent.cli import first_steps
from crosslatent.contracts import CONTRACTS, Outcome, guarantees
from crosslatent.engine import EnginePath
from crosslatent.interventions.patched import _PromptWatch
from support.models import save_tiny


def test_a_model_that_keeps_all_contracts(cli, tiny_folder):
    result = cli("check", tiny_folder, "--quick")
    assert result.code == 0
    said = " ".join(result.out.split())
    assert "LlamaForCausalLM, model type llama" in said
    assert "4 of width 32 at model.layers" in said
    assert "attention self_attn (found by its name" in said
    assert "path shared-prefix (the fastest)" in said
    for name in CONTRACTS:
        assert f"{name} passed" in said
    assert "28 rows" in said
    assert result.err.startswith("Checking 3 of 4 blocks, on texts: up to ")


def test_json_says_the_same(cli, tiny_folder):
    result = cli("check", tiny_folder, "--quick", "--json", "--components", "ffn,block")
    assert result.code == 0
    data = result.json
    assert data["ok"]
    assert data["found"]["places"]["blocks"]["paths"] == ["model.layers"]
    assert data["found"]["path"] == "shared-prefix"
    assert data["layers"] == [0, 2, 3]
    assert [one["contract"] for one in data["contracts"]] == list(CONTRACTS)
    assert data["contracts"][1]["facts"]["rows"] == 1 + 2 * 3 * 3
    assert data["cost"]["forwards"] > 100


def test_a_contract_that_does_not_hold(cli, tiny_folder, monkeypatch):
    monkeypatch.setattr(_PromptWatch, "rewrite", lambda _self, _site, hidden: hidden)
    result = cli("check", tiny_folder, "--quick")
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last.startswith(f"Error: 1 of {len(CONTRACTS)} contracts do not hold on ")
    assert "(generate; generate: attn 0->0: generate gives" in last
    assert "generate failed" in " ".join(result.out.split())
    data = cli("check", tiny_folder, "--quick", "--json")
    assert data.code == 1
    assert not data.json["ok"]


def test_a_contract_that_is_skipped_has_its_reason(cli, tiny_folder, monkeypatch):
    monkeypatch.setattr(guarantees.engine, "best_path", lambda _model: EnginePath("oracle", "so"))
    result = cli("check", tiny_folder, "--quick")
    assert result.code == 0
    assert "fast-equals-oracle skipped its rows are answered one by one (so)" in " ".join(
        result.out.split()
    )


def test_modules_that_are_named(cli, tiny_folder):
    named = "blocks=model.layers,attn=self_attn,ffn=mlp"
    data = cli("check", tiny_folder, "--quick", "--json", "--modules", named).json
    hows = {place["how"] for place in data["found"]["places"].values()}
    assert all(how.startswith("named by you") for how in hows)
    cli("check", tiny_folder, "--modules", "attn=mlp,ffn=self_attn").assert_refused("wrong way")


def test_a_slower_path_and_norms_are_said_with_the_reason(cli, tmp_path):
    said = cli("check", save_tiny(tmp_path / "bloom", "bloom"), "--quick").out
    assert "expanded-cache (shared-prefix: its attention does not go through" in said
    assert "self_attention.dense (named in the table of odd families (bloom))" in said
    said = cli("check", save_tiny(tmp_path / "gemma", "gemma2"), "--quick").out
    assert "post_attention_layernorm after attention" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-folder"], "no-such-folder"),
        (["MODEL", "--components", "mlp"], "Unknown component 'mlp'"),
        (["MODEL", "--components", "ffn,"], "'--components': 'ffn,' has an empty part"),
        (["MODEL", "--modules", "attn"], "--modules is 'attn'"),
        (["MODEL", "--dtype", "int8"], "Unknown dtype 'int8'"),
    ],
)
def test_wrong_usage(cli, tiny_folder, arguments, words):
    given = [tiny_folder if word == "MODEL" else word for word in arguments]
    cli("check", *given).assert_refused(words)


def test_what_is_counted_is_said_in_words():
    facts = {"near_ties": 0, "rows": 49, "new": 3, "path": "shared-prefix"}
    one = Outcome("x", "passed", facts=facts)
    assert first_steps.counted(one) == "shared-prefix, 49 rows, 0 near-ties, new 3"


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"num_beams": 4, "early_stopping": True},
        {"suppress_tokens": list(range(40, 200))},
        {"begin_suppress_tokens": list(range(20, 250))},
        {"forced_eos_token_id": 1, "forced_bos_token_id": 50},
        {"do_sample": True, "temperature": 2.0, "top_k": 3},
        {"no_repeat_ngram_size": 1, "min_new_tokens": 2},
        {"bad_words_ids": [[token] for token in range(30, 230)]},
        {"max_length": 4, "return_dict_in_generate": True, "output_scores": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_folders_generation_config_fails_no_sound_model(cli, tmp_path, settings):
    folder = save_tiny(tmp_path / "model")
    written = json.dumps({"eos_token_id": 1} | settings)
    (folder / "generation_config.json").write_text(written)
    result = cli("check", folder, "--quick", "--json")
    assert result.code == 0, result.err
    assert {one["contract"]: one["status"] for one in result.json["contracts"]}[
        "generate"
    ] == "passed"


def test_a_tokenizer_that_is_not_the_folders_is_said(cli, tmp_path):
    folder = save_tiny(tmp_path / "model", "qwen2")
    file = folder / "tokenizer_config.json"
    own = cli("check", folder, "--quick")
    assert own.code == 0
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "Qwen2Tokenizer"})
    )
    data = json.loads((folder / "tokenizer.json").read_text())
    data["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    result = cli("check", folder, "--quick")
    assert result.code == 0
    lines = [line for line in result.err.splitlines() if line.startswith("Warning: ")]
    assert len(lines) == 1
    assert "AutoTokenizer makes a Qwen2Tokenizer" in lines[0]
    assert "another normalizer" in lines[0]
    said = " ".join(result.out.split())
    assert "tokenizer Qwen2Tokenizer, which is not the tokenizer of its tokenizer.json" in said
    swept = cli("transplant", "--model", folder, "--main=MJI?", "--aux=CITY?", "--component=ffn",
                "--source=0", "--target=1")  # fmt: skip
    assert "Warning: AutoTokenizer makes a Qwen2Tokenizer" in swept.err
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    result = cli("check", folder, "--quick", "--json")
    assert result.code == 0
    assert result.json["found"]["tokenizer_differs"] == ""
