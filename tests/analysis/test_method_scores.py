"""Scores of methods on arrays whose truth is known: gains, seeds, English, leagues."""

from __future__ import annotations

import numpy as np
import pytest

from crosslatent.analysis.method_rows import MethodRows
from crosslatent.analysis.method_scores import MARGIN, over_seeds, table_of_methods
from crosslatent.report.method_words import lines, sentences, without_figures

FACTS, LANGS = 100, ("hi", "sw")
CLUSTERS = tuple(f"fact {k}" for k in range(FACTS) for _ in LANGS)


def record(name, league, reason="", tokens=20.0):
    return {
        "name": name,
        "title": name.upper(),
        "league": league,
        "about": "",
        "source": "",
        "control": False,
        "reason": reason,
        "tried": 1,
        "chosen": [],
        "fit_seconds": 0.1,
        "tokens": tokens,
        "trained": 0,
        "labelled": 0,
        "unlabelled": 0,
        "left_out": {},
        "kl": None,
        "peak_bytes": None,
        "notes": [],
    }


def rows(right, english=None, records=()):
    n = FACTS * len(LANGS)
    shape = {name: values.shape for name, values in right.items()}
    made = {name: record(name, league) for name, league in records}
    for name in right:
        made.setdefault(name, record(name, "none"))
    return MethodRows(
        records=made,
        items=tuple(f"{k}" for k in range(n)),
        langs=LANGS * FACTS,
        clusters=CLUSTERS,
        right=right,
        faithful={name: np.full(shape[name], np.nan) for name in right},
        named={name: np.ones(shape[name]) for name in right},
        english=english or {},
        luck=np.full(n, 0.5),
        attempts=128,
        seconds=dict.fromkeys(right, 0.01),
    )


def answers(share, seeds=1, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((FACTS * len(LANGS), seeds)) < share).astype(float)


def test_a_gain_is_found_and_nothing_is_made_of_nothing():
    vanilla = answers(0.5)
    right = {"vanilla": vanilla, "good": np.maximum(vanilla, answers(0.5, seed=1)), "same": vanilla}
    table = table_of_methods(rows(right), {})
    good, same = table.score("good"), table.score("same")
    assert good.is_better
    assert not good.is_worse
    assert good.change.value == pytest.approx(float((right["good"] - vanilla).mean()))
    assert good.repaired == int((right["good"] > vanilla).sum())
    assert good.broken == 0
    assert set(good.by_language) == set(LANGS)
    assert same.change.value == 0
    assert not same.is_better
    assert table.best("none") is good
    assert table.pass_at.value == pytest.approx(0.5)


def test_p_values_are_corrected_for_all_leagues():
    vanilla = answers(0.5)
    right = {"vanilla": vanilla} | {f"m{k}": answers(0.5, seed=k + 1) for k in range(8)}
    leagues = [(f"m{k}", ("given", "made", "none")[k % 3]) for k in range(8)]
    table = table_of_methods(rows(right, records=leagues), {})
    tested = [one for one in table.scores if one.p_value is not None]
    assert len(tested) == 8
    assert all(one.holm >= one.p_value for one in tested)
    assert min(tested, key=lambda one: one.p_value).holm == pytest.approx(
        min(1.0, 8 * min(one.p_value for one in tested))
    )


def test_seeds_that_differ_widen_the_interval():
    one = answers(0.6, seed=3)
    alike = np.repeat(one, 3, axis=1)
    shifted = np.concatenate([np.zeros_like(one), one, np.ones_like(one)], axis=1)
    narrow, wide = (over_seeds(values, CLUSTERS, 0) for values in (alike, shifted))
    assert narrow.value == pytest.approx(float(one.mean()))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    single = over_seeds(one, CLUSTERS, 0)
    assert narrow.low == pytest.approx(single.low, abs=0.02)
    assert narrow.high == pytest.approx(single.high, abs=0.02)


def test_items_without_an_answer_in_any_seed_are_left_out():
    values = answers(0.6, seeds=3)
    values[:10, 1] = np.nan
    found = over_seeds(values, CLUSTERS, 0)
    assert found.n == FACTS * len(LANGS) - 10
    assert over_seeds(np.full((10, 3), np.nan), CLUSTERS[:10], 0).value is None


@pytest.mark.parametrize(("lost", "kept"), [(0.0, "undecided"), (0.3, "lost"), (0.02, "undecided")])
def test_english_is_kept_lost_or_undecided(lost, kept):
    vanilla = answers(1.0)
    english = vanilla - (answers(lost, seed=5) if lost else 0)
    found = table_of_methods(
        rows(
            {"vanilla": vanilla, "one": vanilla},
            {"vanilla": vanilla, "one": english},
        ),
        {},
    ).score("one")
    # 100 facts without a change bound the share that may change by 3 %, which is above the margin.
    assert 1 - 0.05 ** (1 / FACTS) > MARGIN
    assert found.kept == kept


def test_many_facts_without_a_change_keep_english():
    vanilla = np.ones((FACTS * len(LANGS), 1))
    many = rows({"vanilla": vanilla, "one": vanilla}, {"vanilla": vanilla, "one": vanilla})
    apart = MethodRows(
        **{name: getattr(many, name) for name in MethodRows.__slots__ if name not in ("clusters",)},
        clusters=many.items,
    )
    assert table_of_methods(apart, {}).score("one").kept == "kept"


def test_leagues_are_not_mixed_and_those_behind_are_told_apart():
    vanilla = answers(0.4)
    best = np.maximum(vanilla, answers(0.6, seed=7))
    close = best.copy()
    close[:3] = 0
    right = {
        "vanilla": vanilla,
        "best": best,
        "close": close,
        "far": np.maximum(vanilla, answers(0.2, seed=8)),
        "other": np.ones_like(vanilla),
    }
    leagues = [(name, "given") for name in ("best", "close", "far")]
    table = table_of_methods(rows(right, records=leagues), {})
    assert table.best("given").name == "best"
    assert table.best("none").name == "other"
    assert not table.score("close").behind.above_zero
    assert table.score("far").behind.above_zero
    assert table.score("best").behind is None
    said = " ".join(sentences(table))
    assert "Not told apart from it: CLOSE." in said
    assert [one.league for one in table.scores] == ["given"] * 3 + ["none"] * 2


def test_a_control_is_never_the_best_and_takes_no_part_in_the_correction():
    vanilla = answers(0.5)
    good = np.maximum(vanilla, answers(0.3, seed=1))
    made = rows({"vanilla": vanilla, "good": good, "control": np.ones_like(vanilla)})
    made.records["control"]["control"] = True
    table = table_of_methods(made, {})
    assert table.best("none").name == "good"
    assert table.score("control").holm is None
    assert table.score("good").holm == pytest.approx(table.score("good").p_value)


def test_a_method_without_figures_has_its_reason():
    vanilla = answers(0.5)
    made = rows({"vanilla": vanilla})
    made.records["absent"] = record("absent", "none", "It needs a library.")
    table = table_of_methods(made, {})
    assert table.score("absent").reason == "It needs a library."
    assert table.score("absent").accuracy is None
    assert without_figures(table) == ["ABSENT (absent): It needs a library."]
    assert len(lines(table)) == 1
