"""The study's choice between settings, and what its table says where nothing happened."""

from __future__ import annotations

import pytest

from crosslatent.lens.evaluation.evaluated_conditions import Transplanted, Tuned
from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation
from crosslatent.stats import Estimate
from crosslatent.tasks import load_task
from recipes.lens_study.protocol import SEEDS, TASK, methods
from recipes.lens_study.study import NOTHING, Chosen, Study, _rows
from recipes.lens_study.table import bound, markdown

FACTS = 145


def estimate(value, low=None, high=None):
    return Estimate(value, low, high, 200, FACTS, 0)


def result(name, target, central, **changes):
    kind = "unmodified" if name == "unmodified" else "tuned"
    accuracy = {ALL: estimate(target), "sw": estimate(target)}
    if central is not None:
        accuracy["en"] = estimate(central)
    fields = {
        "change": {}, "repaired": {}, "broken": {}, "p_value": {}, "fidelity": {},
        "fidelity_change": {}, "kl": None, "seconds": 0.0,
    }  # fmt: skip
    return ConditionResult(name=name, kind=kind, about="", accuracy=accuracy, **(fields | changes))


def evaluation_of(*results):
    return Evaluation(
        task="demo-facts", splits=[], rule="option", central="en", languages=["sw"], model={},
        conditions=list(results), questions={"sw": 200, "en": FACTS}, central_texts=2, seed=0,
        failures={}, versions={}, created="", command=[],
    )  # fmt: skip


@pytest.fixture
def study(monkeypatch):
    """A study of which only the answers are made up: target and central accuracy by setting."""
    made = object.__new__(Study)
    made.task = load_task(TASK)
    shown = {"unmodified": (0.5, 1.0)}

    def judged(conditions, task, **_):
        named = [result("unmodified", *shown["unmodified"])]
        named += [result(one.name, *shown[one.name]) for one in conditions]
        return evaluation_of(*named)

    monkeypatch.setattr(made, "judged", judged, raising=False)
    made.shown = shown
    return made


def best(study, **shown):
    study.shown.update(shown)
    return study._best([Tuned(name, "x") for name in shown])


def test_the_best_that_keeps_the_central_language(study):
    found = best(study, a=(0.7, 0.5), b=(0.6, 0.99), c=(0.55, 1.0))
    assert (found.at, found.target, found.central) == (1, 0.6, 0.99)
    assert found.better


def test_doing_nothing_is_a_candidate_and_wins_ties(study):
    assert not best(study, a=(0.5, 1.0), b=(0.9, 0.1)).better
    assert best(study, a=(0.5, 1.0), b=(0.9, 0.1)).at == 0
    assert best(study, a=(0.505, 1.0)).better


def test_with_no_setting_that_keeps_it_the_one_that_loses_least(study):
    found = best(study, a=(0.7, 0.5), b=(0.4, 0.8), c=(0.6, 0.7))
    assert (found.at, found.central) == (1, 0.8)


def test_what_was_not_measured_decides_nothing(study):
    study.shown.update(t=(0.9, None))
    assert study._best([Transplanted("t", "ffn", 0, 0)]).central is None


def test_where_nothing_won_the_best_that_does_something_stands_beside(study):
    worse = best(study, a=(0.45, 1.0))

    def maker(name):
        return lambda _: Tuned(name, "x")

    rows = list(_rows("Lens, chosen", "rate 1", 3, worse, maker, seeded=True))
    assert [(one.name, one.setting, one.target) for one in rows] == [
        ("Lens, chosen", NOTHING, 0.5),
        ("Lens, best that does something", "rate 1", 0.45),
    ]
    assert rows[0].make is None
    assert rows[1].make(0).name == "Lens, best that does something"
    fixed = list(_rows("Lens, settings of the paper", "rate 1", 1, worse, maker, seeded=True))
    assert [one.name for one in fixed] == ["Lens, settings of the paper"]


def test_every_setting_is_trained_once(study, monkeypatch):
    trained = []
    monkeypatch.setattr(study, "_train", lambda *asked: trained.append(asked) or len(trained))
    study._trained = {}
    specs = [(method, spec) for method in methods() for spec in method.settings]
    first = [study.trained(method, spec) for method, spec in specs]
    assert [study.trained(method, spec) for method, spec in specs] == first
    assert len(trained) == len(set(first)) == 24  # two settings of the paper's kind are shared


def test_the_bound_is_the_exact_one():
    for facts in (5, 50, FACTS):
        # A share of changing facts that large is seen nowhere in 5 % of samples.
        assert (1 - bound(facts)) ** facts == pytest.approx(0.05)
    assert bound(FACTS) == pytest.approx(3 / FACTS, rel=0.02)


def table(text):
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0]: row for row in reversed(cells)}


def test_the_table_says_what_was_not_measured_what_did_nothing_and_how_sure_that_is():
    still = dict.fromkeys((ALL, "sw", "en"), 0)
    same = dict.fromkeys(still, estimate(0.0))
    lens = result("Lens", 0.545, 1.0, change=same, repaired=still, broken=still, kl=estimate(1e-7))
    moved = dict.fromkeys((ALL, "sw"), estimate(0.405, 0.335, 0.475))
    swapped = dict.fromkeys((ALL, "sw"), 2)
    carried = result("carried", 0.95, None, change=moved, repaired=swapped, broken=swapped)
    even = result("even", 0.545, 1.0, change=same, repaired=swapped | {"en": 1},
                  broken=swapped | {"en": 1})  # fmt: skip
    first = evaluation_of(result("unmodified", 0.545, 1.0), lens, carried, even)
    rows = [
        Chosen("steering, chosen", NOTHING, 3, 0.5, 1.0, None, seeded=False),
        *(
            Chosen(one.name, "x", 1, 0.5, 1.0, lambda _: Tuned("x", "x"), seeded=False)
            for one in (lens, carried, even)
        ),
    ]
    text = markdown(rows, {SEEDS[0]: first})
    found = table(text)
    sure = "+0.0, at most 2.0 points either way"
    assert found["Lens"][3:8] == [sure, "0 / 0", "100.0", sure, "1.0e-07"]
    assert found["carried"][3:8] == ["+40.5 [+33.5, +47.5]", "2 / 2", *["not measured"] * 3]
    assert found["steering, chosen"][1:8] == [
        NOTHING,
        "54.5",
        "none",
        "0 / 0",
        "100.0",
        "none",
        "0",
    ]
    # Answers that change and cancel out are no proof that nothing changes.
    assert found["even"][3] == "+0.0"
    assert "English is at its ceiling" in text
    below = evaluation_of(result("unmodified", 0.545, 0.99), lens, carried, even)
    assert "ceiling" not in markdown(rows, {SEEDS[0]: below})
