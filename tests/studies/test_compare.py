"""`compare`: methods on models whose right conclusion is known; rows, resuming, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.analysis.method_rows import read_methods
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.shared_settings import COMPARE_MARKER, method_names
from crosslatent.model import load
from crosslatent.planted.planting import PlantingSettings, plant
from crosslatent.planted.weights import build
from crosslatent.runs.reader import RunReader
from crosslatent.studies import methods_compared
from crosslatent.studies.methods_compared import RESULT, RUN, TWINS
from crosslatent.sweeps import run_sweep
from support.models import save_tiny

SEVERAL = ("transplant-pilot", "transplant-selector", "oracle-en", "pim", "surer")


@pytest.fixture(scope="module")
def diagonal(tmp_path_factory):
    """A model in which the answer of the English prompt is carried by attention 0 -> 0 alone."""
    folder = tmp_path_factory.mktemp("models") / "diagonal"
    found = plant("diagonal", PlantingSettings(entities=48))
    build(found.circuit, folder, family="llama", noise=0.0, seed=0)
    items = tuple(replace(item, split=None) for item in found.task.items[:120])
    return load(str(folder), device="cpu", dtype="float32"), replace(found.task, items=items)


@pytest.fixture(scope="module")
def compared(diagonal, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    return xl.compare(*diagonal, out=out, methods=SEVERAL), out


@pytest.fixture
def no_page(monkeypatch):
    """Pages take most of the time; one is made for `compared`."""
    monkeypatch.setattr(
        methods_compared, "write_methods_page", lambda _table, _division, out, name: out / name
    )


def rows_of(out, where):
    columns = "item, component, source, target, output_ids, correct, gold_logprob"
    query = f"SELECT {columns} FROM rows WHERE {where} ORDER BY item"
    return RunReader(out).connect().execute(query).fetchall()


def test_the_planted_pair_is_chosen_and_shown_to_be_better(diagonal, compared):
    model, _ = diagonal
    found, _ = compared
    score = found.table.score("transplant-pilot")
    assert score.is_better
    pairs = [(one["settings"]["source"], one["settings"]["target"]) for one in score.chosen]
    assert pairs == [(0, 0)] * 4
    assert score.tried == 2 * model.n_layers**2
    assert found.table.best("given") is not None
    assert found.table.questions == 80


def test_its_rows_are_those_of_a_sweep(diagonal, compared, tmp_path):
    _, out = compared
    model, task = diagonal
    spec = {"component": ("attn",), "pairs": ((0, 0),)}
    run_sweep(model, task, spec, tmp_path / "swept")
    where = "control = 'none' AND component = 'attn' AND source = 0 AND target = 0"
    own, swept = rows_of(out / RUN, where), rows_of(tmp_path / "swept", where)
    assert len(own) == 120
    assert [row[:-1] for row in own] == [row[:-1] for row in swept]
    logprobs = [np.array([row[-1] for row in rows]) for rows in (own, swept)]
    np.testing.assert_allclose(*logprobs, atol=1e-5)  # other batches, other last bits


def test_vanilla_and_oracle_are_the_unmodified_rows(compared):
    found, out = compared
    arrays = read_methods(RunReader(out / RUN))
    con = RunReader(out / RUN).connect()
    share = con.execute(
        f"SELECT avg(r.correct::INT) FROM rows r JOIN items i USING (item) "
        f"WHERE r.control = 'vanilla' AND i.split NOT IN ('{TWINS}', 'pilot')"
    ).fetchone()[0]
    assert found.table.score("vanilla").accuracy.value == pytest.approx(share)
    assert np.isnan(arrays.right["oracle-en"]).sum() == 0
    assert found.table.score("oracle-en").english is None


def test_the_surer_of_both_copies_one_of_two_rows(compared):
    _, out = compared
    record = next(
        one for one in RunReader(out / RUN).manifest["status"]["methods"] if one["name"] == "surer"
    )
    condition = record["rows"][0]["key"][-1]
    con = RunReader(out / RUN).connect()
    assert con.execute(
        "SELECT count(*), count(*) FILTER (NOT EXISTS (SELECT 1 FROM rows o WHERE o.item = r.item "
        "AND o.control IN ('vanilla', 'translate_test') AND o.output_ids = r.output_ids)) "
        f"FROM rows r WHERE condition = '{condition}'"
    ).fetchone() == (80, 0)


def test_the_page_has_both_leagues_and_what_is_known(compared):
    found, out = compared
    page = found.report.read_text(encoding="utf-8")
    for one in found.table.scores:
        assert one.title in page
    assert "Given the English prompt of the same question" in page
    assert "there is no ranking over both" in page
    stored = json.loads((out / RESULT).read_text(encoding="utf-8"))
    assert stored["sentences"] == found.sentences
    assert {one["name"] for one in stored["scores"]} == {one.name for one in found.table.scores}


def test_again_it_reads_what_is_there_and_adds_methods(diagonal, compared, no_page):
    found, out = compared
    before = RunReader(out / RUN).connect().execute("SELECT count(*) FROM rows").fetchone()
    again = xl.compare(*diagonal, out=out, methods=SEVERAL)
    after = RunReader(out / RUN).connect().execute("SELECT count(*) FROM rows").fetchone()
    assert before == after
    assert again.table == found.table
    more = xl.compare(*diagonal, out=out, methods=(*SEVERAL, "few-shot-x"))
    assert {one.name for one in more.table.scores} == {*SEVERAL, "vanilla", "few-shot-x"}
    assert more.table.score("pim") == replace(
        found.table.score("pim"), holm=more.table.score("pim").holm
    )


def test_fewer_questions_are_cross_validated(diagonal, tmp_path, no_page):
    model, task = diagonal
    few = replace(task, items=task.items[:24])
    found = xl.compare(model, few, out=tmp_path / "out", methods=("transplant-pilot", "pim"))
    assert "cross-validation" in found.division
    assert found.table.questions == 24
    assert found.table.score("transplant-pilot").accuracy.n == 24


def test_a_folder_of_other_questions_is_refused(diagonal, compared):
    model, task = diagonal
    _, out = compared
    with pytest.raises(RunFolderError, match="holds a comparison of other questions"):
        xl.compare(model, replace(task, items=task.items[:100]), out=out, methods=("pim",))


def test_unknown_methods_and_one_ranking_are_refused(diagonal, tmp_path):
    with pytest.raises(UsageError, match="Unknown method 'pin'"):
        xl.compare(*diagonal, out=tmp_path / "out", methods=("pin",))
    with pytest.raises(UsageError, match="there is no ranking of both"):
        xl.compare(*diagonal, out=tmp_path / "out", ranking="all")
    assert not (tmp_path / "out").exists()


def test_named_methods_without_what_they_need_are_refused(diagonal, tmp_path):
    model, task = diagonal
    with pytest.raises(UsageError, match="No translation model was given"):
        xl.compare(model, task, out=tmp_path / "out", methods=("translate-test",))
    alone = replace(task, items=tuple(replace(item, aux="") for item in task.items))
    with pytest.raises(UsageError, match="120 of 120 questions have no English counterpart"):
        xl.compare(model, alone, out=tmp_path / "out", methods=("pim",))
    assert not (tmp_path / "out").exists()


def test_counterparts_in_another_language_are_refused(diagonal, tmp_path):
    model, task = diagonal
    odd = replace(task, items=tuple(replace(item, aux_lang="fr") for item in task.items))
    with pytest.raises(UsageError, match="120 of 120 questions have a counterpart in 'fr'"):
        xl.compare(model, odd, out=tmp_path / "out", methods=("pim",))


def test_names_begin_groups():
    assert set(method_names(["transplant"])) == {
        "vanilla",
        "transplant-auto",
        "transplant-pilot",
        "transplant-preset",
        "transplant-selector",
    }
    assert method_names(["pim"]) == ("vanilla", "pim")


def test_a_killed_comparison_goes_on(diagonal, tmp_path, no_page):
    stopped = []

    def stop(label, _state):
        stopped.append(label)
        if "Transplant, pilot pair" in label:
            raise KeyboardInterrupt

    out, names = tmp_path / "out", ("transplant-pilot", "oracle-en")
    with pytest.raises(KeyboardInterrupt):
        xl.compare(*diagonal, out=out, methods=names, progress=stop)
    assert stopped
    assert (out / COMPARE_MARKER).is_file()
    found = xl.compare(*diagonal, out=out, methods=names)
    assert found.table.score("transplant-pilot").is_better


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A random model with room for 2,048 tokens."""
    folder = save_tiny(tmp_path_factory.mktemp("models") / "wide", max_position_embeddings=2048)
    return load(str(folder), device="cpu", dtype="float32")


def test_long_methods_run_on_a_random_model_with_room(diagonal, wide, tmp_path, no_page):
    _, task = diagonal
    few = replace(task, items=tuple(item for item in task.items if item.lang == "sw")[:15])
    names = ("xlt", "self-translate", "few-shot-en", "few-shot-x", "few-shot-parallel")
    found = xl.compare(wide, few, out=tmp_path / "out", methods=names, seeds=2)
    for name in ("xlt", "few-shot-en", "few-shot-x", "few-shot-parallel"):
        score = found.table.score(name)
        assert not score.reason
        assert score.accuracy.n
        assert score.seeds == (1 if name == "xlt" else 2)
