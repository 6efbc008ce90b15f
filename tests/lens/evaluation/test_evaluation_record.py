"""An evaluation is read back as it was written, and what is no evaluation is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.lens.evaluation.evaluation_record import (
    ALL,
    AnswerRow,
    ConditionResult,
    Evaluation,
)
from crosslatent.stats import Estimate

ESTIMATE = Estimate(value=0.5, low=0.25, high=0.75, n=8, clusters=4, seed=3)
NOTHING = Estimate(value=None, low=None, high=None, n=0, clusters=0, seed=3)


def condition(name="tuned", **changes):
    fields = {
        "name": name,
        "kind": "tuned",
        "about": "Trained.",
        "accuracy": {ALL: ESTIMATE, "sw": ESTIMATE, "en": NOTHING},
        "change": {ALL: ESTIMATE},
        "repaired": {ALL: 3},
        "broken": {ALL: 1},
        "p_value": {ALL: 0.625, "sw": None},
        "fidelity": {"sw": NOTHING},
        "fidelity_change": {},
        "kl": ESTIMATE,
        "seconds": 1.5,
        "notes": ["A note."],
        "settings": {"alpha": 0.5, "layers": [0]},
    }
    return ConditionResult(**(fields | changes))


def row(**changes):
    fields = {
        "condition": "tuned",
        "item": "q1",
        "lang": "sw",
        "role": "target",
        "output": "(1)",
        "prediction": "(1)",
        "correct": True,
        "correct_by_rule": {"option": True, "first_token": False},
        "output_lang": None,
        "cluster": "fact-1",
        "split": "final",
    }
    return AnswerRow(**(fields | changes))


@pytest.fixture
def evaluation():
    return Evaluation(
        task="maswali",
        splits=["final"],
        rule="option",
        central="en",
        languages=["sw"],
        model={"name": "tiny", "type": "llama"},
        conditions=[condition(), condition("again", kl=None)],
        questions={"sw": 8, "en": 8},
        central_texts=12,
        seed=3,
        failures={"q9": "The main prompt is empty."},
        versions={"crosslatent": "0"},
        created="2026-01-01T00:00:00+00:00",
        command=["crosslatent", "lens", "eval"],
        notes=["For all."],
        rows=(
            row(),
            row(item="q2", prediction=None, correct=None, correct_by_rule={}, output_lang="sw"),
            row(role="central", lang="en", split=None, variant="sw"),
        ),
    )


def test_what_is_saved_is_read_back(evaluation, tmp_path):
    evaluation.save(tmp_path / "new" / "out")
    assert Evaluation.load(tmp_path / "new" / "out") == evaluation


def test_the_json_has_no_rows_and_the_table_has_one_for_each_answer(evaluation, tmp_path):
    evaluation.save(tmp_path)
    plain = json.loads((tmp_path / "evaluation.json").read_text())
    assert plain == evaluation.to_json()
    assert "rows" not in plain
    (part,) = (tmp_path / "rows").iterdir()
    assert pq.read_table(part).num_rows == 3


def test_without_answers(evaluation, tmp_path):
    empty = replace(evaluation, rows=())
    empty.save(tmp_path)
    assert Evaluation.load(tmp_path) == empty


def test_a_condition_by_its_name(evaluation):
    assert evaluation.condition("again") is evaluation.conditions[1]
    assert evaluation.condition("nobody") is None


def test_what_is_no_evaluation_is_refused(evaluation, tmp_path):
    with pytest.raises(RunFolderError, match=r"evaluation\.json"):
        Evaluation.load(tmp_path)
    evaluation.save(tmp_path)
    (part,) = (tmp_path / "rows").iterdir()
    part.write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match="lens eval"):
        Evaluation.load(tmp_path)
    evaluation.save(tmp_path)
    plain = evaluation.to_json()
    del plain["conditions"][0]["kl"]
    (tmp_path / "evaluation.json").write_text(json.dumps(plain))
    with pytest.raises(RunFolderError, match="lens eval"):
        Evaluation.load(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="folder"):
        evaluation.save(tmp_path / "file")


def test_reading_takes_no_torch():
    module = "crosslatent.lens.evaluation.evaluation_record"
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
