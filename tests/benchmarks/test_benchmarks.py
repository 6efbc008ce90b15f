"""The benchmark on tiny shapes: our own contenders only, which need no other environment."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import counting, gpu, machine, tables, worker
from benchmarks.__main__ import main
from benchmarks.cases import TINY, cases
from benchmarks.contenders import CONTENDERS, Contender, authors, engine, expanded, hooks
from benchmarks.instance import make_task, save_model
from benchmarks.measure import Settings, measure
from benchmarks.task import Component, Mode, Shape, Task


class LocalWorker:
    """Stands in for a worker process, whose imports alone would take seconds."""

    def __init__(self, contender: Contender, folder: Path, venvs: Path, threads: int) -> None:
        module = importlib.import_module(f"benchmarks.contenders.{contender.module}")
        self.run = module.prepare(folder)
        self.error, self.versions, self.resident = None, {"torch": "2"}, 1

    def ready(self) -> None: ...

    def stop(self) -> None: ...

    def measure(self, task: Task, *, answers: bool) -> dict[str, Any]:
        return worker.measured(self.run, {"task": task.to_json(), "answers": answers})


def check_results(results: list[dict[str, Any]], names: set[str]) -> None:
    assert {result["contender"] for result in results} == names
    for result in results:
        assert result["error"] is None
        assert all(seconds > 0 for seconds in result["seconds"])
        if result["contender"] != "limit":
            assert result["differing"] == 0
            assert result["checked"] > 0


def test_cases_of_every_group_are_measured_checked_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.gc, "collect", lambda: 0)  # slow in a process with all of pytest
    names = ("hooks", "crosslatent", "limit")
    groups = {(case.group, case.mode): case for case in cases(quick=True)}
    chosen = [replace(case, contenders=names) for case in groups.values()]

    results = measure(chosen, Settings(tmp_path, repetitions=2, sample=3), LocalWorker)
    tables.write(tmp_path, machine.describe(1), results, 2)

    written = json.loads((tmp_path / "cpu.json").read_text(encoding="utf-8"))["results"]
    assert len(written) == len(chosen) * len(names)
    check_results(written, set(names))
    text = (tmp_path / "cpu.md").read_text(encoding="utf-8")
    assert "### ffn, scoring, 3 layers, prompts of 12" in text
    assert "scaled from 3 of 9 pairs" in text
    assert "| layers | prompt | new tokens |" in text


def test_a_contender_that_fails_is_a_row_that_says_why(tmp_path: Path) -> None:
    class Failing(LocalWorker):
        def measure(self, task: Task, *, answers: bool) -> dict[str, Any]:
            return {"error": "ValueError: too wide"}

    case = replace(cases(quick=True)[0], contenders=("hooks",))
    results = measure([case], Settings(tmp_path, repetitions=2), Failing)

    assert "ValueError: too wide" in tables.markdown({}, results, 2)


@pytest.mark.slow
def test_quick_command_agrees_in_processes_of_their_own(tmp_path: Path) -> None:
    asked = "authors,hooks,expanded,crosslatent,limit"
    arguments = ["--quick", "--contenders", asked, "--repetitions", "1"]

    assert main([*arguments, "--out", str(tmp_path)]) == 0

    results = json.loads((tmp_path / "cpu.json").read_text(encoding="utf-8"))["results"]
    check_results(results, set(asked.split(",")))
    assert all(result["resident"] > 0 for result in results)


@pytest.mark.parametrize("component", ["attn", "ffn"])
@pytest.mark.parametrize("mode", ["full", "scoring"])
def test_our_own_contenders_answer_the_same(
    tiny_shape_folder: Path, component: Component, mode: Mode
) -> None:
    task = make_task(TINY, component, mode, prompt=7, new_tokens=4)
    modules = (hooks, authors, expanded, engine)

    first, *others = [module.prepare(tiny_shape_folder)(task) for module in modules]

    ids = [list(row) for row in first.ids]
    assert [len(row) for row in ids] == [task.new_tokens] * len(task.pairs)
    assert len({tuple(row) for row in ids}) > 1  # else agreeing would show nothing
    for other in others:
        assert [list(row) for row in other.ids] == ids
        for mine, theirs in zip(first.watched, other.watched, strict=mode == "scoring"):
            assert list(theirs) == pytest.approx(list(mine), abs=1e-4)


@pytest.fixture(scope="module")
def tiny_shape_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models"), TINY)


def test_gpu_command_runs_a_tiny_shape_on_the_cpu(tmp_path: Path) -> None:
    gpu.main(["--device", "cpu", "--quick", "--instances", "1", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert len(found["crosslatent"]) == 4
    assert all(one["seconds"][0] > 0 for one in found["crosslatent"])
    assert "Projected: 700 instances" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_operations_of_a_case_counted_by_hand() -> None:
    shape = Shape(layers=2, hidden=4, intermediate=6, heads=2, kv_heads=1, head_dim=2, vocab=10)

    counted = counting.count(shape, aux=2, main=3, rows=4, new_tokens=2)

    # A block's linear layers: query 4x4, key 4x2, value 4x2, output 4x4, three of 4x6.
    weights = 16 + 8 + 8 + 16 + 3 * 24
    # Tokens: 2 of aux, 3 of main, and for each row half of the last prompt token and one fed back.
    assert counted.linear == (2 + 3 + 4 * 1.5) * weights * 2
    # Keys seen: aux 1 + 2, main 1 + 2 + 3, a row half of 3 and then 4; scores and values, 2 heads
    # of 2 numbers each.
    assert counted.attention == (3 + 6 + 4 * (1.5 + 4)) * 2 * 2 * 2 * 2
    # Two vectors of logits for each row.
    assert counted.head == 4 * 2 * 4 * 10
    assert counted.flop == 2 * (counted.linear + counted.attention + counted.head)


def test_scoring_feeds_no_token_back() -> None:
    shape = Shape(layers=1, hidden=1, intermediate=1, heads=1, kv_heads=1, head_dim=1, vocab=1)

    counted = counting.count(shape, aux=1, main=1, rows=1, new_tokens=1)

    assert counted.linear == 2.5 * (4 + 3)
    assert counted.attention == 2.5 * 2


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_sample_is_evenly_spaced_and_has_no_pair_twice(count: int) -> None:
    task = make_task(TINY, "ffn", "full", prompt=3, new_tokens=2)

    sample = task.sample(count)

    assert len(set(sample.pairs)) == count
    assert list(sample.pairs) == [pair for pair in task.pairs if pair in sample.pairs]
    assert sample.main == task.main


def test_a_task_survives_the_way_to_a_worker() -> None:
    task = make_task(TINY, "attn", "scoring", prompt=4, new_tokens=5)

    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
    assert task.new_tokens == 1
    assert len(task.watch) == 3


def test_cases_name_registered_contenders_and_quick_ones_cover_the_same_groups() -> None:
    for quick in (False, True):
        for case in cases(quick=quick):
            assert set(case.contenders) <= set(CONTENDERS)
    assert {case.group for case in cases(quick=True)} == {case.group for case in cases()}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SystemExit, match="Unknown name 'no-such'"):
        main(["--contenders", "no-such"])
