"""``crosslatent culture`` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "src" / "crosslatent" / "data" / "demo" / "model"


@pytest.fixture
def command(cli, tmp_path):
    fixed = ("culture", f"--model={MODEL}", f"--out={tmp_path / 'card'}")
    return lambda *more: cli(*fixed, *more)


def test_a_card_without_data(command, tmp_path):
    asked = ("--task=demo-culture", "--limit=8", "--preset=culture", "--quick")
    found = command(*asked)
    assert found.code == 0
    assert "Cultural knowledge" in found.out
    assert "no step can be tested" in found.out
    assert (tmp_path / "card" / "culture.html").is_file()
    again = command(*asked, "--json")
    assert again.code == 0
    assert {one["name"] for one in again.json["measures"]} == {"stability", "knowledge"}
    assert again.json["runs"] == {"demo-culture": "runs/demo-culture"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--task=demo-culture", "--measures=norm"], "Unknown culture measure 'norm'"),
        (["--task=demo-culture", "--countries=Atlantis"], "No question is about the country"),
        (["--task=demo-cultur"], "Unknown task 'demo-cultur'"),
        (["--data=.", "--measures=regional"], "There is no copy of the data repository"),
        (["--task=demo-culture", "--component=attn"], "no source"),
        (["--task=demo-culture", "--preset=cultur"], "did you mean 'culture'"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(command, tmp_path, more, said):
    found = command(*more)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert not (tmp_path / "card").exists()
