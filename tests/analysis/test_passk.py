"""pass@K beside the upper bound: by hand, from samples, and from what a model really samples."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosslatent.analysis import RunSummary, summarise, to_json
from crosslatent.analysis.declared_tables import TABLES
from crosslatent.analysis.figure_tables import records
from crosslatent.analysis.passk import Draws, passed, unbiased
from crosslatent.answering.ask import sample
from crosslatent.cli.first_steps import summary_lines
from crosslatent.engine import oracle
from support.rows import MAIN, ids_of, wrapped
from support.runs import Record, item, row, write_extra, write_run

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1)]
OPEN = {"options": None, "labels": None, "answer": "Nairobi"}


def bounds_of(run: RunSummary) -> list[Record]:
    """The rows of the table of upper bounds."""
    return [one for table in TABLES if table.name == "bounds" for one in records(table, run)]


def sweep(name: str, solved: str, control: str = "none", **changes: Any) -> Iterator[Record]:
    """Rows of the four pairs; "1" = right, "0" = wrong, "." = not run."""
    for (source, target), cell in zip(PAIRS, solved, strict=True):
        if cell != ".":
            yield row(name, control, cell == "1", source=source, target=target, **changes)


def plain(name: str, chance: float | None, **changes: Any) -> Record:
    score = None if chance is None else math.log(chance) if chance else -math.inf
    return row(name, "vanilla", False, gold_score=score, **changes)


def summary_of(
    path: Path, items: list[Record], rows: list[Record], samples: Any = ()
) -> RunSummary:
    run = write_run(path / "run", items, rows)
    drawn = [
        {"item": name, "number": number, "output": "x", "prediction": None, "correct": right}
        for name, answers in dict(samples).items()
        for number, right in enumerate(answers)
    ]
    if drawn:
        write_extra(run, "samples", drawn)
    return summarise([run]).runs[0]


def test_of_options_it_follows_from_the_whole_gold_option(tmp_path: Path) -> None:
    """Four pairs of a and b, two of c; d has no pair, and of e the chance is not known."""
    chances = {"a": 0.5, "b": 0.1, "c": 0.25, "d": 0.9, "e": None}
    solved = {"a": "0001", "b": "0000", "c": "1.1.", "e": "1111"}
    rows = [plain(name, chance) for name, chance in chances.items()]
    rows += [one for name, cells in solved.items() for one in sweep(name, cells)]
    run = summary_of(tmp_path, [item(name) for name in chances], rows)
    (found,) = run.pass_at_k
    by_hand = [1 - 0.5**4, 1 - 0.9**4, 1 - 0.75**2]
    assert (found.component, found.name, found.attempts) == ("ffn", "pass@2-4", (2, 4))
    assert (found.by_probability, found.by_samples, found.samples) == (3, 0, None)
    assert found.share.value == pytest.approx(sum(by_hand) / 3)
    assert found.versus is not None
    assert found.versus.true.value == pytest.approx(2 / 3)
    assert found.versus.difference.value == pytest.approx(2 / 3 - sum(by_hand) / 3)
    assert (found.versus.difference.n, found.versus.difference.clusters) == (3, 3)
    assert found.versus.difference.low is not None
    (line,) = [line for line in run.missing if "pass@K" in line]
    assert line.startswith("No pass@K of 1 of 4 questions: their rows do not say")
    # It is no control: neither among those that are compared, nor among those that decide.
    assert run.bounds_versus == run.over_controls == []


def test_ends_of_the_range(tmp_path: Path) -> None:
    rows = [plain("a", 1.0), plain("b", 0.0), *sweep("a", "0000"), *sweep("b", "0000")]
    (found,) = summary_of(tmp_path, [item("a"), item("b")], rows).pass_at_k
    assert found.share.value == 0.5


def test_the_difference_resamples_facts(tmp_path: Path) -> None:
    items = [item(f"q{k}", cluster=f"fact{k % 6}") for k in range(24)]
    rows = []
    for k, one in enumerate(items):
        rows += [plain(one["item"], 0.05), *sweep(one["item"], "1000" if k % 6 < 4 else "0000")]
    (found,) = summary_of(tmp_path, items, rows).pass_at_k
    assert found.versus is not None
    gap = found.versus.difference
    assert (gap.n, gap.clusters) == (24, 6)
    assert gap.value == pytest.approx(2 / 3 - (1 - 0.95**4))
    assert found.by_language["sw"].difference.value == pytest.approx(gap.value)


def test_of_open_questions_it_is_estimated_from_samples(tmp_path: Path) -> None:
    """Six samples of a, five of b, four pairs; what the rule did not judge is no sample."""
    samples = {
        "a": [True, False, False, True, False, False],
        "b": [False] * 5,
        "c": [True, None, None, None, None],
    }
    rows = [row(name, "vanilla", False, prediction=None, output="?") for name in samples]
    rows += [one for name in samples for one in sweep(name, "0010", prediction=None, output="?")]
    run = summary_of(tmp_path, [item(name, **OPEN) for name in samples], rows, samples)
    (found,) = run.pass_at_k
    assert (found.name, found.by_probability, found.by_samples) == ("pass@4", 0, 2)
    assert found.samples == 5
    # Of the 15 ways to take four of the six, one leaves both right ones out.
    assert found.share.value == pytest.approx((14 / 15 + 0) / 2)
    (line,) = [line for line in run.missing if "pass@K" in line]
    assert "--samples 4" in line
    assert "(the run has 1)" in line


def test_fewer_samples_than_pairs_are_compared_with_nothing(tmp_path: Path) -> None:
    samples = {"a": [False, True, False], "b": [True, False, True]}
    rows = [row(name, "vanilla", False, prediction=None, output="?") for name in samples]
    rows += [one for name in samples for one in sweep(name, "0010", prediction=None, output="?")]
    run = summary_of(tmp_path, [item(name, **OPEN) for name in samples], rows, samples)
    (found,) = run.pass_at_k
    assert (found.name, found.samples, found.attempts) == ("pass@3", 3, (4, 4))
    assert found.versus is None
    assert found.by_language == {}
    assert found.share.value == 1.0
    ((record),) = [one for one in bounds_of(run) if one["control"] == "pass@3"]
    assert (record["control_union"], record["difference"]) == (1.0, None)


def test_nothing_is_known_of_rows_of_earlier_releases(tmp_path: Path) -> None:
    rows = [row("a", "vanilla", False), *sweep("a", "0010")]
    run = summary_of(tmp_path, [item("a")], rows)
    assert run.pass_at_k == []
    (line,) = [line for line in run.missing if "pass@K" in line]
    assert line.startswith("No pass@K of 1 of 1 questions")
    assert "Sweep again into another folder" in line


def test_where_controls_were_run_on_one_split_it_is_of_that_split(tmp_path: Path) -> None:
    items = [item("a"), item("b", split="final")]
    rows = [plain("a", 0.9), plain("b", 0.2), *sweep("a", "0000"), *sweep("b", "0000")]
    rows += sweep("b", "0000", "noise")
    run = summary_of(tmp_path, items, rows)
    (found,) = run.pass_at_k
    assert found.share.value == pytest.approx(1 - 0.8**4)
    assert found.share.n == run.upper_bounds[0].overall.n == 1


@pytest.mark.parametrize(("n", "c"), [(5, 2), (6, 0), (4, 4), (7, 1)])
def test_the_estimate_is_the_share_of_all_choices_that_hold_a_right_one(n: int, c: int) -> None:
    answers = [True] * c + [False] * (n - c)
    for k in range(1, n + 1):
        choices = list(itertools.combinations(answers, k))
        assert unbiased(n, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))
    with pytest.raises(ValueError, match=f"pass@{n + 1} cannot be estimated from {n} samples"):
        unbiased(n, c, n + 1)


def test_samples_of_a_model_give_what_the_probability_says() -> None:
    """The two ways to pass@K on the same prompts: answers of two tokens, 1,500 samples each."""
    model = wrapped()
    with torch.no_grad():
        model.norm.weight.mul_(3)  # so that a string of two tokens comes now and then
    prompts = [ids_of(model, text) for text in (MAIN, "Jibu:", "A B C")]
    golds = [
        one.ids for ids in prompts for one in oracle.run_rows(model, ids, [()], max_new_tokens=2)
    ]
    logprobs = [
        oracle.run_rows(model, ids, [()], max_new_tokens=1, options=[gold])[0].scores[0]
        for ids, gold in zip(prompts, golds, strict=True)
    ]
    drawn = sample(model, prompts, ["a", "b", "c"], samples=1500, max_new_tokens=2, batch_rows=1500)
    right = [
        sum(text == model.text_of(list(gold)) for text in texts)
        for texts, gold in zip(drawn, golds, strict=True)
    ]
    chance = np.exp(logprobs)
    assert ((chance > 0.01) & (chance < 0.95)).all()
    missing, none = np.full(3, np.nan), np.zeros(3)
    for k in (1, 4, 16):
        tries = np.full(3, float(k))
        exact = passed(Draws(chance, none, none), tries)
        found = passed(Draws(missing, np.full(3, 1500.0), np.array(right, dtype=float)), tries)
        spread = k * (1 - chance) ** (k - 1) * np.sqrt(chance * (1 - chance) / 1500)
        assert (np.abs(found - exact) < 4 * spread + 1e-9).all()


def said_of(tmp_path: Path, chance: float | None, **more: Any) -> tuple[RunSummary, str]:
    names = [f"q{k}" for k in range(12)]
    rows = [plain(name, chance) for name in names]
    rows += [one for name in names for one in sweep(name, "1000")]
    run = write_run(tmp_path / "run", [item(name) for name in names], rows, **more)
    summary = summarise([run])
    return summary.runs[0], "\n".join(summary_lines(json.loads(to_json(summary))))


def test_the_terminal_and_the_tables_say_it(tmp_path: Path) -> None:
    run, text = said_of(tmp_path, 0.1, requested={"exploratory": ["pass_at_k"]})
    assert (
        "sampled without a transplant (pass@4) 34.4 %; the pairs minus that: +65.6 points" in text
    )
    assert text.count("exploratory: defined after the rows were seen") == 1
    records = [one for one in bounds_of(run) if one["control"] == "pass@4"]
    assert [one["lang"] for one in records] == ["all", "sw"]
    assert records[0]["control_union"] == pytest.approx(1 - 0.9**4)
    assert records[0]["difference"] == pytest.approx(0.9**4)


def test_the_terminal_says_nothing_of_what_is_not_known(tmp_path: Path) -> None:
    _, text = said_of(tmp_path, None)
    assert "sampled without" not in text
    assert "exploratory" not in text
