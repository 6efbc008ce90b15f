"""Tests, corrections, layers, languages and claims against cases worked out or built by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosslatent.analysis import Headline, RunSummary, declaration, summarise
from crosslatent.analysis.across_runs import ModuleSample, judge_modules
from crosslatent.analysis.data import weigh
from crosslatent.analysis.headline import judge
from crosslatent.analysis.inference import corrected
from crosslatent.analysis.language_traits import spearman, text_overlap
from crosslatent.analysis.typology import resource_class
from crosslatent.stats import METHOD
from support.runs import Record, item, row, write_run

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def summary_of(path: Path, items: list[Record], rows: list[Record], **manifest: Any) -> RunSummary:
    return summarise([write_run(path / "run", items, rows, **manifest)]).runs[0]


def sweep(name: str, solved: str, control: str = "none", **changes: Any) -> Iterator[Record]:
    """Rows of the pairs 0->0, 0->1, 1->0, 1->1; "1" = right, "0" = wrong, "." = not run."""
    for (source, target), cell in zip(PAIRS, solved, strict=True):
        if cell != ".":
            yield row(name, control, cell == "1", source=source, target=target, **changes)


def bounded(path: Path, controls: dict[str, float], facts: int = 40, **changes: Any) -> RunSummary:
    """A run in which all unions are right, and those of each control for a share of the facts."""
    names = [f"q{k:02d}" for k in range(facts)]
    rows = [row(name, "vanilla", False) for name in names]
    for place, name in enumerate(names):
        rows += sweep(name, "0100")
        for control, share in controls.items():
            solved = "0010" if place < share * facts else "0000"
            kind, _, stratum = control.partition("/")
            donor = {"donor": names[place - 1]} if stratum else {}
            rows += sweep(name, solved, kind, stratum=stratum or None, **donor)
    answers = itertools.cycle(["(1)", "(2)"])
    items = [item(name, **({"answer": next(answers)} | changes)) for name in names]
    return summary_of(path, items, rows)


def test_upper_bound_stands_against_the_control_that_leaves_least(tmp_path: Path) -> None:
    shares = {"noise": 0.5, "mean": 0.8, "self": 0.25, "shuffled/same_answer": 1.0}
    over = bounded(tmp_path, shares | {"paraphrase": 1.0}).over_controls[0]
    assert over.strongest.control == "mean"
    assert over.strongest.difference.value == pytest.approx(0.2)
    assert [rival.control for rival in over.rivals] == ["mean", "noise", "self"]
    assert over.not_run == ["shuffled/any"], "one stratum is not enough to draw blindly"
    # Eight facts differ, all in one direction: 2 of their 2^8 patterns are as far out.
    assert over.p_value == over.strongest.test.p_two_sided == pytest.approx(2 / 2**8)


def test_a_pair_on_the_diagonal_is_shown_above_vectors_of_the_prompt_itself(tmp_path: Path) -> None:
    """Such as the effect of the shipped model, which is at 0->0 alone."""
    rows = []
    for place in range(30):
        name, known = f"q{place}", place < 10
        rows.append(row(name, "vanilla", known))
        rows += sweep(name, "1000")
        rows += sweep(name, "1001" if known else "0000", "self")
        rows += sweep(name, "0110" if place < 9 else "0000", "noise")
    over = summary_of(tmp_path, [item(f"q{k}") for k in range(30)], rows).over_controls[0]
    assert (over.strongest.control, over.strongest.true.value) == ("self", 1.0)
    assert over.strongest.difference.value == pytest.approx(20 / 30)
    assert over.strongest.difference.above_zero


def test_an_upper_bound_that_is_luck_does_not_beat_its_control(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for place in range(60):
        rows.append(row(f"q{place}", "vanilla", False))
        for control in ("none", "noise"):
            rows += sweep(f"q{place}", "".join("01"[rng.random() < 0.2] for _ in PAIRS), control)
    over = summary_of(tmp_path, [item(f"q{k}") for k in range(60)], rows).over_controls[0]
    assert over.p_value is not None
    assert over.p_value > 0.05
    assert not over.strongest.difference.above_zero


def test_one_repair_among_many_facts_shows_no_gain(tmp_path: Path) -> None:
    """Where nothing breaks all differences are 0 or 1, and still they are no shares."""
    items, rows = [], []
    for split, fact in product(("pilot", "final"), range(30)):
        name = f"{split}{fact:02d}"
        items.append(item(name, split=split))
        rows += [row(name, "vanilla", False), *sweep(name, "1100" if fact == 0 else "0000")]
        rows += sweep(name, "0000", "noise")
    run = summary_of(tmp_path, items, rows)
    test = next(t for t in run.picked[0].tests if t.split == "final")
    found = {
        "gain": test.gain,
        "control": test.controls[0].difference,
        "stronger": run.over_controls[0].strongest.difference,
        "versus": run.bounds_versus[0].overall.difference,
        **{f"layer {t.layer} {t.side}": t.difference for t in run.layer_tests},
        **{f"source {one.layer}": one.mean for one in run.layers[0].by_source},
    }
    assert not [name for name, one in found.items() if one.above_zero]
    assert {one.method for one in found.values()} == {METHOD}
    lows = [low for grid in run.grids for line in grid.gain_low for low in line]
    assert {low for low in lows if low is not None} == {0.0}


def test_equal_unions_have_no_p_value(tmp_path: Path) -> None:
    over = bounded(tmp_path, {"noise": 1.0, "mean": 0.5}).over_controls[0]
    assert (over.strongest.control, over.strongest.difference.value) == ("noise", 0)
    assert over.p_value is None


def test_blind_donor_weighs_unions_by_how_many_donors_each_stratum_holds() -> None:
    nan = np.nan
    shares = {
        "same_answer": np.array([0.25, 0.0, 1.0, nan, 0.5]),
        "same_symbol": np.array([0.25, 0.0, 0.0, nan, 0.0]),
        "different_answer": np.array([0.5, 1.0, 0.0, nan, 0.5]),
    }
    values = {
        "same_answer": np.array([[1.0], [nan], [0.0], [1.0], [nan]]),
        "same_symbol": np.array([[1.0], [nan], [nan], [1.0], [nan]]),
        "different_answer": np.array([[0.0], [1.0], [nan], [1.0], [1.0]]),
    }
    found = weigh(shares, values).ravel()
    assert found[:3].tolist() == [0.5, 1.0, 0.0]
    assert np.isnan(found[3:]).all()
    del values["same_symbol"], shares["same_symbol"]
    assert weigh(shares, values).ravel()[:3].tolist() == [0.25, 1.0, 0.0]


ANIMALS, PLACES = ["mammal", "bird"], ["Asia", "Africa"]


def symbols(path: Path, strata: dict[str, str], labels: list[str] | None) -> RunSummary:
    """Four questions with the answer "(1)", two on animals and two on places; by stratum, pairs."""
    rows = []
    for name in "abcd":
        rows += [row(name, "vanilla", False), *sweep(name, "1000")]
        for stratum, solved in strata.items():
            rows += sweep(
                name, solved, "shuffled", stratum=stratum, donor="a" if name > "a" else "b"
            )
    items = [item(name, labels=labels or (ANIMALS if name in "ab" else PLACES)) for name in "abcd"]
    return summary_of(path, items, rows)


def test_strata_of_donors_are_weighted_as_they_occur(tmp_path: Path) -> None:
    """Of the three donors of each question, one has its answer and two its symbol alone."""
    run = symbols(tmp_path, {"same_answer": "1000", "same_symbol": "0000"}, None)
    over = run.over_controls[0].strongest
    assert (over.control, over.union.value) == ("shuffled/any", pytest.approx(1 / 3))
    assert {name for bound in run.bounds_versus if (name := bound.stratum)} == {
        "same_answer", "same_symbol", "any",
    }  # fmt: skip


def test_runs_from_before_symbols_and_texts_were_told_apart_are_read_as_they_were(
    tmp_path: Path,
) -> None:
    run = symbols(tmp_path, {"same_answer": "1000"}, None)
    assert run.over_controls[0].strongest.union.value == 1.0, "every donor has the same option"


def test_blind_donor_stands_in_the_upper_bound(tmp_path: Path) -> None:
    strata = {"shuffled/same_answer": 1.0, "shuffled/different_answer": 0.0}
    run = bounded(tmp_path, strata, answer="(1)")
    # All questions have one answer, so every donor has the same one.
    assert run.over_controls[0].strongest.control == "shuffled/any"
    assert run.over_controls[0].strongest.union.value == 1.0
    assert {(b.control, b.stratum) for b in run.bounds_versus} >= {("shuffled", "any")}


def picked_run(path: Path, **manifest: Any) -> RunSummary:
    """Five languages with 12 pilot and 12 final facts; gains in four, one pilot fact in final."""
    items, rows = [], []
    for lang, repaired in (("sw", 12), ("hi", 9), ("id", 6), ("es", 6), ("de", 0)):
        for split in ("pilot", "final"):
            for fact in range(12):
                name = f"{split}{fact}{lang}"
                cluster = "pilot0" if fact == 0 else f"{split}{fact}"
                items.append(item(name, lang=lang, split=split, cluster=cluster))
                rows.append(row(name, "vanilla", False))
                right = split == "pilot" or fact < repaired
                rows += sweep(name, "1000" if right else "0000")
    return summary_of(path, items, rows, **manifest)


def languages_alike(path: Path, languages: str, facts: int = 6, times: int = 1) -> RunSummary:
    """Facts asked in several languages, all repaired in all: the facts are all there is."""
    items, rows = [], []
    for split in ("pilot", "final"):
        for lang, fact, time in product(languages.split(), range(facts), range(times)):
            name = f"{split}{fact}{lang}{time}"
            items.append(item(name, lang=lang, split=split, cluster=f"{split}{fact}"))
            rows += [row(name, "vanilla", False), *sweep(name, "1000")]
    headline = Headline("ffn", "pilot", "final")
    return summary_of(path, items, rows, headline=declaration(headline))


@pytest.mark.parametrize(
    ("languages", "times", "method"),
    [
        ("sw", 1, "exact McNemar"),
        ("sw", 3, "permutation by cluster"),
        ("sw hi", 1, "permutation by cluster"),
        ("sw hi id es", 1, "permutation by cluster"),
        ("sw hi id es", 2, "permutation by cluster"),
    ],
)
def test_a_claim_has_one_p_value_and_it_counts_facts(
    tmp_path: Path, languages: str, times: int, method: str
) -> None:
    run = languages_alike(tmp_path, languages, times=times)
    by_facts = 2 / 2**6
    (pick,) = [pick for pick in run.picked if pick.pooling == "pooled"]
    tests = [test for test in pick.tests if test.split == "final"]
    assert {test.p_value for test in tests} == {by_facts}
    assert tests[0].p_method == method
    result, reason = judge(Headline("ffn", "pilot", "final"), run)
    assert result is not None, reason
    assert (result.p_value, result.p_method) == (by_facts, method)
    effects = [run.significance[0].overall, *run.significance[0].by_language]
    assert {effect.test.p_value for effect in effects} == {by_facts}
    assert [effect.method for effect in effects] == [test.p_method for test in tests]


def test_languages_are_corrected_and_shared_facts_counted(tmp_path: Path) -> None:
    test = picked_run(tmp_path).significance[0]
    effects = {effect.lang: effect for effect in test.by_language}
    raw = {lang: effect.test.p_value for lang, effect in effects.items()}
    assert raw == {"sw": 2 / 2**12, "hi": 2 / 2**9, "id": 2 / 2**6, "es": 2 / 2**6, "de": None}
    assert effects["sw"].test.holm == pytest.approx(4 * 2 / 2**12)
    assert effects["hi"].test.holm == pytest.approx(3 * 2 / 2**9)
    assert effects["id"].test.benjamini_hochberg == pytest.approx(2 / 2**6)
    assert effects["de"].test.holm is None
    assert {effect.test.tests for effect in effects.values()} == {4}, "de changed nothing: no test"
    assert effects["sw"].cohens_h.value == pytest.approx(np.pi)
    assert effects["de"].odds_ratio.value is None
    assert test.shared is not None
    assert (test.shared.questions, test.shared.clusters) == (5, 1)
    assert test.shared.without is not None
    assert test.shared.without.gain.n == 55


def test_the_declared_comparison_is_not_corrected(tmp_path: Path) -> None:
    headline = declaration(Headline())
    declared = picked_run(tmp_path / "a", headline=headline).significance[0]
    assert declared.declared
    assert (declared.overall.test.holm, declared.overall.test.family) == (None, "")
    assert all(effect.test.family for effect in declared.by_language)
    other = picked_run(tmp_path / "b").significance[0]
    assert not other.declared
    assert other.overall.test.holm == other.overall.test.p_value


def test_undefined_tests_do_not_count_in_a_family() -> None:
    found = corrected([0.01, None, 0.04], "f")
    assert [test.holm for test in found] == [0.02, None, 0.04]
    assert [test.benjamini_hochberg for test in found] == [0.02, None, 0.04]
    assert corrected([], "f") == []


def test_layers_that_gain_are_found(tmp_path: Path) -> None:
    names = [f"q{k}" for k in range(20)]
    rows = [row(name, "vanilla", False) for name in names]
    for place, name in enumerate(names):
        rows += sweep(name, "1100" if place % 4 else "1000")
        rows += sweep(name, "0000", "noise")
    run = summary_of(tmp_path, [item(name) for name in names], rows)
    profile = run.layers[0]
    assert [one.mean.value for one in profile.by_source] == [0.875, 0.0]
    assert profile.by_source[0].margin.value == 0.875
    assert profile.by_source[0].margin.above_zero
    assert profile.by_source[1].margin.below_zero
    assert profile.effective_sources == 1.0
    assert profile.source_share is not None
    assert profile.source_share > 0.9
    tests = {(test.side, test.layer): test.test for test in run.layer_tests}
    first, last = tests["source", 0], tests["source", 1]
    assert first.p_value is not None
    assert first.holm == pytest.approx(3 * first.p_value)
    assert last.p_value is None, "neither side ever solves anything there"


def test_layers_without_gain_have_no_concentration(tmp_path: Path) -> None:
    names = [f"q{k}" for k in range(4)]
    rows = [one for name in names for one in (row(name, "vanilla", True), *sweep(name, "1111"))]
    profile = summary_of(tmp_path, [item(name) for name in names], rows).layers[0]
    assert (profile.effective_sources, profile.source_share) == (None, None)


def sample(kind: str, attn: np.ndarray, ffn: np.ndarray, **changes: Any) -> ModuleSample:
    clusters = [f"c{k}" for k in range(len(attn))]
    gains = {"all_pairs": (attn, ffn), "picked_pair": (attn, ffn)}
    return replace(ModuleSample(kind, kind, "m", clusters, gains), **changes)


def gains(rng: np.random.Generator, share: float, n: int = 80) -> np.ndarray:
    return (rng.random(n) < share).astype(np.float64)


@pytest.mark.parametrize(
    ("understanding", "culture", "verdict"),
    [
        ((0.7, 0.2), (0.2, 0.7), "confirmed"),
        ((0.2, 0.7), (0.2, 0.7), "refuted"),
        ((0.7, 0.2), (0.4, 0.4), "undecided"),
    ],
)
def test_the_claim_on_modules_comes_out_as_built(
    understanding: tuple[float, float], culture: tuple[float, float], verdict: str
) -> None:
    rng = np.random.default_rng(3)
    samples = [
        sample(kind, *(gains(rng, share) for share in shares))
        for kind, shares in (("understanding", understanding), ("culture", culture))
    ]
    claim = judge_modules(samples, 0)
    assert claim is not None
    assert claim.verdict == verdict
    assert claim.missing == []


def test_modules_that_are_equal_within_the_margin_refute_the_claim() -> None:
    same = gains(np.random.default_rng(0), 0.5, 500)
    other = same.copy()
    other[0] = 1 - other[0]
    claim = judge_modules([sample("understanding", same, other)], 0)
    assert claim is not None
    assert [one.outcome for one in claim.halves[0].measures] == ["equal", "equal"]
    assert (claim.halves[0].verdict, claim.verdict) == ("refuted", "refuted")


def test_what_the_claim_lacks_is_said() -> None:
    rng = np.random.default_rng(3)
    alone = sample("understanding", gains(rng, 0.7), gains(rng, 0.2))
    claim = judge_modules([alone, replace(alone, run="x", gains={}, why_not="No attn.")], 0)
    assert claim is not None
    assert claim.halves[0].verdict == "confirmed"
    assert claim.verdict == "undecided"
    assert claim.missing == ["No attn.", "No run of a task of the type 'culture'."]
    assert judge_modules([replace(alone, type="generation")], 0) is None
    two = judge_modules([alone, replace(alone, model="other")], 0)
    assert two is not None
    assert two.verdict == "undecided"


def test_the_claim_keeps_its_level_where_there_is_nothing() -> None:
    rng = np.random.default_rng(7)
    decided = 0
    for seed in range(25):
        claim = judge_modules([sample("understanding", gains(rng, 0.5), gains(rng, 0.5))], seed)
        assert claim is not None
        decided += any(one.outcome in ("for", "against") for one in claim.halves[0].measures)
    assert decided <= 4, "5 % of 25 are 1.25; 5 or more come up once in 140 times"


def test_rank_correlation_is_exact_for_few_languages() -> None:
    rising = np.arange(5.0)
    found = spearman(rising, rising**2, 0)
    assert (found.rho, found.p_value, found.permutations) == (pytest.approx(1), 2 / 120, 120)
    assert spearman(rising, np.ones(5), 0).rho is None
    many = spearman(np.arange(30.0), np.arange(30.0), 0)
    assert many.p_value == pytest.approx(1e-4)


def test_resource_classes_and_text_overlap() -> None:
    assert [resource_class(code) for code in ("en", "zh-TW", "sw", "swh", "tl", "qu", "xx")] == [
        *(5, 5, 2, 2, 3, 1),
        None,
    ]
    assert text_overlap("abcd", "ABCE") == pytest.approx(1 / 3)
    assert text_overlap("ab", "abc") is None


def test_languages_are_compared_from_five_on(tmp_path: Path) -> None:
    run = picked_run(tmp_path)
    assert {one.lang: one.same_script for one in run.languages} == {
        **dict.fromkeys(("de", "es", "id", "sw"), True),
        "hi": False,
    }
    found = {one.trait: one for one in run.correlations if one.figure == "gain"}
    assert found["resource_class"].languages == 5
    assert found["resource_class"].rho is not None
    assert found["text_overlap"].missing == "All languages are alike in it."
    assert all(one.missing or one.test.holm is not None for one in run.correlations)


def test_fewer_languages_have_no_correlation_and_say_so(tmp_path: Path) -> None:
    rows, items = [], []
    for split in ("pilot", "final"):
        for lang in ("sw", "hi"):
            name = f"{split}{lang}"
            items.append(item(name, lang=lang, split=split))
            rows += [row(name, "vanilla", False), *sweep(name, "1000")]
    run = summary_of(tmp_path, items, rows)
    assert all(one.rho is None and one.missing for one in run.correlations)
    assert "Only 2 languages" in run.correlations[-1].missing


def test_a_clear_winner_wins_again_and_halves_agree(tmp_path: Path) -> None:
    names = [f"q{k}" for k in range(12)]
    rows = [
        one
        for place, name in enumerate(names)
        for one in (
            row(name, "vanilla", False),
            *sweep(name, f"0{place % 2}1{int(place % 3 == 0)}"),
        )
    ]
    run = summary_of(tmp_path, [item(name) for name in names], rows)
    pick = run.pick_stability[0]
    assert pick.pair == pick.winners[0][:2] == (1, 0)
    assert pick.share == pick.winners[0][2] > 0.99
    halves = run.grid_stability[0].halves
    assert halves.value is not None
    assert halves.value > 0.5


def test_a_run_made_again_agrees_with_itself(tmp_path: Path) -> None:
    names = [f"q{k}" for k in range(8)]
    items = [item(name) for name in names]
    rows = [one for name in names for one in (row(name, "vanilla", False), *sweep(name, "0110"))]
    rows += sweep("q0", "0000", "noise")
    one = write_run(tmp_path / "one", items, rows)
    other = write_run(tmp_path / "other", items, rows, spec={"seed": 1})
    repeat = summarise([one, other]).repeats[0]
    assert repeat.differs == "seed 0 and 1"
    assert repeat.agreement.value == pytest.approx(1)
    assert (repeat.largest, repeat.agreement.cells) == (0, 4)
    assert repeat.picked is not None
    assert repeat.picked[0] == repeat.picked[1]
    different = write_run(tmp_path / "else", items, rows, task={"name": "other"})
    assert summarise([one, different]).repeats == []


def test_modules_are_judged_from_run_folders(tmp_path: Path) -> None:
    items, rows = [], []
    for split in ("pilot", "final"):
        for fact in range(10):
            name = f"{split}{fact}"
            items.append(item(name, split=split))
            rows.append(row(name, "vanilla", False))
            rows += sweep(name, "1100", component="attn")
            rows += sweep(name, "0000", component="ffn")
    task = {"name": "t", "type": "understanding", "rule": "option"}
    claim = summarise([write_run(tmp_path / "run", items, rows, task=task)]).modules
    assert claim is not None
    half = claim.halves[0]
    assert [one.difference.value for one in half.measures] == [0.5, 1.0]
    assert [one.difference.n for one in half.measures] == [20, 10]
    assert half.verdict == "confirmed"
    assert claim.verdict == "undecided"
