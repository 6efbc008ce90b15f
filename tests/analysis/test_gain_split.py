"""The parts of a gain add up, question by question, and are those that were built by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosslatent.analysis import estimates, summarise
from crosslatent.analysis.data import RunData
from crosslatent.analysis.gain_split import STEPS, GainPart, GainSplit, parts_of, values_at
from crosslatent.analysis.picked import picked
from crosslatent.runs.reader import RunReader
from crosslatent.stats import clustered_mean
from support.gain_rows import FACTS, GAPS, names, rows_of, run_of, scored
from support.runs import item, row, write_run


def split_at(path: Path, split: str = "unseen") -> GainSplit:
    found = summarise([path]).runs[0].gain_split
    return next(one for one in found if (one.split, one.lang) == (split, "all"))


def test_parts_add_up_on_every_question(tmp_path: Path) -> None:
    data = RunData(RunReader(run_of(tmp_path)))
    (pick,) = picked(data, "ffn", "pilot")
    values = values_at(data, pick)
    for field in ("gap", "correct"):
        steps = parts_of(values, field)
        assert not np.isnan(steps).any()
        assert np.abs(steps[:, :4].sum(axis=1) - steps[:, 4]).max() < 1e-6
        assert np.abs(steps[:, :4]).max(axis=0).min() > (0.1 if field == "gap" else -1)


def test_each_part_is_what_was_built(tmp_path: Path) -> None:
    one = split_at(run_of(tmp_path))
    assert (one.source, one.target, one.left_out, one.in_sample) == (0, 1, 0, False)
    middle = 0.01 * np.mean(range(FACTS, 2 * FACTS))
    for part, (name, after, before) in zip(one.parts, STEPS, strict=True):
        expected = GAPS[after] - GAPS[before] + middle * (len(after) - len(before))
        assert part.name == name
        assert part.gap.value == pytest.approx(expected, abs=1e-5)
        assert (part.gap.n, part.gap.clusters) == (FACTS, FACTS)
    right = [part.correct.value for part in one.parts]
    assert right == [0, 0, 0, 1, 1]
    (own,) = one.beside
    assert (own.control, own.stratum) == ("self", None)
    assert own.over_gap.value == pytest.approx(4.5, abs=1e-5)
    assert own.gap.value == pytest.approx(0.5 - 3 * middle, abs=1e-5)


def test_a_question_without_all_five_rows_is_left_out(tmp_path: Path) -> None:
    rows = [r for k, (name, _) in enumerate(names()) for r in rows_of(name, k)]
    gone = [r for r in rows if (r["item"], r["control"]) != ("unseen-03", "mean")]
    one = split_at(run_of(tmp_path, gone))
    assert {part.gap.n for part in one.parts} == {FACTS - 1}
    assert {part.correct.n for part in one.parts} == {FACTS - 1}
    assert one.left_out == 1
    assert one.beside[0].gap.n == FACTS - 1


def test_whole_options_count_where_first_tokens_are_shared(tmp_path: Path) -> None:
    rows = []
    for k, (name, _) in enumerate(names()):
        for one in rows_of(name, k):
            whole = k % 2 == 0
            starts = {"option_logprobs": [None, -1.0], "option_scores": one["option_logprobs"]}
            rows.append({**one, **(starts if whole else {})})
    assert split_at(run_of(tmp_path, rows)).whole.gap.n == FACTS
    unknown = [{**one, "option_scores": None} for one in rows]
    one = split_at(run_of(tmp_path / "unknown", unknown))
    assert (one.whole.gap.n, one.left_out, one.whole.correct.n) == (FACTS // 2, FACTS // 2, FACTS)


def test_open_questions_have_the_probability_of_the_answer(tmp_path: Path) -> None:
    rows = [
        {**r, "option_logprobs": None, "gold_logprob": 0.1 * r["option_logprobs"][1]}
        for k, (name, _) in enumerate(names())
        for r in rows_of(name, k)
    ]
    one = split_at(run_of(tmp_path, rows, options=None, labels=None))
    assert one.parts[3].gap.value == pytest.approx(-0.4, abs=0.01)
    assert one.whole.gap.n == FACTS


def test_recovery_never_divides_by_next_to_nothing(tmp_path: Path) -> None:
    rows = []
    for k, (name, _) in enumerate(names()):
        lead = {0: 0.05, 1: None}.get(k % 4, 8.0)
        gaps = GAPS | {"translate_test": GAPS["vanilla"] + (lead or 0.0)}
        for control, gap in gaps.items():
            if not (control == "translate_test" and lead is None):
                rows.append(scored(name, control, gap))
    one = split_at(run_of(tmp_path, rows))
    assert (one.recovery.n, one.apart.n, one.no_aux) == (6, 3, 3)
    assert one.recovery.value == pytest.approx(5 / 8)
    assert one.recovery_of_means.value == pytest.approx(5 / 8)
    assert one.apart.value == pytest.approx(5.0)
    worse = [scored(r["item"], "translate_test", -10.0) for r in rows if r["control"] == "vanilla"]
    others = [r for r in rows if r["control"] != "translate_test"]
    one = split_at(run_of(tmp_path / "worse", [*others, *worse]))
    assert one.recovery.value == one.recovery_of_means.value == pytest.approx(-5 / 8)
    without = [r for r in rows if r["control"] != "translate_test"]
    one = split_at(run_of(tmp_path / "none", without))
    assert (one.recovery.n, one.apart.n, one.no_aux) == (0, 0, FACTS)


def test_what_was_not_run_is_said_where_a_part_was_asked_for(tmp_path: Path) -> None:
    rows = [r for k, (name, _) in enumerate(names()) for r in rows_of(name, k)]
    few = [r for r in rows if r["control"] != "mean-main"]
    run = summarise([run_of(tmp_path, few)]).runs[0]
    assert run.gain_split == []
    said = [one for one in run.missing if "parts" in one]
    needed = "No parts of the gain of ffn: they need the controls mean, mean-main, skip"
    assert said == [f"{needed}, and mean-main was not run."]
    bare = [r for r in rows if r["control"] not in ("mean-main", "skip")]
    run = summarise([run_of(tmp_path / "bare", bare)]).runs[0]
    assert (run.gain_split, [one for one in run.missing if "parts" in one]) == ([], [])


def test_the_parts_are_in_the_tables(tmp_path: Path) -> None:
    path = run_of(tmp_path)
    frame = estimates(path)
    parts = frame[(frame.table == "gain_split") & (frame.quantity == "gap")]
    unseen = parts[(parts.split == "unseen") & (parts.lang == "all")]
    assert list(unseen.group) == [
        f"in_sample=False; part={name}" for name in ("loss", "size", "language", "content", "whole")
    ]
    assert set(unseen.pair) == {"0-1"}
    assert {"gain_beside", "gain_recovery"} <= set(frame.table)


def test_rounding_is_no_part(tmp_path: Path) -> None:
    clusters = [str(k) for k in range(30)]
    noise = clustered_mean([1e-5 + 1e-7 * k for k in range(30)], clusters, difference=True)
    assert noise.above_zero
    assert not GainPart("size", noise, noise).raises
    large = clustered_mean([-0.1 - 1e-3 * k for k in range(30)], clusters, difference=True)
    assert GainPart("size", large, large).lowers
    assert not GainPart("size", large, large).raises


def test_skip_is_no_rival_and_the_mean_of_main_is(tmp_path: Path) -> None:
    """Zeros that solve all questions are no control: they have fewer attempts."""
    rows = []
    for name, _ in names():
        rows.append(row(name, "vanilla", False))
        for control in ("none", "mean", "mean-main", "skip", "rolled", "seldom"):
            for target in (0, 1):
                solved = control in ("skip", "seldom") or (control == "none" and target == 1)
                rows.append(row(name, control, solved, source=target, target=target))
    others = {"rolled": {"knows_answer": False}, "seldom": {"every_pair": False}}
    items = [item(name, answer="(1)", split=split) for name, split in names()]
    path = write_run(tmp_path / "run", items, rows, spec={"other_controls": others})
    run = summarise([path]).runs[0]
    rivals = {"mean", "mean-main", "rolled"}
    assert {one.control for one in run.over_controls[0].rivals} == rivals
    assert run.over_controls[0].not_run == ["shuffled/any", "noise", "self"]
    assert {one.control for one in run.bounds_versus} == rivals
    at_pair = {c.control for pick in run.picked for t in pick.tests for c in t.controls}
    assert at_pair == rivals
    assert not any("skip" in one or "mean-main" in one for one in run.missing if "not run" in one)
