"""`improve`: on planted models whose right conclusion is known, resumed, and refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import crosslatent as xl
from crosslatent.core.errors import RunFolderError, TaskError
from crosslatent.core.shared_settings import CHOOSER, IMPROVE_MARKER
from crosslatent.model import load
from crosslatent.planted.planting import PlantingSettings, plant
from crosslatent.planted.weights import build
from crosslatent.report import ReportPaths
from crosslatent.runs.reader import RunReader
from crosslatent.studies import improvement
from crosslatent.sweeps import run_sweep
from support.rows import wrapped

N = 60


def planted(folder, variant, n=N):
    """A planted model with some of its questions, which have no split."""
    found = plant(variant, PlantingSettings(entities=24))
    build(found.circuit, folder, family="llama", noise=0.0, seed=0)
    items = tuple(replace(item, split=None) for item in found.task.items[:n])
    return load(str(folder), device="cpu", dtype="float32"), replace(found.task, items=items)


@pytest.fixture(scope="module")
def diagonal(tmp_path_factory):
    """A model in which the answer of the English prompt is carried by attention 0 -> 0 alone."""
    return planted(tmp_path_factory.mktemp("models") / "diagonal", "diagonal")


@pytest.fixture(scope="module")
def improved(diagonal, tmp_path_factory):
    out = tmp_path_factory.mktemp("improved") / "out"
    warned = []
    return xl.improve(*diagonal, out=out, component="attn", warned=warned.append), out, warned


def test_the_planted_pair_is_found_tested_and_kept(diagonal, improved):
    found, out, warned = improved
    assert found.finding is not None
    assert found.finding.verdict == "lifts"
    assert found.finding.recommended == "choice"
    pair = found.finding.pair
    assert (pair.component, pair.source, pair.target) == ("attn", 0, 0)
    assert found.finding.gain.n == 40
    assert found.sentence.startswith("Copying attention 0 of the English prompt into 0 lifts ")
    assert found.use == "Use: copy attention 0 of the English prompt into 0."
    assert "20 to choose on (pilot), 40 to test on (unseen)" in found.division
    assert list(found.warnings) == warned
    page = found.report.read_text(encoding="utf-8")
    assert found.sentence in page.replace("&#39;", "'")
    stored = json.loads((out / improvement.RESULT).read_text(encoding="utf-8"))
    assert stored["sentence"] == found.sentence
    assert stored["finding"]["verdict"] == "lifts"
    model, task = diagonal
    chooser = xl.load_chooser(out / "chooser")
    assert chooser.saved.fitted_on["measured"]["sentence"] == found.sentence
    answers = chooser.answer(model, task.items[:5])
    assert [one.way for one in answers] == ["transplant"] * 5
    assert all(one.trained_on is not None for one in answers)


@pytest.fixture
def no_page(monkeypatch):
    """Pages take most of the time; one with every figure is made for `improved`."""

    def write(runs, out, *, seed, lead):
        page = out / "report.html"
        page.write_text(lead.sentence, encoding="utf-8")
        return ReportPaths(page, page)

    monkeypatch.setattr(improvement, "build_report", write)


def stopping_at(last):
    """`run_sweep`, interrupted when it is called for the `last` time."""
    calls = []

    def sweep(*arguments, **options):
        calls.append(arguments)
        if len(calls) == last:
            raise KeyboardInterrupt
        return run_sweep(*arguments, **options)

    return sweep


@pytest.mark.usefixtures("no_page")
def test_a_call_that_was_cut_goes_on_to_the_same_choice(diagonal, improved, tmp_path, monkeypatch):
    found, first, _ = improved
    out = tmp_path / "out"
    for last in (1, 2, 3):
        with monkeypatch.context() as patch:
            patch.setattr(improvement, "run_sweep", stopping_at(last))
            with pytest.raises(KeyboardInterrupt):
                xl.improve(*diagonal, out=out, component="attn")
        assert not (out / CHOOSER).exists()
        assert not (out / improvement.RESULT).exists()
    again = xl.improve(*diagonal, out=out, component="attn")
    assert again.sentence == found.sentence
    assert (out / CHOOSER).read_bytes() == (first / CHOOSER).read_bytes()
    rows = [sorted(path.name for path in (one / "runs").iterdir()) for one in (out, first)]
    assert rows == [["pairs", "tested", "unmodified"]] * 2


def test_another_job_does_not_mix_with_what_is_there(diagonal, improved, tmp_path):
    model, task = diagonal
    _, out, _ = improved
    with pytest.raises(RunFolderError, match="the result for other settings"):
        xl.improve(model, task, out=out, component="ffn")
    with pytest.raises(RunFolderError, match="the result for other questions"):
        xl.improve(model, replace(task, items=task.items[:40]), out=out, component="attn")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="holds something else"):
        xl.improve(model, task, out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("no_page")
def test_where_nothing_is_planted_nothing_is_found(tmp_path):
    model, task = planted(tmp_path / "model", "nothing")
    found = xl.improve(model, task, out=tmp_path / "out", component="attn")
    assert found.finding is not None
    assert found.finding.verdict == "nothing"
    assert found.sentence.startswith("Nothing that was tried is shown to be better than chance: ")
    assert found.use == "Leave the answers as they are."
    assert any("English is no better" in one for one in found.warnings)


@pytest.mark.usefixtures("no_page")
def test_few_questions_are_cross_validated(diagonal, tmp_path):
    model, task = diagonal
    few = replace(task, items=task.items[:36])
    found = xl.improve(model, few, out=tmp_path / "out", component="attn")
    assert found.finding is not None
    assert (found.finding.kind, found.finding.gain.n) == ("folds", 36)
    assert "cross-validation" in found.division
    assert "36 held-out questions" in found.sentence
    assert found.finding.verdict == "lifts"


def test_a_model_that_does_not_know_is_not_swept(diagonal, tmp_path, request):
    model, task = diagonal
    items = [
        {"main": f"{item.main}", "aux": item.aux, "answer": f"zzz{k}", "aux_answer": "yyy"}
        for k, item in enumerate(task.items[:20])
    ]
    out = tmp_path / "out"
    found = xl.improve(model, items, out=out)
    assert found.sentence.startswith("Nothing can be repaired: the model is right on 0")
    assert (found.finding, found.chooser) == (None, None)
    assert [path.name for path in (out / "runs").iterdir()] == ["unmodified"]
    assert "Nothing was tried" in found.report.read_text(encoding="utf-8")
    request.getfixturevalue("no_page")
    tried = xl.improve(model, items, out=tmp_path / "anyway", anyway=True, component="attn")
    assert tried.finding is not None
    assert tried.finding.verdict == "nothing"


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": None}, "0 of 20 questions have a gold answer"),
        ({"answer": "Nairobi"}, "All 20 questions have the answer 'Nairobi'"),
        ({"main": ""}, "every item needs both"),
        ({"aux": ""}, "every item needs both"),
        ({"cluster": "one"}, "about 1 facts"),
    ],
)
def test_questions_that_decide_nothing_are_refused(diagonal, tmp_path, change, says):
    model, _ = diagonal
    items = [
        {"main": f"Swali {k}? Jibu:", "aux": f"Question {k}? Answer:", "answer": f"a{k}"} | change
        for k in range(20)
    ]
    with pytest.raises((TaskError, xl.CrosslatentError), match=says):
        xl.improve(model, items, out=tmp_path / "out", anyway=True)
    assert not (tmp_path / "out" / CHOOSER).exists()
    assert not (tmp_path / "out" / IMPROVE_MARKER).exists()


@pytest.mark.usefixtures("no_page")
def test_prompts_and_options_that_mislead_are_warned_of(tmp_path):
    items = [
        {
            "main": f"Swali {k} ni nini hapa? Jibu:",
            "aux": "What?" if k else f"Question {k}, what is it here? Answer:",
            "answer": f"same{k % 2}",
            "options": ["same0", "same1"],
        }
        for k in range(12)
    ]
    warned = []
    xl.improve(wrapped(), items, out=tmp_path / "out", warned=warned.append, max_new_tokens=2)
    said = " ".join(warned)
    assert "11 of 12 counterparts are much shorter" in said
    assert "11 of 12 questions end in another token" in said
    assert "In 12 of 12 questions options begin with the same token" in said
    assert len(warned) == len(set(warned))


@pytest.mark.usefixtures("no_page")
def test_what_is_kept_is_what_is_recommended_and_worth_that(tmp_path):
    model, task = planted(tmp_path / "model", "split_fact")
    found = xl.improve(model, task, out=tmp_path / "out", component="attn")
    assert found.finding is not None
    assert found.finding.recommended in ("translate_test", "surer")
    plain = found.finding.best_plain
    assert plain is not None
    saved = xl.load_chooser(tmp_path / "out" / "chooser").saved
    assert saved.name == found.finding.recommended == plain.name
    assert saved.fitted_on["measured"]["accuracy"]["value"] == plain.accuracy.value
    nothing = planted(tmp_path / "other", "nothing")
    found = xl.improve(*nothing, out=tmp_path / "none", component="attn")
    assert found.chooser is None
    assert not (tmp_path / "none" / CHOOSER).exists()


@pytest.mark.usefixtures("no_page")
def test_an_item_that_failed_once_stays_left_out(diagonal, tmp_path, monkeypatch):
    model, task = diagonal
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(improvement, "run_sweep", stopping_at(2))
        with pytest.raises(KeyboardInterrupt):
            xl.improve(model, task, out=out, component="attn")
    marker = out / IMPROVE_MARKER
    kept = json.loads(marker.read_text(encoding="utf-8"))
    assert sorted(kept["asked"]) == sorted(item.id for item in task.items)
    # As if the first call could not ask four of them.
    lost = [item.id for item in task.items[:4]]
    kept["asked"] = [one for one in kept["asked"] if one not in lost]
    marker.write_text(json.dumps(kept), encoding="utf-8")
    xl.improve(model, task, out=out, component="attn")
    swept = set()
    for name in (improvement.SWEPT, improvement.TESTED):
        with RunReader(out / "runs" / name).connect() as rows:
            swept |= {one for (one,) in rows.execute("SELECT item FROM items").fetchall()}
    assert swept == set(kept["asked"])


def test_plain_methods_that_are_known_of_few_questions_are_not_compared(diagonal, tmp_path):
    model, task = diagonal
    items = [replace(i, options=None, labels=None, aux_labels=None) for i in task.items]
    items = [replace(i, aux_answer=None if k % 2 else i.aux_answer) for k, i in enumerate(items)]
    warned = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(improvement, "build_report", lambda *a, **k: ReportPaths(a[1], a[1]))
        open_task = replace(task, items=tuple(items), rule="contains")
        found = xl.improve(
            model, open_task, out=tmp_path / "out", component="attn", warned=warned.append,
            anyway=True,
        )  # fmt: skip
    assert any("30 of 60 questions have no gold answer in English" in one for one in warned)
    assert found.finding is not None
    assert [one.name for one in found.finding.plain] == []
