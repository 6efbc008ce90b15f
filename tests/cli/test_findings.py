"""What is found in a run folder: without splits, by `select`, and at the top of its report."""

from __future__ import annotations

import numpy as np
import pytest

from crosslatent.analysis.data import RunData
from crosslatent.report import build_report
from crosslatent.report.verdicts.outcome import FINDING, in_three_lines
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.base import selectors_of
from crosslatent.selectors.evaluating import evaluate_run
from crosslatent.selectors.findings import find
from crosslatent.selectors.table import read_table
from support.runs import item, row, write_run


def run_of(path, n, *, split=None, right=(0, 0), controls=("noise", "self"), answer=True):
    """Every second question is right unmodified, all at the pair `right`, none at the others."""
    names = [f"q{k:03}" for k in range(n)]
    gold = {} if answer else {"answer": None}
    items = [item(one, split=split, **gold) for one in names]
    rows = []
    for place, one in enumerate(names):
        unmodified = place % 2 == 0
        rows += [row(one, "vanilla", unmodified), row(one, "translate_test", unmodified)]
        for source in range(2):
            for target in range(2):
                pair = {"source": source, "target": target}
                rows.append(row(one, correct=(source, target) == right, **pair))
                for control in controls:
                    if control != "self" or source != target:
                        rows.append(row(one, control, unmodified, **pair))
        if "shuffled" in controls:
            more = {"stratum": "different_answer", "donor": names[place - 1]}
            rows.append(row(one, "shuffled", unmodified, source=right[0], target=right[1], **more))
    if not answer:
        rows = [one | {"correct": None, "correct_by_rule": {}} for one in rows]
    return write_run(path, items, rows, spec={"seed": 0, "controls": list(controls)})


@pytest.mark.parametrize(("n", "kind", "tested"), [(30, "folds", 30), (60, "dealt", 40)])
def test_a_run_without_splits_is_divided(tmp_path, n, kind, tested):
    data = RunData(RunReader(run_of(tmp_path / "run", n)))
    found, divided = find(data)
    assert found is not None
    assert (found.kind, found.gain.n, found.fixed) == (kind, tested, True)
    assert (found.pair.source, found.pair.target) == (0, 0)
    assert found.accuracy.value == 1.0
    assert found.repaired == tested - round(found.vanilla.value * tested)
    assert found.verdict == "unproven"  # other questions' vectors were not run
    assert found.aux_lang == "en"
    assert "seed 0" in divided
    assert "copying feed-forward 0 of the English prompt into 0" in FINDING.say(
        found
    ).lower().replace("english", "English")
    lines = list(in_three_lines(found, data.mean(data.items.vanilla)))
    assert lines[0].endswith(f"of {n} questions are right.")
    assert "100" in lines[1]
    assert "Strongest control there" in lines[2]


def test_self_at_one_layer_is_the_unmodified_answer(tmp_path):
    data = RunData(RunReader(run_of(tmp_path / "run", 60)))
    table = read_table(data, others=True)
    assert set(table.others) == {"noise", "self"}
    _, labels = table.others["self"]
    places = [k for k, one in enumerate(table.seen.pairs) if one.source == one.target]
    for place in places:
        assert (labels.correct[:, place] == data.items.vanilla).all()
    found, _ = find(data)
    own = next(one for one in found.controls if one.name == "self")
    assert own.gain.value == 0
    assert own.over.value == found.gain.value


def test_what_cannot_be_tested_says_why(tmp_path):
    found, why = find(RunData(RunReader(run_of(tmp_path / "few", 8))))
    assert found is None
    assert "8 questions" in why
    found, why = find(RunData(RunReader(run_of(tmp_path / "none", 20, answer=False))))
    assert found is None
    assert "0 questions" in why
    found, why = find(RunData(RunReader(run_of(tmp_path / "pilot", 60, split="pilot"))))
    assert found is None
    assert "none with a gold answer is left" in why


@pytest.mark.parametrize(("n", "first"), [(30, "Use ffn 0 -> 0: 50"), (60, "Use ffn 0 -> 0:")])
def test_select_divides_and_says_what_to_use_first(cli, tmp_path, n, first):
    run = str(run_of(tmp_path / "run", n))
    done = cli("select", run, "--save", tmp_path / "chooser.json")
    assert done.code == 0, done
    line = done.out.splitlines()[0]
    assert line.startswith(first)
    assert f"on {n if n < 50 else 40} {'held-out' if n < 50 else 'unseen'} questions" in line
    assert "selector" not in done.out.splitlines()[1][:9]  # no table
    assert "against pilot pair" not in done.out
    assert (tmp_path / "chooser.json").is_file()
    assert "against pilot pair" in cli("select", run, "--all").out
    known = cli("select", run, "--json").json
    assert known["advice"] == line
    assert known["divided"]


def test_a_pair_that_does_not_help_is_not_advised(cli, tmp_path):
    run = str(run_of(tmp_path / "run", 60, right=(5, 5)))
    assert cli("select", run).out.startswith("Leave the answers as they are: ")


def test_learned_selectors_of_folds_are_compared(tmp_path):
    data = RunData(RunReader(run_of(tmp_path / "run", 30)))
    evaluation, fitted = evaluate_run(data, selectors_of("pilot"))
    assert evaluation.items == 30
    assert np.isclose(evaluation.selectors[0].accuracy.value, 1.0)
    assert [(one.source, one.target) for one in fitted["pilot"].pairs] == [(0, 0)]
    assert evaluation.baseline("surer") is None  # how likely answers were is not known


def test_a_report_begins_with_the_finding(tmp_path):
    run = run_of(tmp_path / "run", 60)
    page = build_report([run], tmp_path / "out").page.read_text(encoding="utf-8")
    title = page.partition("<h1>")[2].partition("</h1>")[0]
    assert title.startswith("Copying feed-forward 0 of the English prompt into 0: ")
    assert "No run declares a headline" not in page
    assert "Exploratory: nothing was declared" in page
    declared = {"headline": {"component": "ffn", "task": "facts"}}
    other = write_run(tmp_path / "other", [item("a")], [row("a", "vanilla"), row("a")], **declared)
    page = build_report([other], tmp_path / "two").page.read_text(encoding="utf-8")
    assert "Exploratory: nothing was declared" not in page
