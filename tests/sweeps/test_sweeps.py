"""Sweeps write every row once, resume where they stopped, and refuse what does not fit."""

from __future__ import annotations

import dataclasses
import json
import math

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import crosslatent as xl
from crosslatent.core.errors import PairError, RunFolderError, TaskError, UsageError
from crosslatent.core.specs import CONTROLS, OF_EVERY_MODEL, PART_CONTROLS
from crosslatent.runs import RunReader
from crosslatent.runs.run_status import read_status
from crosslatent.runs.schema import ITEMS, KEY, ROWS
from crosslatent.sweeps import SweepSpec, plan_sweep, run_sweep
from crosslatent.tasks import Item, task_of
from support.rows import wrapped

SPEC = SweepSpec(component=("attn", "ffn"), controls=(*CONTROLS, *PART_CONTROLS), max_new_tokens=3)
STABLE = [column for column in ROWS.names if column not in ("seconds", "path")]


def make_item(number, **changes):
    fields = {
        "id": f"q{number}",
        "lang": "sw",
        "aux_lang": "en",
        "main": f"Swali la {number} ni lipi? Jibu:",
        "aux": f"What is question {number}? Answer:",
        "answer": f"({number % 2 + 1})",
        "options": ("(1)", "(2)"),
        "cluster": f"fact-{number}",
        "split": "pilot" if number % 2 else "final",
    }
    return Item(**(fields | changes))


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def task():
    return task_of([make_item(n) for n in range(8)])


def table(path):
    """All rows in a canonical order, as the stable columns."""
    with RunReader(path).connect() as connection:
        frame = connection.execute(f"SELECT * FROM rows ORDER BY {', '.join(KEY)}").df()
    return frame[STABLE]


def assert_same_rows(one, other):
    pd.testing.assert_frame_equal(table(one), table(other), atol=1e-5)


@pytest.fixture(scope="module")
def whole(model, task, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_sweep(model, task, SPEC, out)
    return out


def test_every_row_is_there_once(model, task, whole):
    rows = table(whole)
    assert not rows.duplicated(list(KEY)).any()
    plan = plan_sweep(model, task, SPEC)
    # Two facts of a split share an answer at most with each other: no same-answer donor is missing.
    assert len(rows) <= plan.rows
    counts = rows.groupby("control").size()
    assert counts["vanilla"] == counts["translate_test"] == 8
    assert counts["none"] == counts["noise"] == counts["mean"] == counts["self"] == 8 * 2 * 16
    assert counts["mean-main"] == counts["none"]
    skipped = rows[rows.control == "skip"]
    assert len(skipped) == 8 * 2 * 4
    assert (skipped.source == skipped.target).all()


def test_tables_have_the_documented_schema(whole):
    part = next((whole / "rows").glob("*.parquet"))
    assert pq.read_schema(part).equals(ROWS)
    assert pq.read_schema(whole / "items.parquet").equals(ITEMS)


def test_self_at_the_same_layer_equals_vanilla(whole):
    rows = table(whole)
    vanilla = rows[rows.control == "vanilla"].set_index("item").output
    diagonal = rows[(rows.control == "self") & (rows.source == rows.target)]
    assert len(diagonal) == 8 * 2 * 4
    assert (diagonal.output == diagonal.item.map(vanilla)).all()
    true = rows[rows.control == "none"]
    assert (true.output != true.item.map(vanilla)).any()


def test_the_oracle_gives_the_same_rows(model, task, whole, tmp_path):
    run_sweep(model, task, SPEC, tmp_path / "slow", engine="oracle")
    one, other = table(whole), table(tmp_path / "slow")
    sure = ["min_margin", "first_logprob", "first_entropy", "first_margin"]
    floats = ["gold_logprob", "option_logprobs", *sure]
    pd.testing.assert_frame_equal(one.drop(columns=floats), other.drop(columns=floats))
    for name in sure:
        assert one[name].to_numpy() == pytest.approx(other[name].to_numpy(), abs=1e-3)


def test_skip_is_the_answer_without_the_module_output(model, whole):
    """Against a hook of torch alone, which zeroes the output at the last token of the prompt."""
    rows = table(whole)
    skipped = rows[rows.control == "skip"].set_index(["item", "component", "target"])
    vanilla = rows[rows.control == "vanilla"].set_index("item")
    item = make_item(3)
    ids = torch.tensor([model.tokenizer(item.main)["input_ids"]])

    def zero(_module, _arguments, output):
        (output[0] if isinstance(output, tuple) else output)[:, -1] = 0

    for layer in range(model.n_layers):
        with torch.no_grad(), model.blocks[layer].ffn.register_forward_hook(zero):
            logits = model.hf(ids).logits[0, -1].double()
        found = skipped.loc[item.id, "ffn", layer]
        best = float(torch.log_softmax(logits, -1).max())
        assert found.first_logprob == pytest.approx(best, abs=1e-4)
        assert abs(found.first_logprob - vanilla.loc[item.id].first_logprob) > 1e-3


@pytest.mark.parametrize("positions", [1, 3])
def test_zeros_and_means_are_the_same_on_every_path(model, task, tmp_path, positions):
    spec = SweepSpec(
        component=OF_EVERY_MODEL,
        pairs="0:1,3:2,2:2",
        controls=("mean", *PART_CONTROLS),
        positions=positions,
        max_new_tokens=3,
    )
    fast, slow = (
        table(run_sweep(model, task, spec, tmp_path / engine, engine=engine).path)
        for engine in ("shared-prefix", "oracle")
    )
    assert (fast.output == slow.output).all()
    skipped = slow[slow.control == "skip"]
    places = sorted(set(zip(skipped.component, skipped.target, strict=True)))
    assert places == sorted((name, layer) for name in OF_EVERY_MODEL for layer in (1, 2))
    assert slow.finite.all()


@pytest.mark.parametrize("stop_after", [1, 5])
def test_an_interrupted_run_resumes_to_the_same_rows(model, task, whole, tmp_path, stop_after):
    out = tmp_path / "run"

    def interrupt(state):
        if (state.stage, state.done) == ("answer", stop_after):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(model, task, SPEC, out, progress=interrupt)
    assert RunReader(out).connect().execute("SELECT count(DISTINCT item) FROM rows").fetchone() == (
        stop_after,
    )
    seen = []
    run_sweep(model, task, SPEC, out, progress=seen.append)
    answers = [state for state in seen if state.stage == "answer"]
    assert sorted({state.done for state in answers}) == list(range(stop_after, 9))
    assert answers[-1].rows == len(table(out)) - len(table(whole)) * stop_after // 8
    assert_same_rows(out, whole)
    found = read_status(out)
    assert found.unmodified[1] == 8
    assert (answers[-1].unmodified, answers[-1].transplanted) == (
        found.unmodified, found.transplanted,
    )  # fmt: skip
    assert answers[0].unmodified[1] >= stop_after
    assert json.loads((out / "run.json").read_text())["status"]["rows"] == len(table(whole))


def test_progress_is_told_within_batches(model, task, tmp_path):
    seen = []
    run_sweep(model, task, SPEC, tmp_path / "run", progress=seen.append, batch_rows=50)
    read = [state for state in seen if state.stage == "capture"]
    # Both means of each pool (a split of four items) are made once.
    assert [(state.done, state.total) for state in read] == [(n, 4) for n in (1, 2, 3, 4)] * 4
    answers = [state for state in seen if state.stage == "answer"]
    assert [state.rows for state in answers] == sorted(state.rows for state in answers)
    assert len(answers) > 2 * len(table(tmp_path / "run")) / 50
    assert any(state.rows % 1 for state in answers)
    assert answers[-1].done == answers[-1].total == 8
    assert answers[-1].rows == len(table(tmp_path / "run")) <= answers[-1].all_rows


def test_a_finished_run_does_nothing(model, task, whole):
    before = {path: path.stat().st_mtime_ns for path in (whole / "rows").iterdir()}
    assert run_sweep(model, task, SPEC, whole).rows == 0
    assert {path: path.stat().st_mtime_ns for path in (whole / "rows").iterdir()} == before


def test_a_damaged_part_is_set_aside_and_run_again(model, task, whole, tmp_path):
    out = tmp_path / "run"
    run_sweep(model, task, SPEC, out)
    part = next((out / "rows").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:200])
    run_sweep(model, task, SPEC, out)
    assert_same_rows(out, whole)
    assert (out / "rows" / "part-00001-000000.damaged").exists()


def test_other_arguments_are_refused_with_what_differs(model, task, whole):
    other = SweepSpec(component=("ffn",), controls=CONTROLS, max_new_tokens=3, seed=5)
    with pytest.raises(RunFolderError) as error:
        run_sweep(model, task, other, whole)
    assert "spec.components: ['attn', 'ffn'] there, ['ffn'] now" in str(error.value)
    assert "spec.seed: 0 there, 5 now" in str(error.value)
    with pytest.raises(RunFolderError, match=r"model\.weights_hash"):
        run_sweep(wrapped(seed=1), task, SPEC, whole)
    with pytest.raises(RunFolderError, match=r"task\.hash"):
        run_sweep(model, task.select(limit=1), SPEC, whole)


def test_new_starts_over(model, task, tmp_path):
    out = tmp_path / "run"
    run_sweep(model, task, SPEC, out)
    only = SweepSpec(pairs="0:0", max_new_tokens=2)
    assert run_sweep(model, task, only, out, new=True).rows == 8 * 3
    assert len(table(out)) == 8 * 3


def test_controls_of_some_splits_only(model, task, tmp_path):
    spec = SweepSpec(pairs="0:1", controls=("noise",), control_splits=("final",), max_new_tokens=1)
    plan = plan_sweep(model, task, spec)
    outcome = run_sweep(model, task, spec, tmp_path / "run")
    rows = table(outcome.path)
    assert set(rows[rows.control == "noise"].item) == {"q0", "q2", "q4", "q6"}
    assert plan.rows == outcome.rows == 8 * 3 + 4


def test_a_bad_item_is_recorded_and_the_run_goes_on(model, tmp_path):
    task = task_of([make_item(0), make_item(1, main="x" * 400), make_item(2)])
    spec = SweepSpec(pairs="0:0", max_new_tokens=2)
    outcome = run_sweep(model, task, spec, tmp_path / "run")
    assert list(outcome.failures) == ["q1"]
    assert "400 tokens" in outcome.failures["q1"]
    with RunReader(outcome.path).connect() as connection:
        assert connection.execute("SELECT item FROM failures").fetchall() == [("q1",)]
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (3,)
    with pytest.raises(TaskError, match="'q1' cannot be run"):
        run_sweep(model, task, spec, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_nothing_is_written_when_no_item_can_be_run(model, tmp_path):
    task = task_of([make_item(0, main="x" * 400)])
    with pytest.raises(TaskError, match="None of the 1 items"):
        run_sweep(model, task, SPEC, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_presets_bring_their_component(model, task):
    plan = plan_sweep(model, task, SweepSpec(pairs="preset:culture"))
    assert plan.components == ("ffn",)
    assert plan_sweep(model, task, SweepSpec()).components == ("attn",)
    with pytest.raises(PairError, match="preset 'culture' carries ffn, but attn was asked"):
        plan_sweep(model, task, SweepSpec(component=("attn",), pairs="preset:culture"))


@pytest.mark.parametrize(
    "spec",
    [
        SweepSpec(component=("mlp",)),
        SweepSpec(pairs="9:0"),
        SweepSpec(controls=("placebo",)),
        SweepSpec(max_new_tokens=0),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(model, task, tmp_path, spec):
    with pytest.raises(UsageError):
        run_sweep(model, task, spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_python_interface(model, tmp_path):
    items = [{"main": f"Swali {n}:", "aux": f"Question {n}:", "answer": "a"} for n in range(3)]
    run = xl.sweep(model, items, component="ffn", pairs=[(0, 0)], max_new_tokens=2)
    frame = run.to_pandas()
    assert len(frame) == 9
    assert set(frame.item) == {"1", "2", "3"}
    assert xl.Run(run.path).to_pandas().equals(frame)


def test_items_made_by_hand_are_their_own_clusters_and_are_checked(model, tmp_path):
    items = [
        xl.Item(f"q{n}", "sw", "en", f"Swali {n}:", f"Q {n}:", f"({n % 2 + 1})", ("(1)", "(2)"))
        for n in range(4)
    ]
    spec = {"pairs": "0:0", "controls": ["shuffled"], "max_new_tokens": 1}
    rows = xl.sweep(model, items, **spec, out=tmp_path / "run").to_pandas()
    assert len(rows[rows.control == "shuffled"]) == 8
    wrong = dataclasses.replace(items[0], answer="(3)")
    with pytest.raises(TaskError, match=r"'\(3\)' is none of the options"):
        xl.sweep(model, [wrong], out=tmp_path / "wrong")


def test_upper_bounds_and_heatmap_of_a_run(whole):
    run = xl.Run(whole)
    bounds = run.upper_bound()
    true = bounds[(bounds.component == "attn") & (bounds.control == "none")].iloc[0]
    rows = table(whole)
    solved = (
        rows[(rows.component == "attn") & (rows.control == "none")].groupby("item").correct.any()
    )
    assert true.value == pytest.approx(solved.mean())
    assert {"shuffled", "noise", "mean", "self"} < set(bounds.control)
    assert run.heatmap("ffn").data
    with pytest.raises(PairError, match="no 'block' rows: it has attn, ffn"):
        run.heatmap("block")


def test_unmodified_rows_know_how_likely_options_and_their_own_answers_are(model, tmp_path):
    """Each number from a plain forward over prompt and answer; no other row has any of them."""
    task = task_of([make_item(n) for n in range(2)])
    spec = SweepSpec(**{**SPEC, "max_new_tokens": 5})
    rows = table(run_sweep(model, task, spec, tmp_path / "run").path).set_index("item")
    known = ["gold_score", "answer_share", "answer_logprob"]
    plain = rows[rows.control.isin(["vanilla", "translate_test"])]
    assert len(plain) == 4
    assert plain[known].notna().all(axis=None)
    assert rows[~rows.control.isin(["vanilla", "translate_test"])][known].isna().all(axis=None)
    assert rows.option_scores.isna().all()
    tokens = plan_sweep(model, task, spec).tokens
    for name, row in plain.iterrows():
        at = row.control == "translate_test"
        prompt, spelled = tokens[name][at], tokens.answers[name][at]
        whole = {
            option: max(float(logprobs_of(model, prompt, ids).sum()) for ids in spellings)
            for option, spellings in spelled.answers
        }
        gold = make_item(int(name[1:])).answer
        assert row.gold_score == pytest.approx(whole[gold], abs=1e-4)
        own = logprobs_of(model, prompt, tuple(row.output_ids))
        assert row.answer_logprob == pytest.approx(float(own.mean()), abs=1e-4)
        named = math.exp(whole[row.prediction]) if isinstance(row.prediction, str) else 0.0
        share = named / sum(map(math.exp, whole.values()))
        assert row.answer_share == pytest.approx(share, abs=1e-5)


def test_options_longer_than_an_answer_are_not_scored_beside_it(model, tmp_path):
    """They might not fit, and could not be sampled; all else is as with short ones."""
    item = make_item(1, options=("(1)", "the second one, at length"), answer="(1)")
    rows = table(run_sweep(model, task_of([item]), SPEC, tmp_path / "run").path)
    plain = rows.set_index("control").loc["vanilla"]
    assert math.isfinite(plain.gold_score)
    assert math.isnan(plain.answer_share)
    long = dataclasses.replace(item, answer="the second one, at length")
    rows = table(run_sweep(model, task_of([long]), SPEC, tmp_path / "long").path)
    assert rows.gold_score.isna().all()


@torch.no_grad()
def logprobs_of(model, prompt, answer):
    ids = torch.tensor([[*prompt, *answer]])
    logits = model.hf(input_ids=ids).logits[0, len(prompt) - 1 : -1].double()
    return logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0]


def test_translate_test_is_judged_by_what_is_right_in_the_language_of_aux(model, tmp_path):
    echo = make_item(1, options=None, answer="x" * 9, main="Jibu:", aux="Answer:")
    found = run_sweep(model, task_of([echo]), SPEC, tmp_path / "one")
    answer = table(found.path).set_index("control").loc["translate_test"].output.strip()
    item = dataclasses.replace(echo, aux_answer=answer)
    spec = SweepSpec(**{**SPEC, "score_options": True})
    run_sweep(model, task_of([item]), spec, tmp_path / "two")
    rows = table(tmp_path / "two").set_index("control")
    assert rows.loc["translate_test"].correct
    assert not rows.loc["vanilla"].correct
    assert rows.loc["translate_test"].gold_score != rows.loc["vanilla"].gold_score
    with RunReader(tmp_path / "two").connect() as connection:
        stored = connection.execute("SELECT aux_answer, aux_labels, shares FROM items").fetchone()
    assert stored == (answer, None, None)
