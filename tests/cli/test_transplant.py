"""`crosslatent transplant`: the fields of its JSON, and the ways to say what is transplanted."""

from __future__ import annotations

import pytest

FIELDS = [
    "vanilla", "output", "vanilla_ids", "output_ids", "component", "source", "target",
    "also", "strength", "positions", "main_token", "aux_token", "main_length", "aux_length",
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
    assert list(data) == [*FIELDS, "main", "aux"]
    assert data["main"]
    assert (data["component"], data["source"], data["target"]) == ("ffn", 1, 2)
    assert (data["main_token"], data["aux_token"]) == ("?", "?")
    assert (data["main_length"], data["aux_length"]) == (9, 8)  # one token a byte
    assert data["vanilla_ids"] != data["output_ids"]
    assert 1 <= len(data["vanilla_ids"]) <= 7


def test_layers_count_from_the_end(transplant):
    first = transplant("--component=attn", "--source", "-1", "--target=-4", "--json").json
    second = transplant("--component=attn", "--source=3", "--target=0", "--json").json
    assert first == second


def test_modules_can_be_named(transplant):
    usual = transplant(*WHAT, "--json").json
    named = transplant(*WHAT, "--json", "--modules=blocks=model.layers,attn=self_attn,ffn=mlp")
    assert named.json == usual
    for text, says in [
        ("attn", "--modules is 'attn', but each part once belongs there"),
        ("attn=a,attn=b", "each part once belongs there, such as attn=self_attn,ffn=mlp"),
        ("attn=", "each part once"),
        ("head=lm_head", "Cannot name the module 'head' of a model: give blocks, attn, ffn"),
        ("ffn=self_attn", "does not add its modules directly"),
    ]:
        result = transplant(*WHAT, f"--modules={text}")
        assert (result.code, result.out) == (2, "")
        assert says in result.err


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


def test_more_than_the_paper_says(transplant):
    plain = transplant(*WHAT, "--json").json
    data = transplant(
        *WHAT, "--also=attn:-1:0", "--also=attn:1:3", "--strength=0.5", "--positions=2", "--json"
    ).json
    assert data["also"] == [
        {"component": "attn", "source": 3, "target": 0},
        {"component": "attn", "source": 1, "target": 3},
    ]
    assert (data["strength"], data["positions"]) == (0.5, 2)
    assert (plain["also"], plain["strength"], plain["positions"]) == ([], 1.0, 1)
    assert data["output_ids"] != plain["output_ids"]
    nothing = transplant(*WHAT, "--strength=0", "--json").json
    assert nothing["output_ids"] == nothing["vanilla_ids"]
    table = transplant(*WHAT, "--also=attn:-1:0", "--strength=0.5", "--positions=2").out
    assert "attn 3 -> 0" in table
    assert "strength 0.5" in table
    assert "and 1 before it" in table


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--also=ffn:1", "--also is 'ffn:1', but component, source and target belong there"),
        ("--also=ffn:x:1", "--also is 'ffn:x:1', but component, source and target belong there"),
        ("--also=mlp:1:1", "Unknown component 'mlp'"),
        ("--also=ffn:0:2", "edits ffn of block 2 more than once"),
        ("--strength=much", "'much' is not a number"),
        ("--strength=inf", "'inf' is not a finite number"),
        ("--positions=0", "0 is too small"),
        ("--positions=9", "Cannot carry over the last 9 tokens where a prompt has 8"),
    ],
)
def test_what_cannot_be_is_refused(transplant, option, says):
    result = transplant(*WHAT, option)
    assert result.code == 2
    assert says in " ".join(result.err.replace("│", " ").split())


@pytest.mark.parametrize("blank", [" ", "\t", "  "])
def test_two_blank_ends_are_warned_of(transplant, blank):
    result = transplant(*WHAT, main=f"Mji mkuu?{blank}", aux=f"Capital?{blank}")
    assert result.code == 0
    assert result.err.count("Warning: ") == 1
    assert "main and aux both end in a blank" in result.err


@pytest.mark.parametrize(
    ("main", "aux", "said"),
    [("Mji?", "City?", ""), ("Mji?\n", "City?\n", ""), ("Mji? ", "City?", "main ends in the token"),
     ("Mji?", "City?\t", "main ends in the token"), ("Mji? ?", "City? ?", "")],
)  # fmt: skip
def test_other_ends_are_not(transplant, main, aux, said):
    result = transplant(*WHAT, main=main, aux=aux)
    assert "both end in a blank" not in result.err
    assert said in result.err
    assert bool(result.err) == bool(said)
