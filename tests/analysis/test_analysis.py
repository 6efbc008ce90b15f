"""The summary of a run folder against numbers worked out by hand on a few questions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crosslatent.analysis import (
    Headline,
    RunSummary,
    Summary,
    declaration,
    summarise,
    to_json,
)
from crosslatent.analysis.accuracy import Accuracy
from crosslatent.analysis.bounds import BoundVersus
from crosslatent.analysis.figure_tables import upper_bounds
from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import Picked
from crosslatent.core.errors import CrosslatentError, RunFolderError
from crosslatent.runs.reader import RunReader
from support.runs import Record, item, row, write_run
from support.simulated import simulate

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def summary_of(path: Path, items: list[Record], rows: list[Record], **manifest: Any) -> RunSummary:
    return summarise([write_run(path / "run", items, rows, **manifest)]).runs[0]


def sweep(name: str, solved: str, control: str = "none", **changes: Any) -> Iterator[Record]:
    """Rows of the pairs 0->0, 0->1, 1->0, 1->1; "1" = right, "0" = wrong, "." = not run."""
    for (source, target), cell in zip(PAIRS, solved, strict=True):
        if cell != ".":
            yield row(name, control, cell == "1", source=source, target=target, **changes)


def accuracy(run: RunSummary, name: str, split: str = ALL, lang: str = ALL) -> Accuracy:
    return next(a for a in run.accuracy if (a.name, a.split, a.lang) == (name, split, lang))


def versus(run: RunSummary, control: str) -> BoundVersus:
    return next(b for b in run.bounds_versus if b.control == control)


def pooled(run: RunSummary) -> Picked:
    return next(pick for pick in run.picked if pick.pooling == "pooled")


def test_accuracy_by_language_and_split_with_unparseable_outputs(tmp_path: Path) -> None:
    items = [
        item("a", lang="sw"),
        item("b", lang="hi"),
        item("c", lang="hi", split="final"),
        item("d", lang="hi", options=None, answer="Asia"),
    ]
    rows = [
        row("a", "vanilla", True),
        row("b", "vanilla", False, prediction=None),
        row("c", "vanilla", False),
        row("d", "vanilla", True),
        row("a", "translate_test", True),
        row("b", "translate_test", True),
    ]
    run = summary_of(tmp_path, items, rows)
    assert accuracy(run, "vanilla").accuracy.value == 0.5
    assert accuracy(run, "vanilla", lang="hi").accuracy.value == pytest.approx(1 / 3)
    assert accuracy(run, "vanilla", "final", "hi").accuracy.value == 0
    unparseable = accuracy(run, "vanilla").unparseable
    assert unparseable is not None
    assert (unparseable.value, unparseable.n) == (pytest.approx(1 / 3), 3)
    translated = accuracy(run, "translate_test").accuracy
    assert (translated.value, translated.n) == (1.0, 2)


def test_the_surer_of_both_prompts_keeps_the_likelier_answer(tmp_path: Path) -> None:
    """Log-probabilities of "(1)", which is right, and "(2)", under main and under aux."""
    known = {
        "a": ([-2.0, -0.2], [-0.1, -3.0]),  # aux is surer, and right
        "b": ([-0.1, -3.0], [-0.9, -0.6]),  # main is surer, and right
        "c": ([-0.9, -0.6], [-3.0, -0.1]),  # aux is surer, and wrong; so is main
        "d": ([-0.6, -0.9], None),  # aux is not known
    }
    rows = []
    for name, sides in known.items():
        for control, scores in zip(("vanilla", "translate_test"), sides, strict=True):
            if scores is not None:
                right = scores[0] > scores[1]
                rows.append(row(name, control, right, option_scores=scores))
    run = summary_of(tmp_path, [item(name) for name in known], rows)
    found = accuracy(run, "surer").accuracy
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)


def test_an_answer_that_names_no_option_is_never_the_surer_one(tmp_path: Path) -> None:
    lost, sure = {"prediction": None, "option_scores": [-3.0, -0.1]}, [-0.6, -0.9]
    rows = [
        row("a", "vanilla", True, option_scores=sure),
        row("a", "translate_test", False, **lost),
        row("b", "vanilla", False, **lost),
        row("b", "translate_test", True, option_scores=sure),
    ]
    run = summary_of(tmp_path, [item("a"), item("b")], rows)
    assert accuracy(run, "surer").accuracy.value == 1.0


def test_the_margin_of_the_surer_prompt_is_fitted_on_the_pilot_split(tmp_path: Path) -> None:
    """Aux is always a little surer, and right only where it is much surer."""
    items, rows = [], []
    for split in ("pilot", "final"):
        for place in range(6):
            name, much = f"{split}{place}", place % 2 == 0
            items.append(item(name, split=split))
            rows.append(row(name, "vanilla", not much, option_scores=[-0.6, -0.9]))
            aux = [-0.01, -5.0] if much else [-0.8, -0.4]
            rows.append(row(name, "translate_test", much, option_scores=aux))
    run = summary_of(tmp_path, items, rows)
    assert accuracy(run, "surer", "final").accuracy.value == 0.5
    calibrated = accuracy(run, "surer_calibrated", "final").accuracy
    assert (calibrated.value, calibrated.n) == (1.0, 6)
    assert not [a for a in run.accuracy if (a.name, a.split) == ("surer_calibrated", "pilot")]


OPEN: Record = {"options": None, "labels": None, "answer": "Nairobi"}


def open_sides(name: str, main: Record, aux: Record, right: str = "aux") -> Iterator[Record]:
    """Answers to an open question: what is known of the one to main and of the one to aux."""
    for control, known in (("vanilla", main), ("translate_test", aux)):
        good = (control == "vanilla") == (right == "main")
        output = known.get("output", "Nairobi" if good else "?")
        yield row(name, control, good, prediction=None, **{"output": output, **known})


def surer_of(run: RunSummary) -> tuple[float | None, dict[str, int]]:
    (way,) = [way for way in run.ways if way.name == "surer"]
    return way.accuracy.value, way.measured_by


def test_open_answers_are_as_sure_as_all_their_tokens(tmp_path: Path) -> None:
    """Of a and b the first token says the opposite; c said nothing in answer to main."""
    rows = [
        *open_sides(
            "a",
            {"answer_logprob": -1.5, "first_logprob": -0.1},
            {"answer_logprob": -0.5, "first_logprob": -1.0},
        ),
        *open_sides(
            "b",
            {"answer_logprob": -0.2, "first_logprob": -2.0},
            {"answer_logprob": -0.4, "first_logprob": -0.1},
            right="main",
        ),
        *open_sides(
            "c",
            {"output": "", "output_ids": [], "first_logprob": -0.01},
            {"answer_logprob": -3.0, "first_logprob": -3.0},
        ),
    ]
    run = summary_of(tmp_path, [item(name, **OPEN) for name in "abc"], rows)
    assert surer_of(run) == (1.0, {"all tokens": 3})
    assert not [line for line in run.missing if "surer" in line]


def test_rows_of_earlier_releases_know_the_first_token_and_that_is_said(tmp_path: Path) -> None:
    """Of b one side alone is known wholly: its two sides are compared by what both have."""
    rows = [
        *open_sides("a", {"first_logprob": -1.0}, {"first_logprob": -0.1}),
        *open_sides("b", {"first_logprob": -1.0, "answer_logprob": -0.01}, {"first_logprob": -0.1}),
        *open_sides("c", {"answer_logprob": -1.0}, {"answer_logprob": -0.1}),
    ]
    run = summary_of(tmp_path, [item(name, **OPEN) for name in "abc"], rows)
    assert surer_of(run) == (1.0, {"all tokens": 1, "first token": 2})
    (line,) = [line for line in run.missing if "surer" in line]
    assert "goes by the first token in 2 of 3 questions" in line


def test_of_options_the_share_among_whole_ones_counts_before_first_tokens(tmp_path: Path) -> None:
    sure, unsure = {"option_logprobs": [-0.1, -3.0]}, {"option_logprobs": [-0.9, -0.6]}
    rows = [
        row("a", "vanilla", False, answer_share=0.4, **sure),
        row("a", "translate_test", True, answer_share=0.8, **unsure),
        row("b", "vanilla", False, **unsure),
        row("b", "translate_test", True, answer_share=0.1, **sure),
        row("c", "vanilla", False, prediction=None, answer_share=0.0),
        row("c", "translate_test", True, answer_share=0.3),
    ]
    run = summary_of(tmp_path, [item(name) for name in "abc"], rows)
    assert surer_of(run) == (1.0, {"whole options": 2, "first tokens of options": 1})
    assert any("first tokens of options in 1 of 3 questions" in line for line in run.missing)


def test_majority_is_the_best_single_option_of_each_language(tmp_path: Path) -> None:
    answers = {"a": "(1)", "b": "(1)", "c": "(2)", "d": "(2)", "e": "(2)"}
    kinds = {"a": "x", "b": "y", "c": "y", "d": "x", "e": "x"}
    items = [
        item(
            name, answer=answer, lang="sw" if name < "d" else "hi", strata={"relation": kinds[name]}
        )
        for name, answer in answers.items()
    ]
    run = summary_of(tmp_path, items, [row(name, "vanilla", True) for name in answers])
    assert accuracy(run, "majority", lang="sw").accuracy.value == pytest.approx(2 / 3)
    assert accuracy(run, "majority").accuracy.value == pytest.approx(4 / 5)
    by_relation = accuracy(run, "majority_by_relation", lang="sw").accuracy.value
    assert by_relation == pytest.approx(2 / 3)


def test_grid_is_source_by_target_with_gain_over_the_same_questions(tmp_path: Path) -> None:
    rows = [
        row("a", "vanilla", False),
        row("b", "vanilla", True),
        *sweep("a", "0100"),
        *sweep("b", "01.1"),
    ]
    grid = summary_of(tmp_path, [item("a"), item("b")], rows).grids[0]
    assert grid.accuracy == [[0.0, 1.0], [0.0, 0.5]]
    assert grid.gain == [[-0.5, 0.5], [0.0, 0.0]]
    assert (grid.vanilla.value, grid.n, grid.clusters) == (0.5, 2, 2)
    assert grid.changed[0][0] == 0.5  # b turned from "(1)" to "(2)"; a stayed at "(2)"


def test_upper_bound_is_the_union_overall_and_per_layer(tmp_path: Path) -> None:
    rows = [
        *(row(name, "vanilla", False) for name in "abc"),
        *sweep("a", "0100"),
        *sweep("b", "0010"),
        *sweep("c", "0000"),
    ]
    run = summary_of(tmp_path, [item(name) for name in "abc"], rows)
    bound = run.upper_bounds[0]
    assert bound.overall.value == pytest.approx(2 / 3)
    assert [e.value for e in bound.by_source] == pytest.approx([1 / 3, 1 / 3])
    assert [e.value for e in bound.by_target] == pytest.approx([1 / 3, 1 / 3])
    assert bound.by_language["sw"].value == pytest.approx(2 / 3)
    assert bound.attempts == (4, 4)


def test_upper_bound_covers_the_splits_that_its_controls_cover(tmp_path: Path) -> None:
    rows = [
        *(row(name, "vanilla", False) for name in "pab"),
        *sweep("p", "1111"),
        *sweep("a", "0100"),
        *sweep("b", "0000"),
        *sweep("a", "0000", "shuffled", stratum="same_answer", donor="b"),
    ]
    items = [item("p"), item("a", split="final"), item("b", split="final")]
    run = summary_of(tmp_path, items, rows)
    bound = run.upper_bounds[0]
    assert (bound.splits, bound.overall.value, bound.overall.n) == (["final"], 0.5, 2)
    assert run.coverage.without_donor == {"same_answer": 1}, "b has none; p was not to have one"


def test_upper_bounds_as_a_data_frame(tmp_path: Path) -> None:
    rows = [row("a", "vanilla", False), *sweep("a", "0100"), *sweep("a", "0001", "mean")]
    path = write_run(tmp_path / "run", [item("a")], [*rows, *sweep("a", "0000", "noise")])
    frame = upper_bounds(RunReader(path)).set_index("control")
    assert frame["value"].to_dict() == {"none": 1.0, "noise": 0.0, "mean": 1.0}
    assert frame.loc["noise", "minus_control"] == 1.0
    assert frame["attempts"].tolist() == [4, 4, 4]


def test_a_control_is_compared_over_its_own_questions_and_attempts(tmp_path: Path) -> None:
    rows = [
        *(row(name, "vanilla", False) for name in "abc"),
        *sweep("a", "1000"),
        *sweep("b", "0110"),
        *sweep("c", "1111"),
        *sweep("a", ".010", "noise"),
        *sweep("b", "0000", "noise"),
    ]
    noise = versus(summary_of(tmp_path, [item(name) for name in "abc"], rows), "noise")
    # a: its only solving pair was not tried with noise, so the true side has not solved it either.
    assert (noise.overall.true.value, noise.overall.control.value) == (0.5, 0.5)
    assert noise.overall.difference.value == 0
    assert noise.overall.true.n == 2
    assert noise.attempts == (3, 4)
    assert noise.by_target[0].true.value == 0.5
    assert noise.by_target[0].control.value == 0.5
    assert noise.by_target[1].true.value == 0.5
    assert noise.by_target[1].control.value == 0


@pytest.mark.parametrize("identities", ["0", "."])
def test_identities_of_self_count_as_unmodified_answers(tmp_path: Path, identities: str) -> None:
    own = identities + "00" + identities
    rows = [
        *(row(name, "vanilla", False) for name in "ab"),
        *sweep("a", "1000"),
        *sweep("b", "1000"),
        *sweep("a", own, "self"),
        *sweep("b", own, "self"),
        *sweep("a", "0000", "noise"),
        *sweep("b", "0000", "noise"),
    ]
    run = summary_of(tmp_path, [item("a"), item("b")], rows)
    self_, noise = versus(run, "self"), versus(run, "noise")
    assert self_.attempts == noise.attempts == (4, 4), "the same pairs for every control"
    assert self_.overall.difference.value == noise.overall.difference.value == 1.0
    assert self_.by_source[0].true.value == 1.0, "what works at 0->0 is not left out"


def test_an_identity_is_right_where_the_unmodified_answer_is(tmp_path: Path) -> None:
    rows = [
        *(row(name, "vanilla", name == "a") for name in "ab"),
        *sweep("a", "1000"),
        *sweep("b", "0000"),
        *sweep("a", ".00.", "self"),
        *sweep("b", ".00.", "self"),
    ]
    own = versus(summary_of(tmp_path, [item("a"), item("b")], rows), "self")
    assert (own.overall.true.value, own.overall.control.value) == (0.5, 0.5)


def test_attn_residual_into_the_same_layer_is_no_identity(tmp_path: Path) -> None:
    residual = {"component": "attn_residual"}
    rows = [
        row("a", "vanilla", True),
        *sweep("a", "1000", **residual),
        *sweep("a", ".000", "self", **residual),
    ]
    own = versus(summary_of(tmp_path, [item("a")], rows), "self")
    assert own.attempts == (3, 3), "it has to be run to be known"
    assert (own.overall.true.value, own.overall.control.value) == (0.0, 0.0)


def test_picked_pair_is_tested_on_the_other_split(tmp_path: Path) -> None:
    items = [item("p"), *(item(name, split="final") for name in "abcde")]
    rows = [
        row("p", "vanilla", False),
        *sweep("p", "0100"),
        row("a", "vanilla", False),
        *sweep("a", "0100"),
        row("b", "vanilla", False, prediction=None),
        *sweep("b", "0100"),
        row("c", "vanilla", True),
        row("c", correct=False, source=0, target=1, prediction=None),
        row("d", "vanilla", True),
        *sweep("d", "1111"),
        row("e", "vanilla", False, prediction=None),
        *sweep("e", "0100"),
        *sweep("a", "0000", "noise"),
        *sweep("d", "0000", "noise"),
    ]
    pick = pooled(summary_of(tmp_path, items, rows))
    assert pick.choices[ALL].pair == (0, 1)
    pilot, final = pick.tests
    assert (pilot.split, pilot.in_sample, pilot.gain.value) == ("pilot", True, 1.0)
    assert (final.split, final.in_sample, final.gain.value) == ("final", False, 0.4)
    assert (final.repaired, final.broken, final.p_value) == (3, 1, 0.625)
    assert (final.repaired_format, final.repaired_content) == (2, 1)
    assert final.broken_unparseable == 1
    (noise,) = final.controls
    assert (noise.gain.value, noise.difference.value, noise.gain.n) == (-0.5, 1.0, 2)


def test_each_language_gets_its_own_pair_beside_the_pooled_one(tmp_path: Path) -> None:
    items = [
        item(f"{split}-{lang}", lang=lang, split=split)
        for split in ("pilot", "final")
        for lang in ("sw", "hi")
    ]
    rows = [row(one["item"], "vanilla", False) for one in items]
    for split in ("pilot", "final"):
        rows += [*sweep(f"{split}-sw", "1000"), *sweep(f"{split}-hi", "0001")]
    run = summary_of(tmp_path, items, rows)
    per_language = next(pick for pick in run.picked if pick.pooling == "per_language")
    assert {lang: c.pair for lang, c in per_language.choices.items()} == {
        "sw": (0, 0),
        "hi": (1, 1),
    }
    gains = {(t.split, t.lang): t.gain.value for t in per_language.tests}
    assert gains[("final", ALL)] == gains[("final", "sw")] == gains[("final", "hi")] == 1
    (of_all,) = (t for t in pooled(run).tests if (t.split, t.lang) == ("final", ALL))
    assert of_all.gain.value == 0.5


def test_gains_by_stratum(tmp_path: Path) -> None:
    items = [
        item("p"),
        item("a", split="final", strata={"same_spelling": "yes"}),
        item("b", split="final", strata={"same_spelling": "no"}),
    ]
    rows = [row(name, "vanilla", False) for name in "pab"]
    rows += [*sweep("p", "1000"), *sweep("a", "1000"), *sweep("b", "0000")]
    strata = pooled(summary_of(tmp_path, items, rows)).tests[1].strata
    assert {(s.name, s.value): s.gain.value for s in strata} == {
        ("same_spelling", "yes"): 1,
        ("same_spelling", "no"): 0,
    }


def test_following_the_donor_beside_what_would_have_matched_anyway(tmp_path: Path) -> None:
    items = [item("a"), item("b", answer="(2)"), item("c", answer="(2)")]
    shuffled = {"stratum": "different_answer", "source": 0, "target": 0}
    rows = [
        row("a", "vanilla", True, prediction="(1)"),
        row("b", "vanilla", False, prediction="(1)"),
        row("c", "vanilla", True, prediction="(2)"),
        *(row(name, correct=True) for name in "abc"),
        row("a", "shuffled", False, prediction="(2)", donor="b", **shuffled),
        row("b", "shuffled", False, prediction="(1)", donor="a", **shuffled),
        row("c", "shuffled", False, prediction=None, donor="a", **shuffled),
    ]
    run = summary_of(tmp_path, items, rows)
    average, at_pair = (f for f in run.follow if f.split == ALL)
    assert (average.pair, at_pair.pair) == (None, (0, 0))
    assert average.share.value == at_pair.share.value == pytest.approx(2 / 3)
    assert at_pair.vanilla_share.value == pytest.approx(1 / 3)
    assert at_pair.difference.value == pytest.approx(1 / 3)


def test_open_answers_follow_the_donor_when_they_contain_its_answer(tmp_path: Path) -> None:
    open_item = {"options": None, "labels": None}
    items = [item("a", answer="Asia", **open_item), item("b", answer="Paris", **open_item)]
    rows = [
        row("a", "vanilla", True, prediction=None, output="Asia"),
        row("a", correct=True, prediction=None, output="Asia"),
        row(
            "a",
            "shuffled",
            False,
            prediction=None,
            output="in PARIS.",
            donor="b",
            stratum="different_answer",
        ),
    ]
    (follow, *_) = summary_of(tmp_path, items, rows).follow
    assert (follow.share.value, follow.vanilla_share.value) == (1.0, 0.0)


def test_coverage_counts_what_needs_care(tmp_path: Path) -> None:
    items = [item("a"), item("b"), item("gone")]
    rows = [
        row("a", "vanilla", True, min_margin=5e-4, path="shared-prefix"),
        row("b", "vanilla", True, finite=False, min_margin=5e-4, path="exact"),
        row("a", correct=True),
        row("b", correct=True, min_margin=2e-3, path="shared-prefix"),
        row("a", "shuffled", True, stratum="same_answer", donor="b"),
    ]
    failures = [{"item": "gone", "reason": "too long"}]
    run = summary_of(tmp_path, items, rows, failures=failures)
    seen = run.coverage
    assert (seen.items, seen.not_run, seen.failures) == (2, 1, 1)
    assert (seen.near_ties, seen.near_ties_settled, seen.not_finite) == (1, 1, 1)
    assert seen.without_donor == {"same_answer": 1}
    assert (run.cost.rows, run.cost.generated_tokens, run.cost.prompt_tokens) == (5, 10, 18)
    assert run.cost.rows_per_second == pytest.approx(100, rel=1e-4)


def headline_run(path: Path, noise: str = "0", **manifest: Any) -> Path:
    """40 pilot and 40 final questions; 3 of 4 repaired by pair 0->1; every control does nothing."""
    items = [item(f"{split}{k}", split=split) for split in ("pilot", "final") for k in range(40)]
    controls: list[tuple[str, str | None]] = [
        ("shuffled", "same_answer"),
        ("shuffled", "different_answer"),
        ("noise", None),
        ("mean", None),
        ("self", None),
    ]
    rows: list[Record] = []
    for one in items:
        name, number = one["item"], int(one["item"].removeprefix(one["split"]))
        rows.append(row(name, "vanilla", False))
        rows += sweep(name, "0100" if number % 4 else "0000")
        for control, stratum in controls:
            solved = f"0{noise}00" if control == "noise" and number % 2 else "0000"
            rows += sweep(name, solved, control, stratum=stratum, donor=None)
    return write_run(path, items, rows, **manifest)


def test_headline_that_holds(tmp_path: Path) -> None:
    declared = declaration(Headline(task="facts"))
    summary = summarise([headline_run(tmp_path / "run", headline=declared)])
    headline = summary.headline
    assert headline is not None
    assert headline.holds
    assert (headline.source, headline.target) == (0, 1)
    assert headline.gain.value == 0.75
    assert (headline.repaired, headline.broken, headline.n, headline.clusters) == (30, 0, 40, 40)
    assert all(headline.conditions.values())
    assert len(headline.controls) == 6  # the five that were run, and the blind draw


def test_headline_fails_by_the_condition_that_fails(tmp_path: Path) -> None:
    path = headline_run(tmp_path / "run", noise="1", headline=declaration(Headline()))
    headline = summarise([path]).headline
    assert headline is not None
    assert headline.conditions["no_control_above_zero"] is False
    assert headline.conditions["gain_reaches_aim"] is True
    assert not headline.holds


def test_headline_without_all_controls_stays_open(tmp_path: Path) -> None:
    items = [item("p"), item("a", split="final"), item("b", split="final")]
    rows = [row(name, "vanilla", False) for name in "pab"]
    rows += [*sweep("p", "1000"), *sweep("a", "1000"), *sweep("b", "0000")]
    path = write_run(tmp_path / "run", items, rows, headline=declaration(Headline()))
    headline = summarise([path]).headline
    assert headline is not None
    assert headline.conditions["no_control_above_zero"] is None
    assert headline.conditions["upper_bound_beside_every_control"] is False
    assert headline.conditions["gain_interval_above_zero"] is False
    assert not headline.holds


def test_headline_names_the_controls_that_it_must_hold_against(tmp_path: Path) -> None:
    narrow = replace(Headline(), controls=("mean", "self"))
    path = headline_run(tmp_path / "run", noise="1", headline=declaration(narrow))
    headline = summarise([path]).headline
    assert headline is not None
    assert headline.holds


@pytest.mark.parametrize(
    ("headline", "reason"),
    [
        (None, "No run declares a headline"),
        ({"task": "other"}, "No run is of the task 'other'"),
        ({"test": "later"}, "no judged rows on the split 'later'"),
        ({"component": "attn"}, "no pair picked on the split 'pilot' for attn"),
    ],
)
def test_why_there_is_no_headline(
    tmp_path: Path, headline: dict[str, str] | None, reason: str
) -> None:
    path = headline_run(tmp_path / "run", headline=headline)
    summary = summarise([path])
    assert summary.headline is None
    assert reason in (summary.headline_missing or "")


@pytest.mark.parametrize("headline", [{"componnt": "ffn"}, ["ffn"], {"component": "brain"}])
def test_a_headline_that_cannot_be_read_is_refused(tmp_path: Path, headline: Any) -> None:
    path = write_run(tmp_path / "run", [item("a")], [row("a")], headline=headline)
    with pytest.raises(CrosslatentError):
        summarise([path])


def test_a_run_without_gold_answers_still_has_a_summary(tmp_path: Path) -> None:
    rows = [row("a", "vanilla", None), row("a", correct=None, output="other")]
    run = summary_of(tmp_path, [item("a", answer=None, split=None)], rows)
    assert run.accuracy == run.upper_bounds == run.picked == run.follow == []
    assert run.grids[0].changed[0][0] == 1.0
    assert run.grids[0].gain[0][0] is None
    assert run.coverage.without_gold == 1
    assert run.missing == [
        "No accuracy: no question has a gold answer and a row of the unmodified model."
    ]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    rows = [row("a", "vanilla", True), row("a", correct=True), row("a", "noise", True)]
    run = summary_of(tmp_path, [item("a", split="final")], rows)
    assert run.picked == []
    assert "No picked pair: the run has no split 'pilot' to pick it on." in run.missing
    assert "No comparison of ffn with shuffled, mean, self: not run." in run.missing


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        ([None, None], "No translate-test baseline for 2 of 2 questions: they are open"),
        ([True, None], "Translate-test for 1 of 2 questions"),
        ([], "the run has no answers to the counterpart prompts"),
        ([True, False], None),
    ],
)
def test_open_questions_without_an_answer_in_aux(
    tmp_path: Path, judged: list[bool | None], words: str | None
) -> None:
    items = [item(name, options=None, answer="Nairobi", labels=None) for name in ("a", "b")]
    rows = [row(name, "vanilla") for name in ("a", "b")]
    rows += [
        row(name, "translate_test", correct)
        for name, correct in zip(("a", "b"), judged, strict=False)
    ]
    told = [
        line for line in summary_of(tmp_path / "run", items, rows).missing if "ranslate" in line
    ]
    assert len(told) == (words is not None)
    assert words is None or words in told[0]


def test_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        summarise([tmp_path])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("runs")
    world = simulate(folder / "world", layers=3, facts=6, seed=5)
    culture = simulate(folder / "culture", layers=3, facts=6, seed=6, direction="x->en")
    return summarise([world, culture])


def test_summary_is_json_without_nan_and_the_same_every_time(simulated: Summary) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} in summary.json")

    text = to_json(simulated)
    assert json.loads(text, parse_constant=refuse)["runs"][0]["task"] == "world"
    assert to_json(simulated) == text


def test_every_estimate_says_n_clusters_and_seed(simulated: Summary) -> None:
    found = 0

    def walk(node: Any) -> None:
        nonlocal found
        if isinstance(node, dict):
            if "low" in node and "high" in node:
                found += 1
                assert {"value", "n", "clusters", "method"} <= set(node)
                # The odds ratio's interval is exact: nothing is drawn.
                assert "seed" in node or "repaired" in node
                if "repaired" in node:  # without breakages, repairs / breakages has no value
                    return
                assert (node["value"] is None) == (node["n"] == 0)
            for part in node.values():
                walk(part)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    walk(json.loads(to_json(simulated)))
    assert found > 500


def test_culture_runs_are_reported_by_local_language(simulated: Summary) -> None:
    assert simulated.runs[1].coverage.languages == ["es", "hi", "id", "sw"]
    assert set(simulated.runs[1].upper_bounds[0].by_language) == {"es", "hi", "id", "sw"}


def test_a_donor_drawn_blindly_weighs_the_strata_by_how_many_donors_they_hold(
    tmp_path: Path,
) -> None:
    # One pilot question picks the pair. Of the final ones, a has a same-answer donor (b) and two
    # others, so a same-answer donor comes up in a third of the draws; likewise b. c and d have only
    # each other and two others.
    answers = {"a": "(1)", "b": "(1)", "c": "(2)", "d": "(2)"}
    items = [item("p"), *(item(name, split="final", answer=gold) for name, gold in answers.items())]
    rows = [*sweep("p", "1000"), row("p", "vanilla", False)]
    for name in answers:
        rows += [row(name, "vanilla", False), *sweep(name, "1000")]
        rows += sweep(name, "1000", "shuffled", stratum="same_answer")
        rows += sweep(name, "0000", "shuffled", stratum="different_answer")
    test = next(t for t in pooled(summary_of(tmp_path, items, rows)).tests if t.split == "final")
    found = {(c.control, c.stratum): c.gain.value for c in test.controls}
    assert found["shuffled", "same_answer"] == 1.0
    assert found["shuffled", "different_answer"] == 0.0
    assert found["shuffled", "any"] == pytest.approx(1 / 3)
