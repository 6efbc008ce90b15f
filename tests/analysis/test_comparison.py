"""Two runs side by side: differences that are known by construction, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

import crosslatent as xl
from crosslatent.analysis import Headline, compare, declaration, summarise
from crosslatent.analysis.comparison import Comparison
from crosslatent.analysis.run_differences import RunDifference
from crosslatent.core.errors import UsageError
from support.runs import item, row, write_run
from support.two_runs import PAIR, questions, run_of


def of(found: Comparison, measure: str, component: str | None = "ffn") -> RunDifference:
    (one,) = (d for d in found.differences if (d.measure, d.component) == (measure, component))
    return one


def never(number: int) -> bool:
    return False


def test_differences_are_those_that_were_built_in(tmp_path: Path) -> None:
    """Of 60 tested questions, A repairs every second, B all but each fifth."""
    items = questions(90)
    first = run_of(tmp_path / "a", items, lambda k: k % 2 == 0)
    other = {"name": "other", "n_layers": 2}
    second = run_of(tmp_path / "b", items, lambda k: k % 5 != 0, model=other)
    found = compare(first, second)
    assert (found.shared.n, found.shared.of_first, found.shared.of_second) == (90, 90, 90)
    gain = of(found, "picked_pair")
    assert gain.pairs == (PAIR, PAIR)
    assert (gain.first.value, gain.second.value) == (0.5, 0.8)
    assert gain.difference.value == pytest.approx(0.3)
    assert (gain.difference.n, gain.outcome) == (60, "more")
    # Right unmodified: none of either model. Solved above noise: what the pair repairs, of 90.
    accuracy = of(found, "accuracy", None)
    assert (accuracy.difference.value, accuracy.outcome) == (0, "same")
    over = of(found, "over_control")
    assert over.controls == ("noise", "noise")
    assert over.difference.value == pytest.approx(0.3)
    assert of(found, "upper_bound").difference.value == pytest.approx(0.3)
    assert of(found, "all_pairs").difference.value == pytest.approx(0.15)
    back = compare(second, first)
    assert of(back, "picked_pair").outcome == "less"
    assert of(back, "picked_pair").difference.value == pytest.approx(-0.3)


def test_a_model_that_is_right_on_the_same_questions_is_not_compared_unmodified(
    tmp_path: Path,
) -> None:
    items = questions(30)
    known = lambda k: k % 4 == 0  # noqa: E731
    first = run_of(tmp_path / "a", items, never, vanilla=known)
    second = run_of(tmp_path / "b", items, never, vanilla=known)
    third = run_of(tmp_path / "c", items, never, vanilla=lambda k: k % 4 == 1)
    found = compare(first, second)
    assert not any(one.component is None for one in found.differences)
    assert any("not compared" in sentence for sentence in found.missing)
    changed = of(compare(first, third), "accuracy", None)
    assert changed.difference.value == 0
    assert changed.difference.low is not None


def test_maps_and_answers_say_where_runs_differ(tmp_path: Path) -> None:
    items = questions(30)
    first = run_of(tmp_path / "a", items, lambda k: k < 20)
    second = run_of(tmp_path / "b", items, lambda k: k != 15, vanilla=lambda k: k == 29)
    found = compare(first, second)
    (grid,) = found.maps
    assert grid.difference[0][PAIR[1]] == pytest.approx((29 - 1 - 20) / 30)
    assert grid.difference[0][0] == pytest.approx(-1 / 30)  # one more is right unmodified
    assert grid.difference[1] == [None, None]
    unmodified, picked = found.counts
    assert (unmodified.n, unmodified.different, unmodified.became_right) == (30, 1, 1)
    assert (picked.n, picked.different) == (20, 11)
    assert (picked.became_right, picked.became_wrong) == (10, 1)
    wrong = next(one for one in found.answers if one.change == "became wrong")
    assert (wrong.item, wrong.question, wrong.first, wrong.second) == (
        "q0015", "Swali q0015:", "(1)", "(2)",
    )  # fmt: skip
    frame = found.to_pandas()
    assert list(frame.measure) == [one.measure for one in found.differences]
    row_of_gain = frame[frame.measure == "picked_pair"].iloc[0]
    assert row_of_gain.difference == of(found, "picked_pair").difference.value


def naive_interval(gaps: dict[str, list[float]]) -> tuple[float, float]:
    """Clusters drawn again, one resample at a time, with quantile levels moved outward."""
    names, size = sorted(gaps), len(gaps)
    draws = np.random.default_rng(0).multinomial(size, [1 / size] * size, size=10_000)
    means = []
    for times in draws:
        drawn = [gap for name, k in zip(names, times, strict=True) for gap in gaps[name] * int(k)]
        means.append(sum(drawn) / len(drawn))
    tail = norm.cdf(-np.sqrt(size / (size - 1)) * t.ppf(0.975, size - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def test_intervals_resample_facts(tmp_path: Path) -> None:
    """Three languages of each fact: in A the first two are repaired, in B what the fact says."""
    items = [
        item(
            f"f{fact}{lang}", lang=lang, cluster=f"f{fact}", split="pilot" if fact < 4 else "final"
        )
        for fact in range(16)
        for lang in ("es", "hi", "sw")
    ]
    rights = [lambda k: k % 3 < 2, lambda k: (k // 3) % 4 != 1 or k % 3 == 0]
    runs = [run_of(tmp_path / name, items, one) for name, one in zip("ab", rights, strict=True)]
    gaps: dict[str, list[float]] = {}
    for number, one in enumerate(items):
        if one["split"] == "final":
            gap = float(rights[1](number)) - float(rights[0](number))
            gaps.setdefault(one["cluster"], []).append(gap)
    found = of(compare(*runs), "picked_pair")
    low, high = naive_interval(gaps)
    assert found.difference.clusters == 12
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=1e-12)
    assert {lang: one.value for lang, one in found.by_language.items()} == pytest.approx(
        {"es": 0.0, "hi": -0.25, "sw": 0.75}
    )


def null_runs(tmp_path: Path, n: int, share: float) -> Comparison:
    """Two runs that repair equally often; each is right by luck where the other is wrong."""
    draw = np.random.default_rng(3)
    right = draw.random((2, n)) > share
    items = questions(n)
    names = ("a", "b")
    sides = [
        run_of(tmp_path / name, items, lambda k, own=own: bool(own[k]))
        for name, own in zip(names, right, strict=True)
    ]
    return compare(*sides)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_of_a_true_null_few_questions_decide_nothing(tmp_path: Path, share: float) -> None:
    gain = of(null_runs(tmp_path, 36, share), "picked_pair")
    assert gain.outcome == "undecided"
    assert gain.visible is not None
    assert gain.visible > gain.margin


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_of_a_true_null_many_questions_show_that_nothing_matters(
    tmp_path: Path, share: float
) -> None:
    gain = of(null_runs(tmp_path, 900, share), "picked_pair")
    assert gain.outcome == "same"
    assert gain.visible is not None
    assert gain.visible < gain.margin


def test_one_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", questions(9), never)
    copy = shutil.copytree(run, tmp_path / "copy")
    (link := tmp_path / "link").symlink_to(run)
    for other, what in (
        (run, "the same folder"),
        (link, "the same folder"),
        (copy, "copies of one"),
    ):
        with pytest.raises(UsageError, match=what):
            compare(run, other)
    with pytest.raises(UsageError, match="give two runs to compare"):
        summarise([run, copy])


def test_runs_without_a_common_question_are_refused(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", questions(9), never)
    second = run_of(tmp_path / "b", questions(9, 50), never)
    with pytest.raises(UsageError, match=r"no question is in both runs .*9 of 'a', 9 of 'b'"):
        compare(first, second)
    summary = summarise([first, second])
    assert summary.comparison is None
    assert summary.comparison_missing is not None
    with pytest.raises(UsageError, match="share questions"):
        summarise([first, second], insist=True)
    with pytest.raises(UsageError, match="to compare is 1: give two"):
        summarise([first], insist=True)
    third = run_of(tmp_path / "c", questions(9), never)
    with pytest.raises(UsageError, match="to compare is 3"):
        summarise([first, second, third], insist=True)
    assert summarise([first, second, third]).comparison is None


def test_questions_are_the_same_by_their_texts_and_gold_answers(tmp_path: Path) -> None:
    """Ids and token counts may differ, golds may not; ids alone make no question the same."""
    items = questions(12)
    others: list[dict[str, Any]] = [
        {**one, "item": f"x{number}", "main_length": 9} for number, one in enumerate(items)
    ]
    others[0] |= {"answer": "(2)"}
    others[1] |= {"item": items[1]["item"], "main": "Another question:"}
    others[2] |= {"aux": "Translated by machine:"}
    first = run_of(tmp_path / "a", items, never, model={"n_layers": 2, "tokenizer_hash": "1"})
    second = run_of(tmp_path / "b", others, never, model={"n_layers": 2, "tokenizer_hash": "2"})
    found = compare(first, second)
    assert (found.shared.n, found.shared.other_counterpart) == (10, 1)
    assert (found.shared.other_tokens, found.shared.same_tokenizer) == (10, False)


def test_a_question_that_is_asked_twice_is_paired_once(tmp_path: Path) -> None:
    twice = [item("a"), item("b", main="Swali a:", aux="Question a:"), item("c")]
    rows = [row(one["item"], "vanilla") for one in twice]
    first = write_run(tmp_path / "a", twice, rows, created="1")
    second = write_run(tmp_path / "b", twice[:1], rows[:1], created="2")
    assert compare(first, second).shared.n == 1


def test_what_only_one_run_has_is_said(tmp_path: Path) -> None:
    ours = [*questions(6, strata={"kind": "old"}), *questions(6, 20, lang="hi")]
    theirs = [*questions(6, strata={"kind": "old"}), *questions(3, 40, strata={"kind": "new"})]
    found = compare(
        run_of(tmp_path / "a", ours, never, spec={"strength": 1.0}),
        run_of(tmp_path / "b", theirs, never, spec={"strength": 0.5}),
    )
    assert found.differs == ["strength: 1.0 and 0.5"]
    assert "Only A has the languages hi." in found.missing
    assert "Only B has the values of the stratum kind new." in found.missing


def test_models_with_other_layers_have_no_common_pairs(tmp_path: Path) -> None:
    items = questions(30)
    first = run_of(tmp_path / "a", items, lambda k: k % 2 == 0)
    second = run_of(tmp_path / "b", items, lambda k: k % 2 == 0, n_layers=3)
    found = compare(first, second)
    assert not found.maps
    assert any("A has 2 layers and B 3" in sentence for sentence in found.missing)
    assert of(found, "picked_pair").difference.value == 0


def test_without_splits_each_half_has_the_pair_of_the_other(tmp_path: Path) -> None:
    items = questions(80, splits=False)
    first = run_of(tmp_path / "a", items, lambda k: k % 2 == 0)
    second = run_of(tmp_path / "b", items, lambda k: True)
    found = compare(first, second)
    gain = of(found, "picked_pair")
    assert (gain.difference.n, gain.difference.value) == (80, 0.5)
    assert any("either half of the shared facts" in sentence for sentence in found.missing)


HEADLINE = declaration(Headline(component="ffn", least_gain=0.05, controls=("noise",)))


@pytest.mark.parametrize(
    ("n", "right", "verdict"),
    [
        (60, lambda k: k % 2 == 0, "replicated"),
        (600, never, "refuted"),
        (12, never, "undecided"),
        (24, lambda k: k % 12 == 0, "undecided"),
    ],
)
def test_a_declared_headline_on_other_questions(
    tmp_path: Path, n: int, right: Any, verdict: str
) -> None:
    first = run_of(tmp_path / "a", questions(60), lambda k: k % 3 > 0, headline=HEADLINE)
    second = run_of(tmp_path / "b", questions(n, 1000), right, headline=HEADLINE)
    found = compare(first, second).replication
    assert found is not None
    assert (found.verdict, found.pair, found.own_pair) == (verdict, PAIR, False)
    assert found.gain.n == n
    assert found.declared_again
    assert found.first is not None
    assert found.first.value == pytest.approx(sum(k % 3 > 0 for k in range(20, 60)) / 40)


def test_another_model_repeats_a_headline_with_its_own_pair(tmp_path: Path) -> None:
    """It is picked on its own pilot questions, which are left out; a control is missing."""
    named = declaration(Headline(least_gain=0.05, controls=("noise", "self")))
    first = run_of(tmp_path / "a", questions(60), lambda k: k % 3 > 0, headline=named)
    other = {"name": "other", "n_layers": 3}
    second = run_of(tmp_path / "b", questions(60, 1000), lambda k: True, n_layers=3, model=other)
    found = compare(first, second).replication
    assert found is not None
    assert (found.own_pair, found.declared_again, found.gain.n) == (True, False, 40)
    assert (found.not_run, found.verdict) == (["self"], "undecided")
    with pytest.raises(UsageError, match="Nothing is compared"):  # B declares nothing
        compare(second, first)


def test_the_declared_pair_is_compared_on_its_own_split(tmp_path: Path) -> None:
    items = questions(60)
    first = run_of(tmp_path / "a", items, lambda k: k % 2 == 0, headline=HEADLINE)
    second = run_of(tmp_path / "b", items, lambda k: True)
    gain = of(compare(first, second), "declared_pair")
    assert (gain.pairs, gain.difference.n) == ((PAIR, PAIR), 40)
    assert gain.difference.value == pytest.approx(0.5)
    # A headline is not repeated on the questions that it was declared on.
    assert compare(first, second).replication is None


def test_from_python(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", questions(30), lambda k: k % 2 == 0)
    second = run_of(tmp_path / "b", questions(30), lambda k: True)
    by_path, by_run = (
        xl.compare_runs(first, str(second)),
        xl.compare_runs(xl.Run(first), xl.Run(second)),
    )
    assert isinstance(by_path, xl.Comparison)
    assert by_path == by_run
