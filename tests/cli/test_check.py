"""`crosslatent check`: a table, JSON, and an exit code that scripts can rely on."""

from __future__ import annotations

import pytest

from crosslatent.cli import check as check_command
from crosslatent.contracts import CONTRACTS, Outcome, answers
from crosslatent.engine import EnginePath
from crosslatent.patch import _PromptWatch
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
    monkeypatch.setattr(_PromptWatch, "rewrite", lambda _self, hidden: hidden)
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
    monkeypatch.setattr(answers.engine, "best_path", lambda _model: EnginePath("oracle", "so"))
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
        (["MODEL", "--components", "ffn,"], "--components is 'ffn,'"),
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
    assert check_command.counted(one) == "shared-prefix, 49 rows, 0 near-ties, new 3"
