"""The pair picked on a split: right answers first, then the tie rule; other rows do not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosslatent.analysis.pair_choice import PairScore, best_pair, pilot_pair
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.runs.reader import RunReader
from support.runs import Record, item, row, write_run


def at(source: int, target: int, name: str, correct: bool, logprob: float = -1.0) -> Record:
    return row(name, correct=correct, source=source, target=target, gold_logprob=logprob)


def open_run(path: Path, items: list[Record], rows: list[Record]) -> RunReader:
    return RunReader(write_run(path / "run", items, rows))


def test_most_right_answers_win(tmp_path: Path) -> None:
    rows = [at(0, 0, "a", True), at(0, 0, "b", False), at(1, 0, "a", True), at(1, 0, "b", True)]
    choice = pilot_pair(open_run(tmp_path, [item("a"), item("b")], rows), "ffn")
    assert (choice.pair, choice.correct, choice.n, choice.tied) == ((1, 0), 2, 2, 1)
    assert choice.languages == ("sw",)


def test_ties_go_to_the_gold_answer_or_to_the_authors_order(tmp_path: Path) -> None:
    rows = [
        at(0, 0, "a", True, -3.0),
        at(1, 0, "a", True, -2.0),
        at(0, 1, "a", True, -0.1),
        at(1, 1, "a", False, 0.0),
    ]
    reader = open_run(tmp_path, [item("a")], rows)
    by_logprob = pilot_pair(reader, "ffn", tie="logprob")
    assert (by_logprob.pair, by_logprob.tied) == ((0, 1), 3)
    assert pilot_pair(reader, "ffn", tie="authors").pair == (1, 0)


def test_target_first_looks_at_target_layer_0_only(tmp_path: Path) -> None:
    rows = [at(1, 0, "a", False), at(0, 0, "a", False), at(0, 1, "a", True)]
    reader = open_run(tmp_path, [item("a")], rows)
    assert pilot_pair(reader, "ffn").pair == (0, 1)
    assert pilot_pair(reader, "ffn", scope="target-first", tie="authors").pair == (1, 0)


def test_other_splits_components_and_controls_do_not_count(tmp_path: Path) -> None:
    items = [item("a"), item("z", split="final")]
    rows = [
        at(0, 0, "a", True),
        at(1, 1, "a", False),
        at(1, 1, "z", True),
        row("a", "noise", True, source=1, target=1),
        row("a", correct=True, component="attn", source=1, target=1),
    ]
    assert pilot_pair(open_run(tmp_path, items, rows), "ffn").pair == (0, 0)


def test_each_language_can_have_its_own_pair(tmp_path: Path) -> None:
    items = [item("a", lang="sw"), item("b", lang="hi")]
    rows = [at(0, 0, "a", True), at(0, 0, "b", False), at(1, 1, "a", False), at(1, 1, "b", True)]
    reader = open_run(tmp_path, items, rows)
    assert pilot_pair(reader, "ffn", languages=["sw"]).pair == (0, 0)
    assert pilot_pair(reader, "ffn", languages=["hi"]).pair == (1, 1)


def test_culture_tasks_are_told_apart_by_the_language_of_the_counterpart(tmp_path: Path) -> None:
    items = [item("a", lang="en", aux_lang="sw"), item("b", lang="en", aux_lang="hi")]
    rows = [at(0, 0, "a", True), at(0, 0, "b", False), at(1, 1, "a", False), at(1, 1, "b", True)]
    reader = open_run(tmp_path, items, rows)
    assert pilot_pair(reader, "ffn", languages=["hi"]).pair == (1, 1)
    assert set(pilot_pair(reader, "ffn").languages) == {"hi", "sw"}


def test_pairs_run_on_fewer_questions_do_not_compete() -> None:
    scores = [PairScore(0, 0, 9, 9, None), PairScore(1, 1, 8, 10, None)]
    best, tied = best_pair(scores, "logprob")
    assert ((best.source, best.target), tied) == ((1, 1), 1)


def test_a_pair_without_log_probabilities_loses_the_tie() -> None:
    scores = [PairScore(0, 0, 5, 9, None), PairScore(1, 1, 5, 9, -9.0)]
    assert best_pair(scores, "logprob")[0].source == 1


def test_a_log_probability_that_is_not_finite_does_not_spoil_the_tie(tmp_path: Path) -> None:
    rows = [
        at(0, 0, "a", True, float("nan")),
        at(0, 0, "b", True, -1.0),
        at(1, 1, "a", True, -2.0),
        at(1, 1, "b", True, -2.0),
    ]
    assert pilot_pair(open_run(tmp_path, [item("a"), item("b")], rows), "ffn").pair == (0, 0)


def test_a_small_pilot_is_called_noise_and_a_large_one_is_not(tmp_path: Path) -> None:
    for size, warned in ((49, True), (50, False)):
        names = [f"q{k}" for k in range(size)]
        rows = [at(0, 0, name, True) for name in names]
        reader = open_run(tmp_path / str(size), [item(name) for name in names], rows)
        warning = pilot_pair(reader, "ffn").warning
        assert (warning is not None) == warned
    assert warning is None


def test_questions_without_gold_answer_do_not_count(tmp_path: Path) -> None:
    rows = [row("a", correct=None), at(1, 0, "b", True)]
    reader = open_run(tmp_path, [item("a", answer=None), item("b")], rows)
    assert pilot_pair(reader, "ffn").pair == (1, 0)


def test_what_cannot_be_picked_is_said(tmp_path: Path) -> None:
    reader = open_run(tmp_path, [item("a")], [at(0, 1, "a", True)])
    with pytest.raises(RunFolderError, match="on the split 'unseen'"):
        pilot_pair(reader, "ffn", split="unseen")
    with pytest.raises(RunFolderError, match="no target-first rows"):
        pilot_pair(reader, "ffn", scope="target-first")
    with pytest.raises(RunFolderError, match="in xx"):
        pilot_pair(reader, "ffn", languages=["xx"])
    with pytest.raises(UsageError, match="Unknown tie 'coin': use logprob or authors"):
        pilot_pair(reader, "ffn", tie="coin")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Unknown scope"):
        pilot_pair(reader, "ffn", scope="some")  # type: ignore[arg-type]
