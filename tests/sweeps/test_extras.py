"""What a sweep adds beside its rows: complete, resumed, and thrown away with the run."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pyarrow.compute as pc
import pytest

import crosslatent as xl
from crosslatent.answering.gradients import AttributionScore, attribute
from crosslatent.core.errors import RunFolderError, TaskError
from crosslatent.runs.parts import PartTable
from crosslatent.runs.reader import read_extra
from crosslatent.runs.schema import ATTRIBUTION_TABLE, PART_TABLES, SAMPLES_TABLE
from crosslatent.sweeps import SweepSpec, plan_sweep, run_sweep, sweep_run, work
from crosslatent.sweeps.extras import make_extra, score_of
from crosslatent.tasks import RULES, Item, task_of
from support.rows import wrapped

SPEC = SweepSpec(
    component=("attn", "ffn"), pairs="0:0", max_new_tokens=3, attribution=True, samples=4
)
KEY = ("item", "component", "number", "source", "target")
TABLES = (ATTRIBUTION_TABLE, SAMPLES_TABLE)


def make_item(number):
    return Item(
        id=f"q{number}",
        lang="sw",
        aux_lang="en",
        main=f"Swali la {number} ni lipi? Jibu:",
        aux=f"What is question {number}? Answer:",
        answer="A" if number % 2 else "B",
        options=("A", "B"),
    )


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def task():
    return task_of([make_item(n) for n in range(5)])


@pytest.fixture(scope="module")
def whole(model, task, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_sweep(model, task, SPEC, out)
    return out


def frames(path):
    tables = [read_extra(path, name) for name in TABLES]
    return [table.to_pandas() for table in tables]


def assert_same(one, other):
    for left, right in zip(frames(one), frames(other), strict=True):
        keys = [
            name for name in ("item", "component", "number", "source", "target") if name in left
        ]
        left, right = (f.sort_values(keys, ignore_index=True) for f in (left, right))
        assert left.drop(columns="score", errors="ignore").equals(
            right.drop(columns="score", errors="ignore")
        )
        if "score" in left:
            np.testing.assert_allclose(left["score"], right["score"], rtol=1e-3, atol=1e-3)


def test_every_pair_of_every_item_is_ranked(model, task, whole):
    frame, _ = frames(whole)
    assert len(frame) == 5 * 2 * model.n_layers**2
    plan = plan_sweep(model, task, SPEC)
    item = task.items[3]
    score = score_of(plan, item)
    assert len(score.options) == 2
    found = attribute(model, *plan.tokens[item.id], ["ffn"], score=score)["ffn"]
    rows = frame[(frame["item"] == item.id) & (frame["component"] == "ffn")]
    stored = np.zeros((model.n_layers,) * 2)
    stored[rows["source"], rows["target"]] = rows["score"]
    np.testing.assert_allclose(stored, found, rtol=1e-3, atol=1e-3)


def test_samples_are_judged_by_the_rule_of_the_task(task, whole):
    rows = read_extra(whole, SAMPLES_TABLE).to_pylist()
    assert [(row["item"], row["number"]) for row in rows] == [
        (item.id, number) for item in task.items for number in range(4)
    ]
    rule = RULES[json.loads((whole / "run.json").read_text())["task"]["rule"]]
    by_id = {item.id: item for item in task.items}
    for row in rows:
        verdict = rule.judge(row["output"], by_id[row["item"]])
        assert (row["correct"], row["prediction"]) == (verdict.correct, verdict.prediction)


def items_of(table):
    return set(table["item"].to_pylist())


def part(path, name):
    """The one part of a table."""
    (found,) = (path / name).glob("part-*.parquet")
    return found


def test_a_finished_run_is_left_alone(model, task, whole):
    before = [part(whole, name).stat().st_mtime_ns for name in TABLES]
    run_sweep(model, task, SPEC, whole)
    assert [part(whole, name).stat().st_mtime_ns for name in TABLES] == before


@pytest.mark.parametrize("damage", ["missing", "damaged", "some items"])
def test_what_is_missing_is_made(model, task, whole, tmp_path, damage):
    out = tmp_path / "run"
    run_sweep(model, task, SPEC, out)
    for name in TABLES:
        file = part(out, name)
        if damage == "missing":
            file.unlink()
        elif damage == "damaged":
            file.write_bytes(b"no table")
        else:
            table = read_extra(out, name)
            others = pc.not_equal(table["item"].cast("string"), "q2")
            PartTable(out / name, PART_TABLES[name]).write(file.stem, table.filter(others))
    if damage == "damaged":
        with pytest.raises(RunFolderError, match="Cannot read"):
            read_extra(out, SAMPLES_TABLE)
    outcome = run_sweep(model, task, SPEC, out)
    assert len(outcome.faults.set_aside) == 2 * (damage == "damaged")
    assert not outcome.faults
    assert items_of(read_extra(out, ATTRIBUTION_TABLE)) == {f"q{n}" for n in range(5)}
    assert_same(out, whole)


def test_an_interrupted_run_keeps_what_is_whole(model, task, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "ITEMS_TOGETHER", 2)
    out = tmp_path / "run"

    def stop(state):
        if state.stage == "capture" and state.all_rows == 0 and state.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(model, task, SPEC, out, progress=stop)
    assert items_of(read_extra(out, ATTRIBUTION_TABLE)) == {"q0", "q1", "q2", "q3"}
    assert read_extra(out, SAMPLES_TABLE) is None
    run_sweep(model, task, SPEC, out)
    assert_same(out, whole)


def test_starting_over_throws_the_tables_away(model, task, tmp_path):
    out = tmp_path / "run"
    run_sweep(model, task, SPEC, out)
    plain = SweepSpec(**{**SPEC, "attribution": False, "samples": 0})
    with pytest.raises(RunFolderError, match="attribution"):
        run_sweep(model, task, plain, out)
    run_sweep(model, task, plain, out, new=True)
    assert [read_extra(out, name) for name in TABLES] == [None, None]


def test_progress_is_told(model, task, tmp_path):
    states = []
    run_sweep(model, task, SPEC, tmp_path / "run", progress=states.append)
    last = states[-1]
    assert (last.stage, last.done, last.total, last.all_rows) == ("capture", 5, 5, 0)


def test_open_answers_and_indistinct_options_are_ranked_by_tokens(model):
    for answer in ({"answer": "c"}, {"options": ["(1)", "(2)"]}):
        task = task_of([{"main": "a?", "aux": "b?", **answer}])
        assert score_of(plan_sweep(model, task, SPEC), task.items[0]) == AttributionScore()


def test_the_strength_scales_the_estimate(model):
    plan = plan_sweep(model, task_of([make_item(0)]), SPEC)
    pair = plan.tokens["q0"]
    score = AttributionScore("likeliest")
    whole = attribute(model, *pair, ["ffn"], score=score, removed=False)["ffn"]
    half = attribute(model, *pair, ["ffn"], score=score, removed=False, strength=-0.5)["ffn"]
    np.testing.assert_allclose(half, -0.5 * whole, rtol=1e-5)
    # Of short steps it is the same with the second estimate.
    short = attribute(model, *pair, ["ffn"], score=score, strength=0.01)["ffn"]
    np.testing.assert_allclose(short, 0.01 * whole, rtol=1e-5)


def test_what_cannot_be_sampled_is_refused(model, task, tmp_path):
    with pytest.raises(TaskError, match="0 or more"):
        plan_sweep(model, task, SweepSpec(**{**SPEC, "samples": -1}))
    with pytest.raises(TaskError, match="score_only"):
        plan_sweep(model, task, SweepSpec(**{**SPEC, "score_only": True}))


def test_the_python_interface_takes_both(model, tmp_path):
    out = tmp_path / "run"
    xl.sweep(
        model,
        [make_item(0)],
        pairs="0:0",
        max_new_tokens=2,
        attribution=True,
        samples=2,
        out=out,
    )
    assert [len(read_extra(out, name)) for name in TABLES] == [model.n_layers**2, 2]


def test_an_item_whose_gradients_fail_leaves_the_others_theirs(model, task, whole, tmp_path):
    def fail(plan, kind, ranges):
        items = [plan.grid.donors.items[row_range.item].id for row_range in ranges]
        if kind == "attribution" and "q2" in items:
            raise RuntimeError("no slope")
        return make_extra(plan, kind, ranges)

    with mock.patch.object(work, "make_extra", fail):
        outcome = run_sweep(model, task, SPEC, tmp_path / "run")
    assert list(outcome.failures) == ["q2"]
    assert "no slope" in outcome.failures["q2"]
    (some, _), (everything, _) = frames(tmp_path / "run"), frames(whole)
    assert set(some["item"]) == {"q0", "q1", "q3", "q4"}
    kept = everything[everything["item"] != "q2"]
    assert len(some) == len(kept)
