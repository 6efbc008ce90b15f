"""Lens repairs the planted model that it can repair, and leaves its twin as it is."""

from __future__ import annotations

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.model import load
from crosslatent.planted.planting import PlantingSettings, plant
from crosslatent.planted.weights import build
from scripts.planted_lens import accuracy, ground, trained

SETTINGS = {"lr": 3e-4, "epochs": 20}


@pytest.fixture(scope="module")
def fogged(tmp_path_factory):
    return ground("fogged", tmp_path_factory.mktemp("fogged"), entities=24)


def pilot(found):
    return [*found.items["fitted"], *found.items["held"]]


def test_lens_takes_the_fog_away_and_keeps_english(fogged):
    unseen = fogged.items["unseen"]
    assert accuracy(fogged.model, unseen).value < 0.05
    english = accuracy(fogged.model, unseen, central=True).value
    model = trained(fogged, pilot(fogged), **SETTINGS)
    assert accuracy(model, unseen).value > 0.5
    assert accuracy(model, unseen, central=True).value >= english - 0.02


@pytest.mark.slow
def test_without_aligning_less_than_half_is_repaired(fogged):
    unseen = fogged.items["unseen"]
    whole, without = (
        accuracy(trained(fogged, pilot(fogged), **SETTINGS, align=align), unseen).value
        for align in (1.0, 0.0)
    )
    assert without < whole / 2


@pytest.mark.slow
def test_the_twin_without_fog_stays_as_it_is(tmp_path):
    found = ground("clear", tmp_path, entities=24)
    unseen = found.items["unseen"]
    before = accuracy(found.model, unseen).value
    assert before > 0.7
    after = accuracy(trained(found, pilot(found), **SETTINGS), unseen).value
    assert after <= before + 0.05


def test_the_probe_finds_the_planted_language_directions(tmp_path):
    planted = plant("clear", PlantingSettings(entities=24))
    directions = build(planted.circuit, tmp_path, noise=0.2)
    model = load(str(tmp_path), device="cpu", dtype="float32")
    space = xl.lens.probe(model, {k: list(v) for k, v in planted.texts.items()}, central="en")
    written = np.array([directions.of["lang", lang] for lang in planted.texts])

    def alike(block, rows):
        """Cosines of the angles between the specific subspace and what differs between rows."""
        basis = np.linalg.qr((rows - rows.mean(0)).T[:, 1:])[0]
        return np.linalg.svd(basis.T @ space[block].specific)[1]

    # Block 1 writes the language of the lookup, block 4 the language that is answered in.
    assert alike(0, written).max() < 0.6
    for block in (1, 2, 3):
        assert alike(block, written).min() > 0.95
    both = written + [directions.of["out", lang] for lang in planted.texts]
    assert alike(4, both).min() > 0.95
    assert alike(4, written).max() < 0.8
