"""Sweeps over planted models find what their circuits say, and tests of that can fail."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from crosslatent.answering.gradients import AttributionScore, attributions
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.specs import Site
from crosslatent.engine import run_rows
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.condition import conditions_of
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import load
from crosslatent.planted.circuit import Circuit, Unit
from crosslatent.planted.logic import Logic
from crosslatent.planted.planted_demo import run_planted
from crosslatent.planted.planting import VARIANTS, PlantingSettings, plant
from crosslatent.planted.prediction import agreements, compared, predict, write
from crosslatent.planted.weights import build
from crosslatent.sweeps import SweepSpec, run_sweep

SMALL = PlantingSettings(entities=12)
EACH = 2
"""Questions of each language."""


def sweep(tmp_path, name, settings=SMALL, *, family="llama", noise=0.0, limit=EACH):
    """Answers of a variant beside what they must be."""
    planted = plant(name, settings)
    task = planted.task.select(splits=["pilot"], limit=limit)
    logic = Logic(planted.circuit, norms_after=family == "gemma2")
    prediction = predict(logic, task.items)
    write(prediction, tmp_path)
    build(planted.circuit, tmp_path / "model", family=family, noise=noise, seed=settings.seed)
    model = load(str(tmp_path / "model"), device="cpu", dtype="float32")
    spec = SweepSpec(component=("attn", "ffn", "block"), pairs="all", controls=("self",), seed=0)
    run_sweep(model, task, spec, tmp_path / "run")
    return compared(tmp_path / "run", prediction)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Answers of a variant as it is; each is swept once."""
    found = {}

    def rows(name):
        if name not in found:
            found[name] = sweep(tmp_path_factory.mktemp(name), name)
        return found[name]

    return rows


def gains(rows, component, column):
    """Questions that each pair repairs minus those that it breaks, sources targets."""
    vanilla = rows[rows.control == "vanilla"].set_index("item")[column]
    true = rows[(rows.control == "none") & (rows.component == component)]
    change = true[column].astype(int) - true["item"].map(vanilla).astype(int)
    return true.assign(change=change).pivot_table(
        index="source", columns="target", values="change", aggfunc="sum"
    )


@pytest.mark.parametrize("name", sorted(VARIANTS.own))
def test_every_answer_is_as_predicted(swept, name):
    rows = swept(name)
    plain = rows[rows.component == ""]
    assert (plain.word == plain.output).all()
    found = agreements(rows)
    assert len(found) == 6
    for one in found:
        assert one.same_verdict >= 0.99, (name, one.component, one.control)
        assert one.rows == 64 * 4 * EACH


@pytest.mark.parametrize(
    ("settings", "family", "noise", "least"),
    [
        (replace(SMALL, depth=9), "llama", 0.0, 0.99),
        (SMALL, "gemma2", 0.0, 0.99),
        (replace(SMALL, seed=1), "llama", 0.2, 0.96),
        (SMALL, "gemma2", 0.2, 0.96),
    ],
)
def test_depth_family_and_noise(tmp_path, settings, family, noise, least):
    for one in agreements(sweep(tmp_path, "plain", settings, family=family, noise=noise)):
        assert one.same_verdict >= least
        assert one.planted.shape == (settings.depth, settings.depth)


def test_a_prediction_of_another_circuit_does_not_hold(swept):
    rows = swept("plain")
    planted = plant("plain", SMALL)
    # English knowledge of one relation in another block: a fault of the model would look like it.
    moved = [replace(unit, block=5) if unit.block == 2 else unit for unit in planted.circuit.units]
    other = replace(planted.circuit, units=tuple(moved))
    items = planted.task.select(splits=["pilot"], limit=EACH).items
    wrong = predict(Logic(other), items)
    keys = ["item", "control", "component", "source", "target"]
    both = rows.drop(columns="right").merge(wrong.drop(columns="word"), on=keys)
    found = {(one.component, one.control): one for one in agreements(both)}
    assert found["ffn", "none"].same_verdict < 0.97


def test_where_nothing_is_planted_no_pair_gains(swept):
    rows = swept("nothing")
    for component in ("attn", "ffn", "block"):
        assert gains(rows, component, "right").to_numpy().max() == 0
        assert gains(rows, component, "correct").to_numpy().max() <= 1  # among guesses, by chance


def test_on_the_diagonal_only_one_pair_gains(swept):
    rows = swept("diagonal")
    for component in ("attn", "ffn", "block"):
        found = gains(rows, component, "correct").to_numpy().copy()
        assert found[0, 0] > 3
        found[0, 0] = 0
        assert found.max() <= 1


def test_what_is_only_looked_up_in_english_is_carried_by_attention_alone(swept):
    rows = swept("lookup")
    assert gains(rows, "attn", "correct").to_numpy()[1].max() > 3
    for component in ("ffn", "block"):
        assert gains(rows, component, "correct").to_numpy().max() <= 1


def test_halves_of_a_fact_repair_together(swept, tmp_path):
    assert gains(swept("split_fact"), "ffn", "correct").to_numpy().max() <= 1
    planted = plant("split_fact", SMALL)
    build(planted.circuit, tmp_path / "model")
    model = load(str(tmp_path / "model"), device="cpu", dtype="float32")
    items = [
        item
        for item in planted.task.items
        if item.strata["english"] == "right" and item.strata["local"] == "lacks"
    ][:12]
    outputs = []
    for item in items:
        main, aux = (model.tokenizer(text)["input_ids"] for text in (item.main, item.aux))
        vectors = capture_ids(model, [aux], ["ffn"])["ffn"][0]
        halves = [
            Transplant(Site("ffn", target), vectors[source]) for source, target in ((2, 0), (4, 1))
        ]
        rows_of = [tuple(halves), tuple(halves[:1]), tuple(halves[1:])]
        decoded = run_rows(model, main, rows_of, max_new_tokens=1)
        outputs.append([model.tokenizer.decode(row.ids) == item.answer for row in decoded])
    right = np.mean(outputs, axis=0)
    assert right[0] == 1
    assert right[1:].max() <= 0.1


def without(circuit: Circuit, block: int, head: int | None, units: set[int]) -> Circuit:
    """A circuit that lacks a head, or some units, of a block; places count within the block."""
    heads = [one for one in circuit.heads if one.block == block]
    own = [unit for unit in circuit.units if unit.block == block]
    gone_heads = [] if head is None else [heads[head]]
    gone_units: list[Unit] = [own[place] for place in units]
    return replace(
        circuit,
        heads=tuple(one for one in circuit.heads if one not in gone_heads),
        units=tuple(unit for unit in circuit.units if unit not in gone_units),
    )


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_zeroed_heads_and_neurons_lose_what_they_do(tmp_path, family):
    planted = plant("plain", SMALL)
    build(planted.circuit, tmp_path, family=family)
    model = load(str(tmp_path), device="cpu", dtype="float32")
    items = planted.task.items[::5]
    own = [unit for unit in planted.circuit.units if unit.block == 3]
    hindi = {n for n, unit in enumerate(own) if unit.times == ("lang", "hi")}
    assert hindi
    listed = ",".join(map(str, sorted(hindi)))
    lost = {}
    for words, circuit in (
        ("ablate:heads:1:0", without(planted.circuit, 1, 0, set())),
        (f"ablate:neurons:3:{listed}", without(planted.circuit, 3, None, hindi)),
    ):
        (condition,) = conditions_of(model, [words])
        said = Logic(circuit, norms_after=family == "gemma2").run([i.main.split() for i in items])
        found = [
            model.tokenizer.decode(
                run_rows(
                    model,
                    model.tokenizer(item.main)["input_ids"],
                    [condition.row],
                    max_new_tokens=1,
                )[0].ids
            )
            for item in items
        ]
        assert np.mean([a == b for a, b in zip(said.words, found, strict=True)]) >= 0.99
        before = Logic(planted.circuit).run([item.main.split() for item in items]).words
        lost[words] = {
            item.lang
            for item, now, then in zip(items, found, before, strict=True)
            if now != then and then == item.answer
        }
    assert lost["ablate:heads:1:0"] == {"es", "id", "hi", "sw"}
    assert lost[f"ablate:neurons:3:{listed}"] == {"hi"}


def test_attribution_ranks_planted_pairs_first(tmp_path):
    planted = plant("plain", SMALL)
    build(planted.circuit, tmp_path)
    model = load(str(tmp_path), device="cpu", dtype="float32")
    items = [
        item
        for item in planted.task.items
        if item.strata["english"] == "right" and item.strata["local"] == "lacks"
    ][:24]
    prediction = predict(Logic(planted.circuit), items)
    ids = [[model.tokenizer(t)["input_ids"] for t in (item.main, item.aux)] for item in items]
    scores = [
        AttributionScore(
            options=tuple((model.tokenizer.convert_tokens_to_ids(o),) for o in item.options)
        )
        for item in items
    ]
    true = prediction[prediction.control == "none"].set_index(["item", "component"])
    vanilla = prediction[prediction.control == "vanilla"].set_index("item").right
    first = {"attn": [], "ffn": []}
    found = attributions(model, ids, tuple(first), scores=scores)
    for item, grids in zip(items, found, strict=True):
        if vanilla[item.id]:
            continue
        for component, grid in grids.items():
            cells = true.loc[(item.id, component)].set_index(["source", "target"]).right
            if cells.any():
                first[component].append(cells[divmod(int(grid.argmax()), 8)])
    for hits in first.values():
        assert len(hits) >= 15
        assert np.mean(hits) >= 0.9


def test_a_prediction_is_never_written_anew(tmp_path):
    planted = plant("plain", SMALL)
    items = planted.task.items[:2]
    prediction = predict(Logic(planted.circuit), items)
    assert write(prediction, tmp_path) == write(prediction, tmp_path)
    with pytest.raises(RunFolderError, match="never written anew"):
        write(prediction.assign(right=True), tmp_path)


def test_what_cannot_be_planted_is_refused(tmp_path):
    with pytest.raises(UsageError, match="it needs 8 or more"):
        PlantingSettings(depth=7)
    with pytest.raises(UsageError, match="12 to 49"):
        PlantingSettings(entities=50)
    with pytest.raises(UsageError, match="A world has no setting english: use some of seed, "):
        PlantingSettings(world={"english": 1})
    with pytest.raises(UsageError, match="Unknown planted variant 'plane'"):
        plant("plane", SMALL)
    circuit = plant("plain", SMALL).circuit
    with pytest.raises(UsageError, match="in block 6, but the model has 6 blocks"):
        replace(circuit, depth=6)
    with pytest.raises(UsageError, match="The noise is -1"):
        build(circuit, tmp_path, noise=-1)
    with pytest.raises(UsageError, match="Unknown family 'gpt2'"):
        build(circuit, tmp_path, family="gpt2")


def test_a_folder_of_another_planted_model_is_left_as_it_is(tmp_path):
    out = tmp_path / "planted"
    with pytest.raises(UsageError, match="The noise is -1"):
        run_planted("plain", out, noise=-1)
    assert not out.exists()
    arguments = {"variant": "plain", "family": "llama", "noise": 0.0, **asdict(SMALL)}
    out.mkdir()
    (out / "planted.json").write_text(json.dumps(arguments))
    with pytest.raises(RunFolderError, match=r"'noise': 0.0.* not .*'noise': 0.2"):
        run_planted("plain", out, settings=SMALL, noise=0.2)
    assert [file.name for file in out.iterdir()] == ["planted.json"]
