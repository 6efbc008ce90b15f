"""The benchmark on tiny shapes: our own contenders only, which need no other environment."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, overhead, records, tables, worker
from benchmarks.__main__ import main
from benchmarks.cases import TINY, cases
from benchmarks.contenders import CONTENDERS, Contender, authors, engine, expanded, hooks
from benchmarks.instance import make_task, save_model
from benchmarks.measure import Settings, measure
from benchmarks.task import Component, Mode, Task
from crosslatent.core import hardware


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
    tables.write(tmp_path, hardware.describe(1), results, 2)

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


def test_a_dry_run_counts_the_work_of_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--quick"]) == 0

    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + len(cases(quick=True))
    # 12 tokens of aux and of main, 9 rows of 4 tokens, of which half a token each is shared: 55.5.
    assert "| 56 |" in next(line for line in printed if "ffn, 4 new tokens" in line)


def test_counted_and_measured_costs_are_compared(tmp_path: Path) -> None:
    assert overhead.main(["--quick", "--repetitions", "1", "--out", str(tmp_path)]) == 0

    found = json.loads((tmp_path / "overhead.json").read_text(encoding="utf-8"))
    # Seven ways beside the unmodified model, three phases, two lengths, two batches.
    assert len(found["agreement"]) == 7 * 3 * 2 * 2
    for one in found["agreement"]:
        assert one["agrees"] == (abs(one["median"] / one["counted"] - 1) <= overhead.AGREES)
    text = (tmp_path / "overhead.md").read_text(encoding="utf-8")
    each = 1000 * found["ways"][0]["seconds"]["new_token"]["median"]
    assert f" and {each:,.3g} ms to the first and for each new token" in text
    assert "## Prompts of 12 tokens, 4 together" in text
    assert str(tmp_path) not in text


def test_judging_is_measured_for_every_kind_of_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert records.main(["--answers", "2", "--repetitions", "1"]) == 0
    table = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0][2:] for line in table] == list(records.QUESTIONS)
