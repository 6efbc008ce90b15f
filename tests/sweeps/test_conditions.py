"""Sweeps of conditions: every path, resuming, what is refused, and what the report says alone."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import crosslatent as xl
from crosslatent.analysis import summarise
from crosslatent.core.errors import PairError, RunFolderError, UsageError
from crosslatent.core.specs import PATHS, Site
from crosslatent.engine import oracle
from crosslatent.interventions.condition import Condition
from crosslatent.interventions.intervention import Tokens
from crosslatent.interventions.kinds.ablate import Ablate
from crosslatent.report.build import build_report
from crosslatent.runs import RunReader
from crosslatent.runs.schema import ROWS
from crosslatent.sweeps import SweepSpec, plan_sweep, run_sweep
from crosslatent.sweeps.forecast import estimate
from crosslatent.tasks import Item, task_of
from support.rows import ids_of, wrapped

WORDS = (
    "ablate:heads:each:0",
    "neurons=ablate:neurons:1:0,1,2,3,4,5,6,7,8,9",
    "end=ablate:ffn:2:all@last",
    "both=ablate:ffn:0:all@prompt + ablate:attn:3:all:2.0@last3",
)
SPEC = SweepSpec(conditions=WORDS, max_new_tokens=3)
SPAN = Tokens("span", 1, 0, 90)
KEY = ["item", "control", "condition"]


def make_item(number, **changes):
    fields = {
        "id": f"q{number}",
        "lang": "sw",
        "aux_lang": "en",
        "main": f"Swali la {number} {'ni lipi ' * (number % 3)}? Jibu:",
        "aux": f"What is question {number}? Answer:",
        "answer": f"({number % 2 + 1})",
        "options": ("(1)", "(2)"),
        "cluster": f"fact-{number}",
        "split": "pilot" if number % 2 else "final",
    }
    return Item(**(fields | changes))


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def task():
    return task_of([make_item(n) for n in range(6)])


@pytest.fixture(scope="module")
def whole(model, task, tmp_path_factory):
    out = tmp_path_factory.mktemp("conditions") / "whole"
    run_sweep(model, task, SPEC, out)
    return out


def table(path):
    with RunReader(path).connect() as connection:
        frame = connection.execute(f"SELECT * FROM rows ORDER BY {', '.join(KEY)}").df()
    return frame[[name for name in ROWS.names if name not in ("seconds", "path")]]


def test_every_item_has_a_row_of_each_and_no_pair_of_layers(model, task, whole):
    rows = table(whole)
    assert not rows.duplicated(KEY).any()
    assert rows.groupby("control").size().to_dict() == {
        "condition": 6 * 7,
        "vanilla": 6,
        "translate_test": 6,
    }
    assert rows.component.isna().all()
    assert plan_sweep(model, task, SPEC).rows == len(rows)
    assert estimate(plan_sweep(model, task, SPEC)).rows == len(rows)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("batch_rows", [None, 2])
def test_every_path_gives_the_answers_of_the_oracle(model, task, tmp_path, path, batch_rows):
    run_sweep(model, task, SPEC, tmp_path / "run", engine=path, batch_rows=batch_rows)
    found = table(tmp_path / "run")
    conditions = {one.id: one.row for one in plan_sweep(model, task, SPEC).conditions}
    mains = {item.id: ids_of(model, item.main) for item in task.items}
    changed = 0
    for row in found[found.control == "condition"].itertuples():
        plain, right = oracle.run_rows(
            model, mains[row.item], [(), conditions[row.condition]], max_new_tokens=3
        )
        assert tuple(row.output_ids) == right.ids
        assert row.min_margin == pytest.approx(right.min_margin, abs=1e-3)
        changed += plain.ids != right.ids
    assert changed > 10


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_interrupted_run_resumes_to_the_same_rows(model, task, whole, tmp_path, stop_after):
    def interrupt(state):
        if (state.stage, state.done) == ("answer", stop_after):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(model, task, SPEC, tmp_path, progress=interrupt)
    run_sweep(model, task, SPEC, tmp_path)
    pd.testing.assert_frame_equal(table(tmp_path), table(whole), atol=1e-5)


def test_other_conditions_do_not_go_on_in_the_folder(model, task, whole):
    fewer = SweepSpec(conditions=WORDS[:1], max_new_tokens=3)
    with pytest.raises(RunFolderError, match="conditions"):
        run_sweep(model, task, fewer, whole)


def test_pairs_of_layers_go_beside_them_if_they_are_asked_for(model, task):
    alone = SweepSpec(conditions=WORDS)
    assert plan_sweep(model, task, alone).components == ()
    for spec in (
        SweepSpec(conditions=WORDS, component=("ffn",)),
        SweepSpec(conditions=WORDS, controls=("noise",)),
        SweepSpec(conditions=WORDS, pairs="all"),
    ):
        plan = plan_sweep(model, task, spec)
        assert len(plan.components) == 1
        assert plan.rows == 6 * (2 + 7 + 16 * (1 + len(plan.controls)))
    assert plan_sweep(model, task, SweepSpec(pairs="none")).rows == 6 * 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"controls": ("noise",)}, "controls would do nothing"),
        ({"component": ("ffn",)}, "component would do nothing"),
        ({"attribution": True, "keep_vectors": True}, "attribution, keep_vectors would do nothing"),
        ({"conditions": ("ablate:heads:9:0",)}, "layer 9 is out of range"),
        (
            {"conditions": (Condition("a", (Ablate(Site("ffn", 9)),)),)},
            "at block 9, but this model has 4",
        ),
        (
            {"conditions": (Condition("a", (Ablate(Site("ffn", 0), tokens=SPAN),)),)},
            "'a' and item 'q0'.* up to 90, but the prompt has",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    model, task, tmp_path, changes, reason
):
    with pytest.raises(UsageError, match=reason):
        run_sweep(model, task, SweepSpec(**({"pairs": "none"} | changes)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_is_too_short_is_a_failure_of_its_item(model, tmp_path):
    task = task_of([make_item(0), make_item(1, main="a")])
    spec = SweepSpec(conditions=("ablate:ffn:0:all@last8",), max_new_tokens=1)
    assert set(run_sweep(model, task, spec, tmp_path / "run").failures) == {"q1"}


def test_a_report_of_conditions_alone(whole, tmp_path):
    (run,) = summarise([whole]).runs
    assert not any("No transplants" in reason for reason in run.missing)
    assert {one.split for one in run.conditions} == {"pilot", "final", "all"}
    assert len(run.conditions) == 3 * 7
    adjusted = [one.test for one in run.conditions if one.split == "all"]
    tests = [one for one in adjusted if one.p_value is not None]
    assert tests
    assert {one.tests for one in tests} == {len(tests)}
    assert all(one.p_value <= one.holm <= 1 for one in tests)
    build_report([whole], tmp_path)
    page = Path(tmp_path / "report.html").read_text()
    assert "<h1>A model under conditions</h1>" in page
    assert "Nothing is trained" not in page
    assert "No selectors" not in page
    assert str(whole) not in page
    for name in ("ablate:heads:0:0", "neurons", "end", "both"):
        assert name in page


def test_the_run_says_what_the_conditions_are(whole):
    spec = json.loads((whole / "run.json").read_text())["spec"]
    assert [one["name"] for one in spec["conditions"]][:2] == [
        "ablate:heads:0:0",
        "ablate:heads:1:0",
    ]
    both = spec["conditions"][-1]
    assert both["about"] == (
        "All ffn of block 0 set to zero, at every token of the prompt; All attn of block 3 scaled "
        "by 2, at the last 3 tokens of the prompt."
    )
    assert [one["kind"] for one in both["interventions"]] == ["ablate", "ablate"]
    assert set(table(whole).condition.dropna()) == {one["id"] for one in spec["conditions"]}


def test_what_is_of_pairs_of_layers_says_that_there_are_none(whole):
    with pytest.raises(PairError, match="has no pairs of layers"):
        xl.Run(whole).heatmap()
    assert xl.Run(whole).upper_bound().empty
