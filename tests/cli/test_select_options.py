"""`crosslatent select` and `transplant --selector`: what is refused, and what is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosslatent.cli import transplanting
from crosslatent.cli.transplanting import check_alone, transplant_by
from crosslatent.core.errors import PairError
from crosslatent.core.settings import complete
from crosslatent.core.shared_settings import AboutSettings, AnswerSettings, CarriedSettings
from support.runs import item, row, write_run

FILE = Path("chosen.json")


def run_folder(path, splits=("pilot", "final")):
    items, rows = [], []
    for k in range(24):
        name = f"q{k:02}"
        items.append(item(name, split=splits[k % len(splits)]))
        rows.append(row(name, "vanilla", k % 3 == 0))
        rows += [row(name, source=s, correct=k % 2 == s) for s in (0, 1)]
    return write_run(path, items, rows)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"strength": 0.5}, "but --strength is given too"),
        ({"positions": 2}, "but --positions is given too"),
        ({"component": "ffn"}, "--selector chooses the pair itself, but --component"),
    ],
)
def test_a_selector_is_given_alone(given, says):
    asked = AboutSettings(options=("a", "b"))
    check_alone(FILE, complete(CarriedSettings, {}), asked)
    other = {"strength": 0.5, "positions": 2, "component": "ffn"}
    check_alone(None, complete(CarriedSettings, other), complete(AboutSettings, {}))
    with pytest.raises(PairError, match=says):
        check_alone(FILE, complete(CarriedSettings, given), asked)


def test_options_are_for_selectors():
    with pytest.raises(PairError, match="--options is 'a,b', but only a selector reads it"):
        check_alone(None, complete(CarriedSettings, {}), AboutSettings(options=("a", "b")))


@pytest.mark.parametrize(("tokens", "chat"), [(None, None), (7, False), (3, True)])
def test_what_is_not_given_comes_from_the_run(monkeypatch, tokens, chat):
    seen = {}

    class Found:
        warnings = ()
        trained_on = None

        def to_dict(self):
            return {}

    class Reading:
        def answer(self, model, items, **given):
            seen.update(given)
            return [Found()]

    monkeypatch.setattr("crosslatent.api.choosers.load_chooser", lambda file: Reading())
    monkeypatch.setattr(transplanting, "print_json", lambda data: None)
    answer = complete(AnswerSettings, {"max_new_tokens": tokens, "chat": chat})
    transplant_by(FILE, None, "m", "a", complete(AboutSettings, {}), answer, as_json=True)
    assert (seen["max_new_tokens"], seen["chat"]) == (tokens, chat)


def test_the_first_split_that_can_be_is_tested_on(cli, tmp_path):
    done = cli("select", str(run_folder(tmp_path / "run")), "--json")
    assert (done.code, done.json["test"]) == (0, "final")
    done = cli("select", str(run_folder(tmp_path / "one", ("pilot",))))
    assert done.code == 2
    assert "no split to test on" in " ".join(done.err.split())


@pytest.mark.parametrize("name", ["attribution", "samples"])
def test_damaged_scores_and_samples_are_refused(cli, tmp_path, name):
    run = run_folder(tmp_path / "run")
    (run / name).mkdir(exist_ok=True)
    (run / name / "part-00001-000000.parquet").write_bytes(b"PAR1 and no more")
    done = cli("select", str(run))
    assert done.code == 2
    assert "Cannot read" in done.err
    assert "unexpected" not in done.err


def test_bad_values_end_with_code_2(cli, tmp_path):
    run = str(run_folder(tmp_path / "run"))
    for arguments in (("--seed", "-1"), ("--save", str(tmp_path))):
        assert cli("select", run, *arguments).code == 2
