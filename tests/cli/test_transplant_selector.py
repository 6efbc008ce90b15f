"""`crosslatent transplant --selector`: what comes from the run, and what is refused."""

from __future__ import annotations

import pytest

from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import FixedPairs
from crosslatent.selectors.saved import SavedSelector, save


@pytest.fixture
def answer(cli, tiny_folder, tmp_path):
    spec = {"components": ["ffn"], "max_new_tokens": 3}
    origin = {"model": {"n_layers": 4}, "task": {"rule": "option"}, "spec": spec}
    kept = SavedSelector("mine", "about", FixedPairs(TransplantSpec("ffn", 1, 2)), origin)
    (file,) = save(kept, tmp_path / "s.json")

    def call(*options):
        prompts = ("--main=Mji mkuu?", "--aux=Capital?", "--json")
        return cli(
            "transplant", f"--model={tiny_folder}", "--selector", str(file), *prompts, *options
        )

    return call


def test_tokens_are_those_of_the_run_unless_given(answer):
    assert len(answer().json["vanilla_ids"]) == 3
    assert len(answer("--max-new-tokens=5").json["vanilla_ids"]) == 5
    assert len(answer("--no-chat").json["vanilla_ids"]) == 3


@pytest.mark.parametrize("option", ["--strength=0.5", "--positions=2", "--component=ffn"])
def test_what_the_run_says_is_not_given_again(answer, option):
    result = answer(option)
    assert result.code == 2
    assert option.partition("=")[0] in result.err


def test_options_need_a_selector(cli, tiny_folder):
    what = ("--component=ffn", "--source=1", "--target=2", "--main=a?", "--aux=b?")
    result = cli("transplant", f"--model={tiny_folder}", *what, "--options=(1),(2)")
    assert result.code == 2
    assert "only a selector reads it" in " ".join(result.err.split())
