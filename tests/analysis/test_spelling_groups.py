"""Gains of open questions by whether the right answer is spelled the same in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosslatent.analysis import RunSummary, summarise
from crosslatent.analysis.carried import spelled_alike
from crosslatent.analysis.data import RunData
from crosslatent.runs.reader import RunReader
from support.runs import Record, item, row, write_run


def asked(name: str, answer: str | None, aux_answer: str | None, **changes: Any) -> Record:
    """An open question."""
    given = {"answer": answer, "aux_answer": aux_answer, "options": None, "labels": None}
    return item(name, **(given | changes))


@pytest.mark.parametrize(
    ("answer", "aux_answer", "more", "alike"),
    [
        ("Nairobi", "Nairobi", {}, 1.0),
        ("nairobi ", "NAIROBI", {}, 1.0),
        # The same letters as composed and combining characters, and other digits and apostrophes.
        ("S\u00e3o Tom\u00e9", "Sa\u0303o Tome\u0301", {}, 1.0),
        ("\u0967\u0968", "12", {}, 1.0),
        ("N\u2019Djamena", "N'Djamena", {}, 1.0),
        ("\u0928\u0948\u0930\u094b\u092c\u0940", "Nairobi", {}, 0.0),
        ("Atenas", "Athens", {}, 0.0),
        ("Atenas", "Athens", {"other_answers": ["Athens"]}, 1.0),
        ("Atenas", "Athens", {"other_aux_answers": ["ATENAS", "Athina"]}, 1.0),
        ("Nairobi", None, {}, np.nan),
        (None, "Nairobi", {}, np.nan),
        ("(1)", "(1)", {"options": ["(1)", "(2)"]}, np.nan),
    ],
)
def test_answers_are_alike_in_the_form_in_which_answers_are_compared(
    tmp_path: Path, answer: str | None, aux_answer: str | None, more: Record, alike: float
) -> None:
    folder = write_run(
        tmp_path / "run", [asked("q", answer, aux_answer, **more)], [row("q", "vanilla", None)]
    )
    np.testing.assert_equal(spelled_alike(RunData(RunReader(folder))), [alike])


ANSWERS = {"same": ("Nairobi", "Nairobi"), "other": ("Atenas", "Athens"), "unknown": ("Oslo", None)}
SOLVED = {"same": 9, "other": 4, "unknown": 0}
"""Of twelve questions of each kind, those that the pair repairs."""


def mixed(path: Path, *strata: str | None) -> RunSummary:
    """Twelve questions of each kind in each split; donors of the strata repair three of them."""
    items, rows = [], []
    for split in ("pilot", "final"):
        for kind, (answer, aux_answer) in ANSWERS.items():
            for k in range(12):
                name = f"{split}-{kind}-{k:02}"
                lang = "hi" if kind == "other" and k < 5 else "es"
                own = {"lang": lang, "split": split}
                items.append(
                    asked(name, f"{answer} {k}", aux_answer and f"{aux_answer} {k}", **own)
                )
                rows += [row(name, "vanilla", False), row(name, "none", k < SOLVED[kind])]
                for stratum in strata:
                    donor = f"{split}-{kind}-{(k + 1) % 12:02}"
                    rows.append(row(name, "shuffled", k < 3, stratum=stratum, donor=donor))
    rows.append(row("pilot-same-00", "none", True, source=1))
    return summarise([write_run(path / "run", items, rows)]).runs[0]


def test_gains_stand_apart_and_beside_a_blind_donor(tmp_path: Path) -> None:
    run = mixed(tmp_path, "different_answer")
    pilot, found = run.spelling
    assert (pilot.split, pilot.in_sample) == ("pilot", True)
    assert (found.component, found.split, found.in_sample) == ("ffn", "final", False)
    assert found.unknown == 12
    assert (found.same.gain.value, found.same.gain.n) == (pytest.approx(9 / 12), 12)
    assert (found.other.gain.value, found.other.gain.clusters) == (pytest.approx(4 / 12), 12)
    assert found.difference.value == pytest.approx(5 / 12)
    assert (found.difference.n, found.difference.clusters) == (24, 24)
    assert found.same.languages == {"es": 12}
    assert list(found.other.languages.items()) == [("es", 7), ("hi", 5)]
    assert found.same.donor is not None
    assert found.same.over_donor is not None
    # The five in Hindi have donors in Hindi alone, the others in Spanish; all have a donor's row.
    assert found.same.donor.value == pytest.approx(3 / 12)
    assert found.same.over_donor.value == pytest.approx(6 / 12)


@pytest.mark.parametrize(("strata", "known"), [((None,), True), ((), False)])
def test_donors_without_strata_count_and_without_any_nothing_is_made_up(
    tmp_path: Path, strata: tuple[None, ...], known: bool
) -> None:
    found = mixed(tmp_path, *strata).spelling[-1]
    assert (found.same.donor is not None) == (found.same.over_donor is not None) == known


def test_questions_with_options_have_none_of_it(tmp_path: Path) -> None:
    items = [item(f"q{k}", split=split) for k, split in enumerate(("pilot", "final"))]
    rows = [row(f"q{k}", control, True) for k in range(2) for control in ("vanilla", "none")]
    assert summarise([write_run(tmp_path / "run", items, rows)]).runs[0].spelling == []


def test_one_kind_alone_has_no_difference(tmp_path: Path) -> None:
    items, rows = [], []
    for split in ("pilot", "final"):
        for k in range(8):
            items.append(asked(f"{split}{k}", f"a{k}", f"a{k}", split=split))
            rows += [row(f"{split}{k}", "vanilla", False), row(f"{split}{k}", "none", k < 4)]
    found = summarise([write_run(tmp_path / "run", items, rows)]).runs[0].spelling[-1]
    assert (found.same.gain.value, found.other.gain.value, found.other.gain.n) == (0.5, None, 0)
    assert (found.difference.value, found.difference.low, found.unknown) == (None, None, 0)
    assert not found.difference.above_zero
