"""An evaluation is a run folder: the analysis of runs finds the figures of the evaluation in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import crosslatent as xl
from crosslatent.analysis import summarise
from crosslatent.core.errors import RunFolderError
from crosslatent.lens.evaluation.evaluated_conditions import Transplanted, Tuned
from crosslatent.lens.evaluation.evaluating import evaluate
from crosslatent.lens.evaluation.evaluation_record import Evaluation
from crosslatent.report.build import build_report
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import Item, task_of
from support.rows import wrapped

ABLATED = "off=ablate:neurons:1:all"


def make_item(lang, fact):
    return Item(
        id=f"{lang}{fact}",
        lang=lang,
        aux_lang="en",
        main=f"Swali la {fact} ni lipi? {lang}:",
        aux=f"What is question {fact}? Answer:",
        answer="AB"[fact % 2],
        options=("A", "B"),
        cluster=f"fact-{fact}",
        split="final" if fact % 3 else "unseen",
    )


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def task():
    return task_of([make_item(lang, fact) for fact in range(6) for lang in ("sw", "es")])


@pytest.fixture(scope="module")
def evaluation(model, task):
    conditions = [
        Tuned("tuned", {"sw": wrapped(seed=3), "es": wrapped(seed=4)}),
        Transplanted("carried", "ffn", 1, 0),
        ABLATED,
    ]
    return evaluate(model, conditions, task, max_new_tokens=3, rule="first_token")


@pytest.fixture(scope="module")
def folder(evaluation, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "out"
    evaluation.save(out)
    return out


def test_the_analysis_of_runs_finds_the_same_figures(evaluation, folder):
    (run,) = summarise([folder]).runs
    found = {(one.name, one.lang): one for one in run.conditions if one.split == "all"}
    compared = 0
    for result in evaluation.conditions[1:]:
        for lang, change in result.change.items():
            if (result.name, lang) not in found:
                assert lang == "en"  # once for each language's model: conditions of their own
                continue
            one = found[result.name, lang]
            assert one.gain.value == pytest.approx(change.value)
            assert (one.gain.n, one.gain.clusters) == (change.n, change.clusters)
            assert one.accuracy.value == pytest.approx(result.accuracy[lang].value)
            assert (one.repaired, one.broken) == (result.repaired[lang], result.broken[lang])
            assert one.test.p_value == pytest.approx(result.p_value[lang])
            compared += 1
    assert compared == 3 * 3 + 1  # all, es, sw; English under the ablation
    assert {name for name, _ in found} == {"tuned", "tuned (sw)", "tuned (es)", "carried", "off"}


def test_its_rows_are_those_of_a_sweep(model, task, folder, tmp_path):
    spec = SweepSpec(conditions=(ABLATED,), max_new_tokens=3)
    run_sweep(model, task, spec, tmp_path / "sweep")
    one, two = xl.Run(folder).to_pandas(), xl.Run(tmp_path / "sweep").to_pandas()
    assert list(one.columns) == list(two.columns)
    columns = ["item", "control", "condition", "output", "output_lang", "path"]
    (identity,) = two.condition.dropna().unique()
    targets = one.item.isin([item.id for item in task.items])
    mine = one[targets & (one.condition.eq(identity) | one.control.eq("vanilla"))][columns]
    theirs = two[two.control != "translate_test"][columns]
    keys = ["item", "control"]
    pd.testing.assert_frame_equal(
        mine.sort_values(keys, ignore_index=True), theirs.sort_values(keys, ignore_index=True)
    )


def test_questions_are_items_with_their_prompts(task, folder):
    items = pd.read_parquet(folder / "items.parquet").set_index("item")
    assert len(items) == 12 + 6
    central = items.loc["sw0 (central)"]
    assert (central.main, central.lang) == ("What is question 0? Answer:", "en")
    strata = {one["key"]: one["value"] for one in central.strata}
    assert strata == {"role": "central", "question": "sw0"}
    assert items.loc["sw0"].main == task.items[0].main
    assert (items.main_length > 0).all()


def test_it_is_read_back_and_reported(evaluation, folder, tmp_path):
    again = Evaluation.load(folder)
    assert again.rows == evaluation.rows
    build_report([folder], tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    for name in ("tuned", "carried", "off"):
        assert name in page


def test_a_folder_of_an_earlier_release_is_read_and_replaced(evaluation, tmp_path):
    fields = [
        *("condition", "item", "lang", "role", "output", "prediction", "correct"),
        *("correct_by_rule", "output_lang", "cluster", "split", "variant"),
    ]
    rows = [{name: getattr(row, name) for name in fields} for row in evaluation.rows]
    kind = pa.map_(pa.string(), pa.bool_())
    table = pa.Table.from_pylist(
        [{**row, "correct_by_rule": list(row["correct_by_rule"].items())} for row in rows],
        schema=pa.schema(
            [
                pa.field(
                    name,
                    kind
                    if name == "correct_by_rule"
                    else pa.bool_()
                    if name == "correct"
                    else pa.string(),
                )
                for name in fields
            ]
        ),
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
    (tmp_path / "evaluation.html").write_text("old")
    assert Evaluation.load(tmp_path).rows == evaluation.rows
    evaluation.save(tmp_path)
    assert not (tmp_path / "rows.parquet").exists()
    assert Evaluation.load(tmp_path).rows == evaluation.rows


def test_it_is_written_over_no_other_folder(evaluation, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunFolderError, match="holds something else"):
        evaluation.save(tmp_path)


def test_no_sweep_is_thrown_away_for_it(model, task, evaluation, tmp_path):
    run_sweep(model, task, SweepSpec(pairs="0:0", max_new_tokens=1), tmp_path)
    before = xl.Run(tmp_path).to_pandas()
    with pytest.raises(RunFolderError, match="holds something else"):
        evaluation.save(tmp_path)
    pd.testing.assert_frame_equal(before, xl.Run(tmp_path).to_pandas())


def test_figures_and_answers_of_two_evaluations_are_not_mixed(evaluation, tmp_path):
    evaluation.save(tmp_path)
    first = (tmp_path / "evaluation.json").read_bytes()
    replace(evaluation, created="2030-01-01T00:00:00+00:00").save(tmp_path)
    (tmp_path / "evaluation.json").write_bytes(first)
    with pytest.raises(RunFolderError, match="its answers of 2030"):
        Evaluation.load(tmp_path)
