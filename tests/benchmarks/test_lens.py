"""The Lens benchmark on a tiny model: all schemes do the same, and the tables say what it took."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.lens import __main__ as command
from benchmarks.lens import data, measure, ours, released, worker
from benchmarks.lens.cases import BATCH, CENTRAL, LANGUAGES, LONGEST, SHORTEST, TINY, Case, cases
from benchmarks.lens.compare import agreement, agrees
from benchmarks.lens.schemes import OURS, RELEASED, SCHEMES


def in_this_process(request: dict[str, Any]) -> dict[str, Any]:
    """Stands in for a worker process, whose imports alone would take seconds."""
    return worker.measured(request)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.save(tmp_path_factory.mktemp("lens"), TINY, 20)


def trained(folder: Path, scheme: str, case: Case, weights: Path) -> dict[str, Any]:
    return worker.measured(
        {
            "scheme": scheme,
            "folder": str(folder),
            "case": case.to_json(),
            "threads": 1,
            "order": measure.order_of(case),
            "weights": str(weights),
        }
    )


@pytest.mark.parametrize("epochs", [1, 3])
def test_both_schemes_train_the_same(folder: Path, tmp_path: Path, epochs: int) -> None:
    case = Case(epochs, ("sw", "bn"), 20, TINY)
    names = (OURS, RELEASED, "no-logits")
    files = {name: tmp_path / f"{name}.safetensors" for name in names}
    results = {name: trained(folder, name, case, files[name]) for name in names}

    assert [each["steps"] for each in results[OURS]["trainings"]] == [3 * epochs] * 2
    untrained = folder / "model" / "model.safetensors"
    for name in (OURS, "no-logits"):
        found = agreement(results[name], results[RELEASED], files[name], files[RELEASED], untrained)
        assert found["first_loss"] < 1e-5
        assert found["last_loss"] < 1e-4
        assert found["weights"] < 1e-2
        assert found["moved"] > 1e-5  # else agreeing would show nothing
        assert agrees(found)
    # The second training begins from the untrained model again.
    for name in (OURS, "no-logits"):
        mine, theirs = (results[one]["trainings"][1]["first"] for one in (name, RELEASED))
        assert mine == pytest.approx(theirs, rel=1e-4)
    assert results[RELEASED]["trainings"][0]["trunk"] == {}
    first, second = (each["trunk"] for each in results[OURS]["trainings"])
    assert first == {"texts": 40, "computed": 40, "reused": 0}
    assert second == {"texts": 40, "computed": 20, "reused": 20}


def test_other_training_does_not_agree(folder: Path, tmp_path: Path) -> None:
    case = Case(1, ("sw",), 20, TINY)
    files = [tmp_path / name for name in ("one", "other")]
    one = trained(folder, RELEASED, case, files[0])
    other = trained(folder, RELEASED, replace(case, targets=("bn",)), files[1])

    found = agreement(other, one, files[1], files[0], folder / "model" / "model.safetensors")

    assert found["weights"] > 0.5
    assert not agrees(found)


def test_the_released_scheme_changes_its_top_blocks_alone(folder: Path) -> None:
    prepared = released.prepare(folder, logits=True)
    model, reference = prepared.models
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))

    # The first step only warms up: its learning rate is 0.
    found = prepared.train("sw", 1, rows, [[0, 1, 2], [3, 4, 5]])

    before = dict(reference.named_parameters())
    changed = {
        name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert changed
    assert changed <= set(found.weights)
    assert {name.split(".")[2] for name in found.weights} == {"2", "3"}
    assert len(found.losses) == 2
    prepared.reset()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_ours_leaves_the_model_as_it_was(folder: Path) -> None:
    prepared = ours.prepare(folder)
    (model,) = prepared.models
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))

    prepared.train("sw", 1, rows, [])

    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_rows_are_as_long_as_they_say_and_a_token_a_word() -> None:
    rows = data.make_rows(TINY, 30)
    tokenizer = data.tokenizer(TINY)
    lengths = {len(tokenizer(row[lang])["input_ids"]) for row in rows for lang in LANGUAGES}
    assert (min(lengths) >= SHORTEST, max(lengths) <= LONGEST) == (True, True)
    assert len(lengths) > 10
    assert lengths == {len(row[lang].split()) for row in rows for lang in LANGUAGES}
    assert tokenizer.unk_token_id not in tokenizer(rows[0][CENTRAL])["input_ids"]
    assert data.make_rows(TINY, 30) == rows != data.make_rows(TINY, 30, seed=1)


def test_every_row_once_in_an_epoch() -> None:
    order = measure.order_of(Case(2, ("sw",), 20, TINY))
    assert [len(batch) for batch in order] == [8, 8, 4] * 2
    one, other = order[:3], order[3:]
    for epoch in (one, other):
        assert sorted(row for batch in epoch for row in batch) == list(range(20))
    assert one != other
    assert BATCH == 8


def test_cases_survive_the_way_to_a_worker_and_have_names_of_their_own() -> None:
    for quick in (True, False):
        found = cases(quick=quick)
        assert [Case.from_json(json.loads(json.dumps(case.to_json()))) for case in found] == list(
            found
        )
        assert [case.key for case in found] == ["1x1", "3x1", "1x2", "wide"]


def test_the_command_writes_tables_and_aims(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--quick", "--repetitions", "2", "--cases", "1x1,1x2,wide"]

    assert command.main([*arguments, "--out", str(tmp_path)], in_this_process) == 0

    written = json.loads((tmp_path / "lens.json").read_text(encoding="utf-8"))
    assert len(written["results"]) == 3 * len(SCHEMES)
    assert all(len(result["runs"]) == 2 for result in written["results"])
    assert [(aim["what"].split(",")[0], aim["aim"]) for aim in written["aims"]] == [
        ("time", 1.7),
        ("memory", 0.6),
        ("memory", 0.6),
    ]
    text = (tmp_path / "lens.md").read_text(encoding="utf-8")
    assert "## 1 epoch, 2 target languages, width 32" in text
    assert "`crosslatent` agrees with `released`" in text
    assert "DIFFERS" not in text
    assert "bn: " in text
    assert "computed 24, reused 24" in text
    assert text in capsys.readouterr().out


def test_a_scheme_that_fails_is_a_row_that_says_why_and_a_failure(tmp_path: Path) -> None:
    def failing(request: dict[str, Any]) -> dict[str, Any]:
        if request["scheme"] == OURS:
            return {"error": "ValueError: too | wide"}
        return worker.measured(request)

    arguments = ["--quick", "--repetitions", "1", "--cases", "1x1", "--out", str(tmp_path)]

    assert command.main(arguments, failing) == 1

    assert "ValueError: too / wide" in (tmp_path / "lens.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "lens.json").read_text(encoding="utf-8"))["aims"] == []


def test_aims_are_judged_by_medians_of_ratios() -> None:
    def run(seconds: float, peak: int) -> dict[str, Any]:
        return {"trainings": [{"seconds": seconds}], "peak": peak}

    case = Case(1, ("sw",), 20, TINY)
    mine = measure.Measured(case, OURS, [run(1, 60), run(2, 60), run(1, 60)])
    theirs = measure.Measured(case, RELEASED, [run(1.5, 100), run(3.6, 110), run(9, 110)])

    time, memory = measure.targets_met([theirs, mine], 10)

    assert (time["is"], time["met"]) == (1.8, True)
    assert (memory["is"], memory["met"]) == (0.5, True)
    time, memory = measure.targets_met(
        [replace_scheme(mine, RELEASED), replace_scheme(theirs, OURS)], 10
    )
    assert (time["met"], memory["met"]) == (False, False)


def replace_scheme(result: measure.Measured, scheme: str) -> measure.Measured:
    return measure.Measured(result.case, scheme, result.runs)


def test_an_empty_interpreter_takes_a_few_mebibytes() -> None:
    assert 2**20 < measure.empty_interpreter() < 50 * 2**20


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(SystemExit, match="Unknown case 'no-such'"):
        command.main(["--cases", "no-such"])


@pytest.mark.slow
def test_the_quick_command_runs_in_processes_of_their_own(tmp_path: Path) -> None:
    assert command.main(["--quick", "--repetitions", "1", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "lens.json").read_text(encoding="utf-8"))["results"]
    assert all(result["error"] is None for result in results)
