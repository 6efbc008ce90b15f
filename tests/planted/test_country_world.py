"""Planted opinions: the model says what is predicted, and the card finds what is planted."""

from __future__ import annotations

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import Site
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import load
from crosslatent.planted.country_world import BLOCK, CARRIED, DEPTH, OPTIONS, plant_countries
from crosslatent.planted.weights import build


@pytest.fixture(scope="module", params=CARRIED)
def planted(request, tmp_path_factory):
    world = plant_countries(request.param, questions=45, countries=3)
    folder = tmp_path_factory.mktemp("planted") / request.param
    build(world.circuit, folder)
    return request.param, world, load(str(folder), device="cpu", dtype="float32")


def probabilities(model, item, vector=None):
    import torch

    tokens = model.tokenizer(item.main, return_tensors="pt")["input_ids"]
    edits = () if vector is None else (Transplant(Site("ffn", BLOCK), vector),)
    with torch.no_grad(), xl.intervened(model, [edits]):
        logits = model.hf(tokens).logits[0, -1]
    ids = [model.tokenizer.convert_tokens_to_ids(name) for name in OPTIONS]
    return torch.softmax(logits[ids].double(), 0).numpy()


def test_probabilities_are_those_predicted_without_weights(planted):
    _, world, model = planted
    items = world.task.items[:24]
    others = [world.task.items[(n + 1) % 3 + n // 3 * 3] for n in range(24)]
    for donors in ([None] * 24, items, others):
        expected = world.expected(items, donors)
        for item, donor, wanted in zip(items, donors, expected, strict=True):
            vector = None
            if donor is not None:
                vector = xl.capture(model, [donor.aux], ["ffn"])["ffn"][0][BLOCK]
            np.testing.assert_allclose(probabilities(model, item, vector), wanted, atol=1e-4)


def test_what_is_predicted_is_what_was_planted(planted):
    _, world, _ = planted
    items = world.task.items[:24]
    numbers = [(n // 3, n % 3) for n in range(24)]
    general = np.array([world.general[q] for q, _ in numbers])
    said = np.array([world.carried[q, c] for q, c in numbers])
    np.testing.assert_allclose(world.expected(items, [None] * 24), general, atol=0.03)
    np.testing.assert_allclose(world.expected(items, items), said, atol=0.03)


def test_the_card_finds_what_is_planted(planted, tmp_path):
    carried, world, model = planted
    card = xl.culture(model, [world.task], out=tmp_path / "card", quick=True)
    (task,) = card.result.tasks
    (pair,) = task.pairs
    steps = {one.country: one.step for one in task.claims}
    if carried == "own":
        # Attention of the first block carries the language, which does as much.
        found = (pair["component"], pair["source"], pair["target"])
        assert found in (("ffn", BLOCK, BLOCK), ("attn", 0, 0))
        assert set(steps.values()) == {3}
    elif carried == "any":
        assert max(steps.values()) < 3
        assert steps[""] >= 1
    else:
        assert max(steps.values()) < 2
    full = task.differences["did_full"][""]
    assert carried != "own" or full.low > 0.1
    # Where every donor does exactly the same, all questions agree, and there is no interval.
    assert carried == "own" or abs(full.value) < 1e-6 or full.low <= 0 <= full.high
    assert (tmp_path / "card" / "culture.html").is_file()
    assert model.n_layers == DEPTH


def test_bad_settings_are_refused():
    with pytest.raises(UsageError, match="What is carried is 'all'"):
        plant_countries("all")
    with pytest.raises(UsageError, match="2 to 16 belong there"):
        plant_countries(countries=1)
