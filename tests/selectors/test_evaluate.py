"""Selectors scored on another split: figures, luck, ratios, and what counts as a question."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from crosslatent.analysis.data import RunData
from crosslatent.core.errors import RunFolderError
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.base import selectors_of
from crosslatent.selectors.evaluating import (
    evaluate_run,
    evaluation_of,
    split_to_test,
    split_to_tune,
)
from crosslatent.selectors.kinds.halving import Halving
from crosslatent.selectors.kinds.pilot import Pilot
from crosslatent.selectors.kinds.vote import Vote
from crosslatent.selectors.selector_scores import evaluate
from crosslatent.selectors.table import shares
from crosslatent.stats import Estimate
from crosslatent.stats.estimates import ratio
from support.choices import World, halves, simulate
from support.runs import item, row, write_extra, write_run

GOOD = World({4: 0.9}, clusters=40)


def numbers(estimate):
    return estimate.value, estimate.low, estimate.high


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(*halves(simulate(GOOD)), [Vote(3), Halving(0.25)], resamples=2_000)[0]


def test_figures_are_those_of_the_arrays(evaluation):
    table = simulate(GOOD)
    unseen = table.seen.split == "unseen"
    right, vanilla = table.labels.correct[unseen, 4], table.labels.vanilla[unseen]
    bound = (table.labels.correct[unseen] == 1).any(axis=1)
    pilot = evaluation.selectors[0]
    assert pilot.name == "pilot"
    assert pilot.accuracy.value == pytest.approx(right.mean())
    assert pilot.gain.value == pytest.approx((right - vanilla).mean())
    assert pilot.recovered.value == pytest.approx((right - vanilla).sum() / (bound - vanilla).sum())
    blind = sum(
        weight * found.correct[unseen, 4]
        for weight, (_, found) in zip((0.25, 0.75), table.shuffled.values(), strict=True)
    )
    assert pilot.shuffled_gain.value == pytest.approx((blind - vanilla).mean())
    over = (right - blind).mean()
    assert pilot.over_shuffled.value == pytest.approx(over)
    assert pilot.over_shuffled.low < over < pilot.over_shuffled.high
    assert (pilot.cost, pilot.abstained.value, pilot.versus_pilot) == (2.0, 0.0, None)
    assert [(used.source, used.target, used.n) for used in pilot.used] == [(1, 1, 80)]


def test_the_same_choice_differs_from_the_pilot_pair_by_nothing(evaluation):
    halving = next(found for found in evaluation.selectors if found.name == "halving-25")
    assert halving.versus_pilot.value == 0
    assert (halving.p_value, halving.p_holm, halving.beats_pilot) == (None, None, False)


def test_every_trivial_way_to_answer_stands_beside(evaluation):
    names = {found.name: found for found in evaluation.baselines}
    assert set(names) == {"vanilla", "translate_test", "majority", "random_pair", "upper_bound"}
    assert names["upper_bound"].cost is None
    assert names["upper_bound"].accuracy.value > names["random_pair"].accuracy.value
    assert names["majority"].accuracy.value < 0.6
    assert json.loads(json.dumps(asdict(evaluation), allow_nan=False))["candidates"] == 9


def test_without_controls_or_a_gap_shares_stay_missing():
    table = simulate(GOOD)
    bare = replace(table, shuffled={})
    found, _ = evaluate(*halves(bare), [], resamples=500)
    assert found.selectors[0].over_shuffled is None
    assert found.selectors[0].strict_room is None
    assert any("shuffled was not run" in text for text in found.missing)
    assert any("No strict room" in text for text in found.missing)
    table.labels.correct[:] = table.labels.vanilla[:, None]
    flat, _ = evaluate(*halves(table), [], resamples=500)
    assert numbers(flat.selectors[0].recovered) == (None, None, None)
    assert not flat.selectors[0].recovers_half


def test_a_stratum_without_donors_needs_no_rows():
    table = simulate(GOOD)
    apart = {"different_answer": table.shuffled["different_answer"]}
    nobody = {
        "same_answer": np.zeros(len(table.seen)),
        "different_answer": np.ones(len(table.seen)),
    }
    none_share = replace(table, shuffled=apart, donor_shares=nobody)
    found, _ = evaluate(*halves(none_share), [], resamples=500)
    assert found.selectors[0].over_shuffled.n == 80
    some_share = replace(table, shuffled=apart)
    found, _ = evaluate(*halves(some_share), [], resamples=500)
    assert numbers(found.selectors[0].over_shuffled) == (None, None, None)
    assert any("Nothing is compared with shuffled" in text for text in found.missing)


def test_questions_whose_fact_was_tuned_on_are_left_out():
    table = simulate(GOOD)
    cluster = table.seen.cluster.copy()
    cluster[np.flatnonzero(table.seen.split == "unseen")[:6]] = cluster[0]
    shared = replace(table, seen=replace(table.seen, cluster=cluster))
    tuning = split_to_tune(shared, "pilot", "run")
    testing, left_out = split_to_test(shared, "unseen", tuning, "run")
    assert (len(testing), left_out) == (74, 6)
    assert not set(testing.clusters) & set(tuning.clusters)
    cluster[:] = "same"
    with pytest.raises(RunFolderError, match="all share a fact with the tuning split"):
        split_to_test(shared, "unseen", split_to_tune(shared, "pilot", "run"), "run")


def test_a_ratio_has_the_spread_of_both_sides():
    rng = np.random.default_rng(0)
    clusters = [f"c{k // 2}" for k in range(400)]
    below = (rng.random(400) < 0.4).astype(float)
    above = below * (rng.random(400) < 0.5)
    found = ratio(above, below, clusters, resamples=2_000)
    assert found.value == pytest.approx(above.sum() / below.sum())
    assert found.low < found.value < found.high
    assert (found.n, found.clusters) == (400, 200)
    above[:10] = np.nan
    assert ratio(above, below, clusters, resamples=500).n == 390
    assert numbers(ratio(above, -below, clusters)) == (None, None, None)
    rare = np.zeros(400)
    rare[0] = 1
    assert ratio(rare, rare, clusters).low is None  # most resamples have no gap


def test_intervals_of_the_ratio_cover():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        below = (rng.random(150) < 0.5).astype(float)
        above = below * (rng.random(150) < 0.6)
        clusters = [str(k) for k in range(150)]
        found = ratio(above, below, clusters, seed=0, resamples=1_000)
        covered += found.low <= 0.6 <= found.high
    assert 182 <= covered <= 198


def test_half_of_the_gap_counts_only_if_shown_and_above_shuffled_and_affordable(evaluation):
    pilot = evaluation.selectors[0]

    def share(value, spread=0.2):
        return Estimate(value, value - spread, value + spread, 80, 40, 0)

    both = replace(pilot, recovered=share(0.8), over_shuffled=share(0.3))
    assert both.recovers_half
    assert not replace(both, recovered=share(0.6)).recovers_half
    assert not replace(both, over_shuffled=share(0.1)).recovers_half
    assert not replace(both, over_shuffled=None).recovers_half
    assert not replace(both, cost=11.0).recovers_half
    better = replace(pilot, versus_pilot=share(0.3), p_holm=0.01)
    assert better.beats_pilot
    assert not replace(better, p_holm=0.2).beats_pilot
    assert not replace(better, versus_pilot=share(0.1)).beats_pilot


def test_shares_add_up_and_need_every_option():
    logprobs = np.log([[0.2, 0.1, 0.1], [0.5, 0.5, np.nan], [0.5, np.nan, 0.5], [1, 1, 1]])
    found = shares(logprobs, np.array([3, 2, 3, 0]))
    assert np.allclose(found[0], [0.5, 0.25, 0.25])
    assert np.allclose(found[1, :2], 0.5)
    assert np.isnan(found[1, 2])
    assert np.isnan(found[2:]).all()
    assert np.isnan(shares(np.full((1, 2), -np.inf), np.array([2]))).all()
    assert shares(np.empty((3, 0)), np.zeros(3)).shape == (3, 0)


UNSURE = {"first_logprob": -0.7, "first_entropy": 0.9, "first_margin": 0.5}
SURE = {"first_logprob": -0.1, "first_entropy": 0.1, "first_margin": 3.0}


def run_folder(path, *, samples=False, options=True):
    """A run of 24 facts in which the pair 1->1 is always right."""
    items, rows, drawn = [], [], []
    changes = {} if options else {"options": None, "labels": None}
    for k in range(24):
        name, split = f"q{k:02}", "pilot" if k < 12 else "unseen"
        items.append(item(name, cluster=name, split=split, **changes))
        rows += [
            row(name, "vanilla", k % 3 == 0, option_logprobs=[-0.5, -1.0], **UNSURE),
            row(name, "translate_test", True),
        ]
        for control, stratum, right in (
            ("none", None, True),
            ("shuffled", "same_answer", True),
            ("shuffled", "different_answer", False),
        ):
            for source in (0, 1):
                correct = k % 2 == 0 if source == 0 else right
                rows.append(
                    row(
                        name,
                        control,
                        correct,
                        source=source,
                        target=source,
                        stratum=stratum,
                        donor=None if stratum is None else "q00",
                        option_logprobs=[-0.1, -3.0] if correct else [-0.9, -0.6],
                        **(SURE if correct else UNSURE),
                    )
                )
        for number, right in enumerate((False, True, True)):
            text = "(1)" if right else "(2)"
            one = {"item": name, "number": number, "output": text}
            drawn.append(one | {"prediction": text if options else None, "correct": right})
    folder = write_run(path, items, rows)
    if samples:
        write_extra(folder, "samples", drawn)
    return folder


@pytest.mark.parametrize("options", [True, False])
def test_a_run_folder_is_read_fitted_and_tested(tmp_path, options):
    reader = RunReader(run_folder(tmp_path / "run", samples=True, options=options))
    selectors = [one for one in selectors_of("all") if one.name.startswith(("vote", "conf"))]
    found, fitted = evaluate_run(reader, selectors)
    assert (found.tuned_on, found.tune, found.test, found.items) == ("run", "pilot", "unseen", 12)
    pilot = found.selectors[0]
    assert [(used.source, used.target) for used in pilot.used] == [(1, 1)]
    assert pilot.accuracy.value == 1.0
    assert set(fitted) == {"pilot", *(one.name for one in selectors)}
    samples = found.baseline("samples-3")
    assert (samples.accuracy.value, samples.cost) == (1.0, 3.0)
    assert len(found.selectors) == len(selectors) + 1


def test_another_run_and_other_splits_can_be_tested_on(tmp_path):
    first = RunReader(run_folder(tmp_path / "one"))
    second = RunReader(run_folder(tmp_path / "two"))
    found, _ = evaluate_run(first, [Pilot()], other=second, test="unseen")
    assert (found.tuned_on, found.tested_on) == ("one", "two")
    with pytest.raises(RunFolderError, match="no questions of the split 'final'"):
        evaluate_run(first, [], test="final")
    with pytest.raises(RunFolderError, match="no questions of the split 'x' with gold"):
        evaluate_run(first, [], tune="x")
    with pytest.raises(RunFolderError, match="no transplants of attn"):
        evaluate_run(first, [], components=["attn"])


def test_the_report_gets_an_evaluation_or_the_reason_why_there_is_none(tmp_path):
    data = RunData(RunReader(run_folder(tmp_path / "run")))
    found, reason = evaluation_of(data)
    assert (found.test, reason) == ("unseen", None)
    assert {"pilot", "vote-8", "learned-logistic-8"} <= {one.name for one in found.selectors}
    assert any("preset-understanding" in text for text in found.missing)
    assert evaluation_of(data, test="final")[1].startswith("No selectors: The run 'run' has no")
    nothing, reason = evaluation_of(data, tune="unseen", test="unseen")
    assert nothing is None
    assert "share a fact" in reason


def test_runs_of_older_versions_lack_columns(tmp_path):
    import pyarrow.parquet as pq

    folder = run_folder(tmp_path / "run")
    part = folder / "rows" / "part-00001-000000.parquet"
    table = pq.read_table(part)
    pq.write_table(table.drop_columns([n for n in table.column_names if "first_" in n]), part)
    found, _ = evaluate_run(RunReader(folder), selectors_of("confidence-margin-8"))
    assert found.selectors[1].accuracy.value == 1.0
