"""`crosslatent transplant`: the fields of its JSON, and the ways to say what is transplanted."""

from __future__ import annotations

import pytest

FIELDS = [
    "vanilla", "output", "vanilla_ids", "output_ids", "component", "source", "target",
    "main_token", "aux_token", "main_length", "aux_length",
]  # fmt: skip


@pytest.fixture
def transplant(cli, tiny_folder):
    def call(*options, main="Mji mkuu?", aux="Capital?"):
        return cli("transplant", f"--model={tiny_folder}", "--main", main, "--aux", aux, *options)

    return call


WHAT = ["--component=ffn", "--source=1", "--target=2"]


def test_json_holds_what_was_done(transplant):
    result = transplant(*WHAT, "--json", "--max-new-tokens=7")
    assert result.code == 0
    assert result.err == ""
    data = result.json
    assert list(data) == FIELDS
    assert (data["component"], data["source"], data["target"]) == ("ffn", 1, 2)
    assert (data["main_token"], data["aux_token"]) == ("?", "?")
    assert (data["main_length"], data["aux_length"]) == (9, 8)  # one token a byte
    assert data["vanilla_ids"] != data["output_ids"]
    assert 1 <= len(data["vanilla_ids"]) <= 7


def test_layers_count_from_the_end(transplant):
    first = transplant("--component=attn", "--source", "-1", "--target=-4", "--json").json
    second = transplant("--component=attn", "--source=3", "--target=0", "--json").json
    assert first == second


@pytest.mark.parametrize(
    ("preset", "what"),
    [("understanding", ("attn", 3, 0)), ("generation", ("ffn", 0, 0)), ("culture", ("ffn", 0, 0))],
)
def test_presets(transplant, preset, what):
    data = transplant(f"--preset={preset}", "--json").json
    assert (data["component"], data["source"], data["target"]) == what


def test_self_transplant_changes_nothing(transplant):
    data = transplant(*WHAT[:2], "--target=1", "--json", main="Mji?", aux="Mji?").json
    assert data["output_ids"] == data["vanilla_ids"]


def test_prompts_from_files(transplant, tmp_path):
    main, aux = tmp_path / "main.txt", tmp_path / "aux.txt"
    main.write_bytes("\ufeffMji mkuu?\r\n".encode())
    aux.write_text("Capital?\n", encoding="utf-8")
    from_files = transplant(*WHAT, "--json", main=f"@{main}", aux=f"@{aux}")
    assert from_files.json == transplant(*WHAT, "--json").json


def test_a_prompt_may_start_with_an_at_sign(transplant):
    data = transplant(*WHAT, "--json", main="@@home?").json
    assert data["main_length"] == len("@home?")


def test_warns_when_the_prompts_end_in_different_tokens(transplant):
    result = transplant(*WHAT, "--json", aux="Capital:")
    assert result.code == 0
    assert result.err.startswith("Warning: main ends in the token '?' and aux in ':'")
    assert result.json["aux_token"] == ":"


def test_table_shows_both_answers_and_the_tokens(transplant):
    result = transplant(*WHAT)
    assert result.code == 0
    assert "unmodified" in result.out
    assert "ffn 1 -> 2" in result.out
    assert "token 9 of 9, '?'" in result.out


def test_texts_are_not_read_as_markup(transplant):
    result = transplant(*WHAT, main="[/bold] [red]Mji?", aux="[/x]?")
    assert result.code == 0
