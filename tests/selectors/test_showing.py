"""What `crosslatent select` prints and the report shows, for good and for bad results."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from crosslatent.cli import selecting
from crosslatent.core.errors import UsageError
from crosslatent.report.selector_verdicts import (
    accuracy_forest,
    selectors_table,
    verdict,
    versus_pilot_forest,
)
from crosslatent.selectors.kinds.vote import Vote
from crosslatent.selectors.saved import load
from crosslatent.selectors.selector_scores import evaluate
from crosslatent.stats import Estimate
from support.choices import World, halves, simulate
from support.simulated import simulate as simulated_run


@pytest.fixture(scope="module")
def evaluation():
    found, _ = evaluate(*halves(simulate(World({4: 0.9}, clusters=40))), [Vote(3)], resamples=500)
    return replace(found, tuned_on="run", tested_on="run", tune="pilot", test="unseen", left_out=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("select") / "run"
    return simulated_run(path, layers=6, facts=12, languages=("hi", "sw"))


def select(*arguments):
    app = typer.Typer()
    app.command()(selecting.select)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def share(value, spread=0.05):
    return Estimate(value, value - spread, value + spread, 80, 40, 0)


def test_the_section_has_every_selector_between_the_plain_ways(evaluation):
    rows = accuracy_forest(evaluation).rows
    labels = [line.label for line in rows]
    assert labels[:2] == ["Unmodified", "A random pair"]
    assert set(labels) >= {"pilot", "vote-3", "Translate-test", "Upper bound (an oracle)"}
    assert rows[2].detail == "cost 2"
    assert [line.label for line in versus_pilot_forest(evaluation).rows] == ["vote-3"]
    table = selectors_table(evaluation)
    assert all(len(cells) == len(table.head) for cells in table.rows)
    assert any("sampling" in text for text in evaluation.missing)
    assert "2 questions left out" in " ".join(verdict(evaluation))


def test_a_bad_result_is_said_as_plainly_as_a_good_one(evaluation):
    pilot, vote = evaluation.selectors
    good = replace(vote, versus_pilot=share(0.1), p_holm=0.001)
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, good])))
    assert "Better than the fixed pilot pair, at no more than 10 times" in text
    weak = replace(vote, versus_pilot=share(0.1), p_holm=0.3)
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, weak])))
    assert "by the interval alone" in text
    assert "not after correction" in text
    poor = [
        replace(one, recovered=share(0.2), over_shuffled=share(0.1), versus_pilot=share(-0.2))
        for one in evaluation.selectors
    ]
    text = " ".join(verdict(replace(evaluation, selectors=poor)))
    assert "No selector could be shown to beat both the fixed pilot pair" in text
    assert "No selector whose answers differ from it could be shown to recover" in text
    unknown = [replace(one, over_shuffled=None) for one in evaluation.selectors]
    text = " ".join(verdict(replace(evaluation, selectors=unknown)))
    assert "at the same pair is not known: no shuffled control" in text


def test_harm_by_other_vectors_is_points_and_no_share(evaluation):
    pilot = replace(evaluation.selectors[0], recovered=share(0.8), over_shuffled=share(1.2))
    one = replace(evaluation, selectors=[pilot])
    text = " ".join(verdict(one))
    assert "80.0\u202f% (75.0 to 85.0\u202f%), at cost 2" in text
    assert "drawn blindly: +120.0 points (+115.0 to +125.0)" in text
    assert "120.0\u202f%" not in text
    table = selectors_table(one)
    assert table.rows[0][table.head.index("right \u2212 shuffled")] == "+120.0 (+115.0 to +125.0)"
    assert "net of luck" not in f"{text} {table.head} {table.caption}".lower()


def test_selectors_that_are_alike_share_a_row_that_names_them(evaluation):
    pilot, vote = evaluation.selectors
    names = ["pilot", *(f"halving-{k}" for k in range(5))]
    alike = [
        replace(pilot, name=name, alike=[n for n in names if n != name], versus_pilot=None)
        for name in names
    ]
    dearer = replace(alike[1], cost=10.0)
    one = replace(evaluation, selectors=[dearer, alike[0], *alike[2:], vote])
    table = selectors_table(one)
    assert [cells[0] for cells in table.rows][:2] == ["pilot and 5 alike", "vote-3"]
    assert all(name in table.rows[0][1] for name in names[1:])
    assert table.rows[0][table.head.index("cost")] == "2\u201310"
    labels = [line.label for line in accuracy_forest(one).rows]
    assert labels.count("pilot and 5 alike") == 1
    assert not set(names) & set(labels)
    assert "7 selectors, in 2 ways that differ, choose among" in " ".join(verdict(one))


def test_the_command_prints_and_saves(run, tmp_path):
    file = tmp_path / "chosen.json"
    done = select(run, "--strategy", "vote-8", "--component", "ffn", "--save", file)
    assert done.exit_code == 0, done.output
    assert "vote-8" in done.output
    assert load(file).fitted_on["run"] == "run"


def test_the_command_gives_json(run):
    done = select(run, "--strategy", "pilot", "--test", "final", "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert (data["strategy"], data["test"]) == ("pilot", "final")
    assert {one["name"] for one in data["selectors"]} >= {"pilot", "pilot-per-language"}
    assert data["selectors"][0]["over_shuffled"]["low"] is not None
    assert data["selectors"][0]["strict_room"]["n"] > 0
    assert set(data["strict_controls"]) == {"shuffled", "noise", "mean", "self"}
    assert not any("recovered_net" in one for one in data["selectors"])
    assert data["verdict"]
    assert len(data["pairs"]["pilot"]) == 1
    assert set(data["by_language"]["pilot-per-language"]) == {"hi", "sw"}
    assert data["candidates"] == 72


def test_the_command_refuses_what_cannot_be_done(run, tmp_path):
    for arguments, says in (
        (("--strategy", "magic"), "Unknown strategy"),
        (("--strategy", "all", "--save", tmp_path / "x"), "keeps one selector"),
        (("--strategy", "oracle", "--save", tmp_path / "x"), "keeps one selector"),
        (("--strategy", "attribution-8", "--save", tmp_path / "x"), "nothing to save"),
    ):
        done = select(run, *arguments)
        assert isinstance(done.exception, UsageError)
        assert says in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_share_without_an_interval_recovers_nothing(evaluation):
    pilot = evaluation.selectors[0]
    undefined = Estimate(1.0, None, None, 80, 40, 0, undefined=True)
    claimed = replace(pilot, recovered=undefined, over_shuffled=share(0.5))
    assert not claimed.recovers_half
    text = " ".join(verdict(replace(evaluation, selectors=[claimed])))
    assert "100.0\u202f% (no interval), at cost 2" in text
    flat = Estimate(1.0, None, None, 80, 40, 0)
    assert replace(pilot, recovered=flat, over_shuffled=share(0.5)).recovers_half


def test_leaving_answers_alone_does_not_beat_a_pair_that_does_harm(evaluation):
    pilot, vote = evaluation.selectors
    better = replace(vote, versus_pilot=share(0.2), p_holm=0.001, gain=share(0.1))
    assert better.beats_pilot
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, better])))
    assert "by +20.0 points (+15.0 to +25.0), +10.0 points (+5.0 to +15.0) over the unmod" in text
    harmless = replace(better, gain=share(0.0))
    assert not harmless.beats_pilot
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, harmless])))
    assert "without a gain over the unmodified model that could be shown" in text
    assert "after correction" not in text
    alone = replace(evaluation, selectors=[replace(vote, versus_pilot=None)])
    assert "The fixed pilot pair was not run" in " ".join(verdict(alone))


def test_the_pilot_pair_s_own_share_comes_first_and_copies_of_it_do_not_count(evaluation):
    pilot, vote = (
        replace(one, recovered=share(0.8), over_shuffled=share(0.4)) for one in evaluation.selectors
    )
    copy = replace(vote, name="copy", p_value=None, versus_pilot=share(0.0))
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, copy])))
    assert "The fixed pilot pair recovers of the" in text
    assert "80.0\u202f% (75.0 to 85.0\u202f%), at cost 2" in text
    assert "No selector whose answers differ from it could be shown to recover" in text
    other = replace(vote, p_value=0.2)
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, copy, other])))
    assert "Of 1 way to choose whose answers differ from it, 1 way could be shown" in text
    assert "not corrected for their number" in text
    text = " ".join(verdict(replace(evaluation, selectors=[pilot, other], candidates=1)))
    assert "With one candidate pair there is nothing to choose." in text
    assert "differ from it" not in text


def test_no_gap_says_no_more_than_that(evaluation):
    gone = [
        replace(one, gain=share(-0.1)) if one.name == "upper_bound" else one
        for one in evaluation.baselines
    ]
    text = " ".join(verdict(replace(evaluation, baselines=gone)))
    assert "The upper bound lies no higher than the unmodified model" in text
    assert "No pair solves" not in text


def test_the_caption_says_what_stays_true_on_shuffled_rows(evaluation):
    assert "the answer to aux stay those of the true counterpart" in (
        selectors_table(evaluation).caption
    )


def test_a_seed_below_zero_and_a_folder_to_save_to_are_refused(run, tmp_path):
    done = select(run, "--seed", "-1")
    assert isinstance(done.exception, UsageError)
    assert "--seed is -1" in str(done.exception)
    done = select(run, "--save", tmp_path)
    assert "which is a folder" in str(done.exception)
