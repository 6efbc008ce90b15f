"""Questions dealt into those to choose on and those to test on; choices tested on other folds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from crosslatent.core.errors import UsageError
from crosslatent.selectors.candidates import ABSTAIN, NOT_RUN, OTHER
from crosslatent.selectors.crossfit import PLAIN, choose, fit_best
from crosslatent.selectors.division import ENOUGH, FOLDS, deal, divide
from crosslatent.selectors.findings import division_of, judge
from crosslatent.selectors.kinds.confidence import Confidence
from crosslatent.selectors.kinds.pilot import REFERENCE
from crosslatent.selectors.kinds.untransplanted import Plain
from support.choices import PAIRS, World, simulate

RIGHT = World({4: 0.9}, vanilla=0.4, aux=0.5, clusters=30)


def without_splits(table):
    return replace(table, seen=replace(table.seen, split=np.full(len(table.seen), "")))


def some(table, n):
    """The table with the first questions alone that have gold answers."""
    hidden = np.arange(len(table.seen)) >= n
    labels = replace(table.labels, vanilla=np.where(hidden, np.nan, table.labels.vanilla))
    return replace(table, labels=labels)


def test_whole_clusters_are_dealt_by_their_shares_and_the_seed():
    clusters = [f"f{place // 3}" for place in range(300)]
    dealt = deal(clusters, (0.25, 0.75), 1)
    assert abs(int((dealt == 0).sum()) - 75) <= 3
    parts = {}
    for cluster, part in zip(clusters, dealt, strict=True):
        assert parts.setdefault(cluster, part) == part
    assert (dealt == deal(clusters, (0.25, 0.75), 1)).all()
    assert (dealt != deal(clusters, (0.25, 0.75), 2)).any()


@pytest.mark.parametrize(("n", "kind"), [(ENOUGH - 1, "folds"), (ENOUGH, "dealt")])
def test_no_question_is_tested_by_what_was_chosen_on_its_fact(n, kind):
    ids, clusters = [f"q{k}" for k in range(n)], [f"f{k // 2}" for k in range(n)]
    found = divide(ids, clusters, [""] * n, seed=3)
    assert found.kind == kind
    assert len(found.parts) == (FOLDS if kind == "folds" else 1)
    tested = Counter(one for _, test in found.parts for one in test)
    assert set(tested.values()) == {1}
    cluster_of = dict(zip(ids, clusters, strict=True))
    for tune, test in found.parts:
        assert not {cluster_of[one] for one in tune} & {cluster_of[one] for one in test}
    if kind == "folds":
        assert found.tested_on == set(ids)
        assert "cross-validation" in found.sentence
    else:
        assert found.chosen_on | found.tested_on == set(ids)
        assert "seed 3" in found.sentence


def test_no_part_stays_empty():
    for sizes in ([1, 59], [5, 5, 50], [1] * 10 + [50], [1] * 5 + [95]):
        clusters = [f"f{k}" for k, size in enumerate(sizes) for _ in range(size)]
        for seed in range(50):
            assert set(deal(clusters, (1 / 3, 2 / 3), seed).tolist()) == {0, 1}


def test_splits_that_are_given_are_taken():
    ids, splits = [f"q{k}" for k in range(20)], ["pilot"] * 8 + ["final"] * 10 + ["unseen"] * 2
    clusters = [*ids[:18], "q0", "q19"]
    found = divide(ids, clusters, splits)
    assert (found.kind, found.names) == ("given", ("pilot", "unseen"))
    assert found.parts == ((frozenset(ids[:8]), frozenset({"q19"})),)  # q18 asks the fact of q0
    assert found.seed == 0
    assert len(divide(ids, clusters, splits, test="final").tested_on) == 10


@pytest.mark.parametrize(
    ("n", "splits", "says"),
    [
        (11, [""] * 11, "There are 11 questions"),
        (20, ["pilot"] * 20, "none with a gold answer is left of 'another one'"),
        (20, ["final"] * 20, "is left of 'pilot'"),
    ],
)
def test_what_cannot_be_divided_is_refused(n, splits, says):
    ids = [f"q{k}" for k in range(n)]
    with pytest.raises(UsageError, match=says):
        divide(ids, ids, splits)
    with pytest.raises(UsageError, match="about 5 facts"):
        divide([f"q{k}" for k in range(20)], [f"f{k % 5}" for k in range(20)], [""] * 20)


def test_the_first_selector_is_kept_unless_another_is_clearly_better():
    table = simulate(replace(RIGHT, tells=0.0), seed=1)
    rule = fit_best((REFERENCE, Confidence("margin")), table.seen, table.labels)
    assert rule.selector == REFERENCE
    assert rule.fitted.pairs == (PAIRS[4],)
    telling = simulate(World({1: 0.7, 4: 0.7, 7: 0.7}, vanilla=0.4, tells=3.0), seed=1)
    rule = fit_best((REFERENCE, Confidence("margin")), telling.seen, telling.labels)
    assert rule.selector.name == "confidence-margin-8"
    assert rule.accuracy["confidence-margin-8"] > rule.accuracy["pilot"]


def test_folds_choose_for_what_they_have_not_seen():
    table = some(without_splits(simulate(RIGHT, seed=2)), 40)
    division = division_of(table, seed=5)
    assert division.kind == "folds"
    choice = choose(table, division, (REFERENCE,))
    for mask, (_, test) in zip(choice.tested.masks(table.seen), division.parts, strict=True):
        assert {table.seen.ids[k] for k in np.flatnonzero(mask)} == test
    found = choice.tested.choose(table.seen).choice
    assert set(found[:40].tolist()) == {4}
    assert set(found[40:].tolist()) == {NOT_RUN}  # no part's questions
    assert choice.kept.fitted.pairs == (PAIRS[4],)
    assert choice.tested.state() is None


def test_plain_methods_answer_one_prompt_or_the_other():
    table = simulate(replace(RIGHT, aux=0.9, tells=2.0), seed=3)
    always, surer = (one.fit(table.seen, table.labels) for one in PLAIN)
    assert set(always.choose(table.seen).choice.tolist()) == {OTHER}
    assert (always.reads, always.cost, always.pairs) == ("nothing", 1.0, ())
    chosen = surer.choose(table.seen)
    assert set(chosen.choice.tolist()) <= {OTHER, ABSTAIN}
    right = np.nanmean(chosen.outcome(table.labels))
    assert right >= max(table.labels.vanilla.mean(), table.labels.aux.mean())
    state = surer.state()
    assert Plain.restored(state.plain, state.arrays).margin == surer.margin


def judged(world, seed, **changes):
    """What is found in simulated questions; donors with other answers do as noise and self."""
    table = without_splits(simulate(world, seed=seed))
    other = table.shuffled["different_answer"]
    table = replace(table, others={"noise": other, "self": other}, **changes)
    choice = choose(table, division_of(table, seed=seed), seed=seed)
    return judge(choice, table, seed=seed)


def test_a_pair_that_works_is_found_and_tested():
    found = judged(RIGHT, 4)
    assert found.verdict == "lifts"
    assert (found.pair.source, found.pair.target) == (1, 1)
    assert found.changes
    assert found.gain.n == 80  # two thirds of 120
    assert {one.name for one in found.controls} == {"shuffled", "noise", "self"}
    assert found.repaired - found.broken == round(found.gain.value * 80)


def test_what_luck_does_is_no_finding():
    verdicts = Counter(
        judged(World(vanilla=0.4, aux=0.4, clusters=30), s).verdict for s in range(8)
    )
    assert verdicts["nothing"] >= 7


def test_controls_that_were_not_run_are_named():
    table = without_splits(simulate(RIGHT, seed=4))
    found = judge(choose(table, division_of(table)), table)
    assert found.uncovered == ["noise", "self"]
    assert found.verdict == "unproven"
