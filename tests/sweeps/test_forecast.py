"""What a dry run says of time: a trial of real rows, of which nothing is kept."""

from __future__ import annotations

import json

import pytest

from crosslatent.sweeps import SweepSpec, plan_sweep
from crosslatent.sweeps.forecast import Trial, estimate, tried
from crosslatent.tasks import task_of
from support.rows import wrapped

ITEMS = [
    {"id": f"q{k}", "main": f"Mji wa {k}?", "aux": f"City of {k}?", "answer": str(k)}
    for k in range(20)
]


@pytest.fixture(scope="module")
def plan():
    spec = SweepSpec(
        component="ffn", pairs="all", controls=("mean", "noise", "mean-main"), max_new_tokens=2
    )
    return plan_sweep(wrapped(), task_of(ITEMS), spec)


def test_a_trial_grows_until_its_time_is_used(plan):
    short, longer = tried(plan, seconds=0.0), tried(plan, seconds=1.0)
    assert short.rows == 4
    assert longer.rows > 4 * short.rows
    for trial in (short, longer):
        assert 0 < trial.low <= trial.high
        assert trial.seconds > 0


def test_a_trial_has_no_row_that_reads_all_items(plan, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("a mean was asked for")

    monkeypatch.setattr("crosslatent.sweeps.controls.mean._sum", refuse)
    assert tried(plan, seconds=0.3).rows > 4


def test_a_small_sweep_is_tried_no_more_than_it_has(plan):
    few = plan_sweep(plan.model, task_of(ITEMS[:1]), SweepSpec(pairs="0:0", max_new_tokens=1))
    assert tried(few, seconds=30.0).seconds < 20


def test_the_estimate_says_how_it_was_measured(plan):
    cost = estimate(plan, Trial(64, 2.0, 90.0, 200.0))
    assert "1 min 30 s to 3 min 20 s in one process" in "\n".join(cost.lines())
    assert "64 rows were answered in 2 s" in "\n".join(cost.lines())
    assert json.loads(json.dumps(cost.to_dict()))["trial"]["high"] == 200.0
    assert "not measured" in "\n".join(estimate(plan).lines())


def test_the_estimate_names_the_work_that_it_did_not_time(plan):
    more = SweepSpec(component="ffn", attribution=True, samples=2, max_new_tokens=2)
    cost = estimate(plan_sweep(plan.model, plan.task, more), Trial(64, 2.0, 90.0, 200.0))
    assert "answered in 2 s), and the work of --attribution and --samples" in "\n".join(
        cost.lines()
    )
    assert cost.to_dict()["untimed"] == ("attribution", "samples")
