"""How good attribution is: agreement with the sweep, and solving pairs among the k highest."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest

from crosslatent.analysis.attribution_quality import (
    _Cells,
    _trust,
    attribution_cubes,
    judge_attribution,
)
from crosslatent.analysis.data import RunData
from crosslatent.core.errors import RunFolderError
from crosslatent.runs import RunReader
from crosslatent.runs.schema import ATTRIBUTION_TABLE
from crosslatent.sweeps.extras import attribution_table
from support.runs import item, row, write_extra, write_run
from support.simulated import simulate

SOLVES = {
    "a": [[0, 1], [0, 0]],
    "b": [[0, 1], [1, 0]],
    "c": [[1, 1], [1, 1]],  # right without a transplant
    "d": [[0, 0], [0, 0]],  # never solved
}
SCORES = {
    "a": [[4.0, 3.0], [2.0, 1.0]],
    "b": [[1.0, 4.0], [3.0, 2.0]],
    "c": [[1.0, 2.0], [3.0, 4.0]],
    "d": [[1.0, 2.0], [3.0, 4.0]],
}


def small_run(path, scores=SCORES, **changes):
    items = [item(name, **changes.get(name, {})) for name in SOLVES]
    rows = [row(name, "vanilla", name == "c", option_logprobs=[-1.0, -2.0]) for name in SOLVES]
    for name, grid in SOLVES.items():
        for i, j in itertools.product(range(2), repeat=2):
            score = SCORES[name][i][j]
            rows.append(
                row(
                    name,
                    correct=bool(grid[i][j]),
                    source=i,
                    target=j,
                    gold_logprob=-score,
                    option_logprobs=[-3.0, -2.0 + 2 * score],
                )
            )
    write_run(path, items, rows)
    write_extra(path, ATTRIBUTION_TABLE, table_of(scores))
    return RunData(RunReader(path))


def table_of(scores, component="ffn"):
    return attribution_table(
        {name: {component: np.array(grid, dtype=np.float32)} for name, grid in scores.items()}
    )


def by_name(result):
    return {(one.outcome, one.group): one.correlation for one in result.agreement}


def test_scores_come_back_by_question_and_pair(tmp_path):
    cubes = attribution_cubes(small_run(tmp_path / "run"))
    assert list(cubes) == ["ffn"]
    assert np.array_equal(cubes["ffn"], np.array(list(SCORES.values())))


def test_what_can_be_counted_by_hand(tmp_path):
    (result,) = judge_attribution(small_run(tmp_path / "run"), tops=(1, 2, 9))
    assert (result.component, result.split) == ("ffn", "all")
    assert (result.questions, result.solvable, result.pairs) == (4, 2, (4, 4))
    found = {one.k: one for one in result.found}
    # "a" has its only solving pair on the second place, "b" on the first.
    assert found[1].attribution.value == 0.5
    assert found[2].attribution.value == 1.0
    assert found[1].random.value == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert found[2].random.value == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert found[9].random.value == found[9].attribution.value == found[9].fixed.value == 1.0
    # Elsewhere, 0->1 solves "b" and "c" (as seen from "a") or "a" and "c": more than any other.
    assert found[1].fixed.value == 1.0
    assert found[1].over_fixed.value == -0.5
    assert found[1].over_random.value == pytest.approx(0.5 - 0.375)


def test_agreement_is_that_of_ranks(tmp_path):
    (result,) = judge_attribution(small_run(tmp_path / "run"))
    agreement = by_name(result)
    assert agreement["rise", "all"].value == pytest.approx(1.0)
    assert agreement["gold_logprob", "all"].value == pytest.approx(-1.0)
    # "c" is always right and "d" never: nothing varies there.
    assert agreement["correct", "all"].n == agreement["correct", "wrong"].n == 2
    assert ("correct", "right") not in agreement
    assert agreement["rise", "right"].n == 1


def test_pairs_that_were_not_run_do_not_count(tmp_path):
    scores = {**SCORES, "a": [[9.0, np.nan], [2.0, 1.0]]}
    (result,) = judge_attribution(small_run(tmp_path / "run", scores))
    assert (result.solvable, result.pairs) == (1, (3, 4))


def test_the_fixed_pairs_have_not_seen_the_question(tmp_path):
    same = {name: {"cluster": "one"} for name in SOLVES}
    (result,) = judge_attribution(small_run(tmp_path / "run", **same), tops=(1,))
    # With all questions in one cluster nothing is left to choose from: the first pair is taken.
    assert result.found[0].fixed.value == 0.0


def test_splits_are_told_apart(tmp_path):
    data = small_run(tmp_path / "run", a={"split": "unseen"}, c={"split": "unseen"})
    results = judge_attribution(data)
    counts = [(one.split, one.questions, one.solvable) for one in results]
    assert counts == [("all", 4, 2), ("pilot", 2, 1), ("unseen", 2, 1)]
    json.dumps([asdict(one) for one in results], allow_nan=False)


def test_a_run_without_scores_has_nothing_to_judge(tmp_path):
    path = tmp_path / "run"
    data = small_run(path)
    (path / ATTRIBUTION_TABLE / "part-00001-000000.parquet").write_bytes(b"no table")
    with pytest.raises(RunFolderError, match="Cannot read"):
        judge_attribution(data)
    (path / ATTRIBUTION_TABLE / "part-00001-000000.parquet").unlink()
    assert judge_attribution(data) == []


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "run"
    return simulate(path, layers=6, facts=20, languages=("hi", "sw"))


def judged(path, make):
    data = RunData(RunReader(path))
    cube = data.true_cube("ffn")
    rng = np.random.default_rng(0)
    scores = make(cube, rng)
    write_extra(path, ATTRIBUTION_TABLE, table_of(dict(zip(data.items.ids, scores, strict=True))))
    return judge_attribution(data)[0]


def test_scores_that_know_nothing_are_no_better_than_chance(simulated):
    result = judged(simulated, lambda cube, rng: rng.normal(size=cube.shape))
    assert result.solvable > 50
    for one in result.found:
        assert one.over_random.low < 0 < one.over_random.high
    correlation = by_name(result)["correct", "wrong"]
    assert correlation.low < 0 < correlation.high


def test_scores_that_know_something_are_better_and_true_ones_are_perfect(simulated):
    some = judged(simulated, lambda cube, rng: cube + rng.normal(size=cube.shape))
    assert all(one.over_random.above_zero for one in some.found)
    assert by_name(some)["correct", "wrong"].above_zero
    perfect = judged(simulated, lambda cube, rng: cube + 1e-3 * rng.normal(size=cube.shape))
    assert all(one.attribution.value == 1.0 for one in perfect.found)
    assert perfect.found[0].random.value < 0.9


def cells_of(scores, gains):
    return _Cells(np.array(scores), {"gold_logprob": np.array(gains)})


@pytest.mark.parametrize(("hits", "granted"), [(8, True), (6, True), (5, False), (0, False)])
def test_a_ranking_is_trusted_if_its_first_pairs_raise_the_right_answer(hits, granted):
    gains = np.tile(np.arange(1.0, 21.0), (8, 1))
    scores = np.array([row if n < hits else -row for n, row in enumerate(gains)])
    found = _trust(cells_of(scores, gains), np.ones(8, dtype=bool), seed=3)
    assert (found.questions, found.hits, found.granted) == (8, hits, granted)


def test_what_is_a_hit():
    gains = np.tile(np.arange(1.0, 21.0), (8, 1))
    third = np.where(gains == 18, 100, gains)  # two of twenty pairs raise the answer more
    second = np.where(gains == 19, 100, gains)
    everything = np.ones(8, dtype=bool)
    assert _trust(cells_of(second, gains), everything, 0).hits == 8
    assert _trust(cells_of(third, gains), everything, 0).hits == 0
    # The first of pairs that all lower the right answer is none.
    assert _trust(cells_of(gains, gains - 30), everything, 0).hits == 0
    # Pairs without a score or a known gain are left out.
    unknown = np.where(gains > 19, np.nan, gains)
    assert _trust(cells_of(gains, unknown), everything, 0).hits == 8
    assert _trust(cells_of(unknown, gains), everything, 0).hits == 8


def test_a_trial_takes_eight_of_its_questions_and_the_same_each_time():
    gains = np.tile(np.arange(1.0, 21.0), (40, 1))
    scores = np.where(np.arange(40)[:, None] % 2, gains, -gains)
    wrong = np.arange(40) < 30
    one, again = (_trust(cells_of(scores, gains), wrong, seed=5) for _ in range(2))
    assert one == again
    assert 0 < one.hits < 8
    few = _trust(cells_of(gains, gains), np.arange(40) < 7, seed=5)
    assert (few.questions, few.hits, few.granted) == (7, 7, None)
    lost = _trust(cells_of(gains, np.full_like(gains, np.nan)), wrong, seed=5)
    assert (lost.questions, lost.granted) == (0, None)


def test_trust_is_of_all_splits_together(tmp_path):
    (result,) = judge_attribution(small_run(tmp_path / "run"))
    assert result.trust is not None
    assert result.trust.granted is None
    # Of those that some pair repairs: others are wrong whatever is ranked first.
    assert result.trust.questions == result.solvable
