"""What the questions to test on lack is missing, and no abstention: then nothing seems to win."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from crosslatent.analysis.data import RunData
from crosslatent.core.errors import UsageError
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.candidates import ABSTAIN, NOT_RUN
from crosslatent.selectors.evaluating import evaluate_run, split_to_test, split_to_tune
from crosslatent.selectors.kinds.attribution import Attribution
from crosslatent.selectors.kinds.confidence import Confidence
from crosslatent.selectors.kinds.learned import Learned
from crosslatent.selectors.kinds.pilot import Pilot
from crosslatent.selectors.kinds.vote import Vote
from crosslatent.selectors.selector_scores import evaluate
from crosslatent.selectors.table import read_table
from support.choices import PAIRS, World, halves, parts, simulate
from support.runs import item, row, write_extra, write_run

GOOD = World({4: 0.9}, clusters=40)
SELECTORS = [Confidence(most=3), Vote(3), Learned(most=3, folds=(2, 2)), Attribution(2)]


def only(columns):
    """The simulated table with some candidates alone."""
    table = simulate(GOOD)

    def cut(seen, labels):
        seen = replace(
            seen,
            pairs=tuple(seen.pairs[k] for k in columns),
            steps=seen.steps.at(np.s_[:, columns]),
            ran=seen.ran[:, columns],
            attribution=seen.attribution[:, columns],
        )
        correct, gold = labels.correct[:, columns], labels.gold_logprob[:, columns]
        return seen, replace(labels, correct=correct, gold_logprob=gold)

    seen, labels = cut(table.seen, table.labels)
    shuffled = {name: cut(*found) for name, found in table.shuffled.items()}
    return replace(table, seen=seen, labels=labels, shuffled=shuffled)


def on_unseen(table, selectors):
    """Fitted on the whole table, tested on another one."""
    tuning = split_to_tune(simulate(GOOD), "pilot", "run")
    testing, _ = split_to_test(table, "unseen", tuning, "run")
    return evaluate(tuning, testing, selectors, resamples=200)[0]


def test_without_their_pairs_selectors_are_missing_and_say_so():
    found = on_unseen(only([0, 1]), SELECTORS)
    assert not found.selectors
    for name in ("pilot", *(one.name for one in SELECTORS)):
        (reason,) = (text for text in found.missing if text.startswith(f"{name}:"))
        assert "were not run with ffn" in reason
        assert "other features" not in reason


def test_without_the_pilot_pair_nothing_is_compared_with_it():
    table = simulate(GOOD)
    table.seen.ran[:, 4] = False
    table.labels.correct[:, 4] = np.nan
    shuffled = {n: (replace(s, ran=table.seen.ran), lab) for n, (s, lab) in table.shuffled.items()}
    found = on_unseen(replace(table, shuffled=shuffled), [Pilot(scope="target-first")])
    (other,) = found.selectors
    assert (other.versus_pilot, other.p_value, other.beats_pilot) == (None, None, False)
    assert other.over_shuffled.n == 80


def test_without_scores_attribution_is_missing():
    table = simulate(GOOD)
    bare = replace(table, seen=replace(table.seen, attribution=None))
    found = on_unseen(bare, [Attribution(2)])
    assert [one.name for one in found.selectors] == ["pilot"]
    assert "attribution-2: The questions to test on have no attribution scores." in found.missing


def test_items_without_the_pair_or_scores_are_left_out():
    table = simulate(GOOD)
    last = np.flatnonzero(table.seen.split == "unseen")[-10:]
    table.seen.ran[last, 4] = False
    table.labels.correct[last, 4] = np.nan
    table.seen.attribution[last] = np.nan
    found = on_unseen(table, [Attribution(2)])
    pilot, attribution = found.selectors
    assert (pilot.accuracy.n, pilot.abstained.n, pilot.over_shuffled.n) == (70, 70, 70)
    assert (attribution.accuracy.n, attribution.versus_pilot.n) == (70, 70)
    fitted = Attribution(2).fit(*parts(simulate(GOOD), "pilot"))
    choice = fitted.choose(parts(table, "unseen")[0]).choice
    assert set(choice[-10:].tolist()) == {NOT_RUN}
    assert NOT_RUN not in choice[:-10]


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda one: one.name)
def test_luck_is_known_only_where_shuffled_rows_cover_the_same_pairs(selector):
    table = simulate(GOOD)
    # Something was run of the last ten, but not all that the selector looks at.
    found = evaluate(*halves(with_holes(table, slice(2, None))), [selector], resamples=200)[0]
    for one in found.selectors:
        assert one.accuracy.n == 80
        assert 70 <= one.over_shuffled.n < 80
    other = evaluate(*halves(with_holes(table, slice(0))), [selector], resamples=200)[0]
    assert {one.over_shuffled.n for one in other.selectors} == {80}


def with_holes(table, columns):
    """Without some columns of the shuffled rows of the last ten questions."""
    ran = table.seen.ran.copy()
    ran[-10:, columns] = False
    shuffled = {
        name: (
            replace(seen, ran=ran),
            replace(labels, correct=np.where(ran, labels.correct, np.nan)),
        )
        for name, (seen, labels) in table.shuffled.items()
    }
    return replace(table, shuffled=shuffled)


def test_only_the_fitted_pairs_are_ranked_and_paid_for():
    seen, labels = parts(only([0, 4]), "pilot")
    for selector in (Attribution(3), Confidence(most=None)):
        fitted = selector.fit(seen, labels)
        assert fitted.pairs == (PAIRS[0], PAIRS[4])
        assert fitted.cost == (7.0 if isinstance(selector, Attribution) else 4.0)
        wide, _ = parts(simulate(GOOD), "unseen")
        wide.attribution[:, 7] = 100.0
        chosen = set(fitted.choose(wide).choice.tolist())
        assert chosen <= {0, 4, ABSTAIN}
        assert chosen & {0, 4}


def run_folder(path, **changes):
    items, rows = [], []
    for k in range(12):
        name = f"q{k:02}"
        items.append(item(name, split="pilot" if k < 6 else "unseen"))
        rows += [row(name, "vanilla", k % 3 == 0), row(name, correct=k % 2 == 0)]
    folder = write_run(path, items, rows)
    manifest = json.loads((folder / "run.json").read_text())
    for part, values in changes.items():
        manifest[part] = (manifest.get(part) or {}) | values
    (folder / "run.json").write_text(json.dumps(manifest))
    return RunReader(folder)


@pytest.mark.parametrize(
    ("mine", "other", "says"),
    [
        ({"model": {"weights_hash": "a"}}, {"model": {"weights_hash": "b"}}, "model weights_hash"),
        ({"model": {"n_layers": 4}}, {"model": {"n_layers": 5}}, "model n_layers 5"),
        ({"task": {"direction": "en->x"}}, {"task": {"direction": "x->en"}}, "task direction"),
        ({"task": {"rule": "option"}}, {"task": {"rule": "contains"}}, "task rule 'contains'"),
    ],
)
def test_a_run_of_another_model_direction_or_rule_is_refused(tmp_path, mine, other, says):
    first, second = run_folder(tmp_path / "a", **mine), run_folder(tmp_path / "b", **other)
    with pytest.raises(UsageError, match=says):
        evaluate_run(first, [], other=second)
    assert evaluate_run(first, [], other=run_folder(tmp_path / "c", **mine))[0].test == "unseen"


def test_blanks_of_every_kind_at_the_ends_make_no_other_answer(tmp_path):
    outputs = ["Roma", " roma\n", "\tROMA\r\n", "\n\t", "Pisa"]
    open_one = item("q", options=None, labels=None)
    rows = [row("q", "vanilla", output="Roma", prediction=None)]
    rows += [
        row("q", output=text, prediction=None, source=0, target=k) for k, text in enumerate(outputs)
    ]
    folder = write_run(tmp_path / "run", [open_one], rows, n_layers=5)
    seen = read_table(RunData(RunReader(folder))).seen
    same = int(seen.vanilla.answer[0])
    assert seen.steps.answer[0, :4].tolist() == [same, same, same, -1]
    assert seen.steps.answer[0, 4] not in (same, -1)


def test_blanks_make_no_other_sample(tmp_path):
    from crosslatent.selectors.evaluating import sampled_majorities

    rows = [row("q", "vanilla", output="Pisa", prediction=None)]
    rows.append(row("q", output="Roma", prediction=None))
    folder = write_run(tmp_path / "run", [item("q", options=None, labels=None)], rows)
    drawn = [("Pisa", False), ("Pisa", False), ("Roma", True), ("roma\n", True), ("\tRoma", True)]
    write_extra(
        folder,
        "samples",
        [
            {"item": "q", "number": k, "output": text, "prediction": None, "correct": right}
            for k, (text, right) in enumerate(drawn)
        ],
    )
    assert sampled_majorities(RunData(RunReader(folder)), within=10)[5].tolist() == [1.0]


def test_the_outer_folds_rank_pairs_anew():
    # Rows are right by chance, and among many pairs some look good: ranking them on the folds to
    # be scored would make the accuracy that fitting reports too high.
    told = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        seen, labels = parts(simulate(World(clusters=20), seed), "pilot")
        wide = replace(
            seen,
            pairs=tuple(replace(pair, source=s) for pair in PAIRS[:3] for s in range(20)),
            steps=seen.steps.at(np.s_[:, [0] * 60]),
            ran=np.ones((len(seen), 60), dtype=np.bool_),
            attribution=None,
        )
        correct = (rng.random((len(seen), 60)) < 0.5).astype(float)
        luck = replace(labels, correct=correct, gold_logprob=np.full(correct.shape, -1.0))
        chosen = Learned(most=2, folds=(4, 2)).fit(wide, luck)
        told.append(chosen.report["pilot_accuracy"])
    assert np.mean(told) < 0.53
