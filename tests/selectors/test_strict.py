"""Strict room: what some true pair solves and neither the choice nor any pair of any control."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from crosslatent.analysis.data import RunData
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.evaluating import evaluate_run
from crosslatent.selectors.kinds.pilot import Pilot
from crosslatent.selectors.selector_scores import room
from crosslatent.selectors.table import solved_by_controls
from support.runs import Record, item, row, write_run

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1)]
SELF = [pair for pair in PAIRS if pair[0] != pair[1]]


def grid(
    name: str,
    control: str,
    right: Iterable[tuple[int, int]] = (),
    pairs: Iterable[tuple[int, int]] = PAIRS,
    **changes: object,
) -> list[Record]:
    """Rows of one control over pairs; those in `right` are right."""
    good = list(right)
    return [
        row(name, control, pair in good, source=pair[0], target=pair[1], **changes)
        for pair in pairs
    ]


def test_every_control_takes_its_questions_out_of_the_room(tmp_path: Path) -> None:
    donors = {"stratum": "same_answer", "donor": "z"}, {"stratum": "different_answer", "donor": "z"}
    rows = [
        *(row(name, "vanilla", name == "d") for name in "abcdef"),
        *(one for name in "abcdef" for one in grid(name, "none", [(1, 1)])),
        # One stratum of donors is enough; one question has a donor of one stratum alone.
        *(one for name in "abcdef" for one in grid(name, "shuffled", [(0, 1)] * (name == "a"),
                                                   **donors[name != "b"])),
        *(one for name in "abcdef" for one in grid(name, "noise", [(0, 0)] * (name == "c"))),
        *(one for name in "abcdef" for one in grid(name, "self", [(0, 1)] * (name == "e"), SELF)),
    ]  # fmt: skip
    data = RunData(RunReader(write_run(tmp_path / "run", [item(n) for n in "abcdef"], rows)))
    found = solved_by_controls(data, ["ffn"])
    assert list(found) == ["shuffled", "noise", "self"]
    assert found["shuffled"].tolist() == [1, 0, 0, 0, 0, 0]
    assert found["noise"].tolist() == [0, 0, 1, 0, 0, 0]
    # Identity cells of self count as the unmodified answer, right for d alone.
    assert found["self"].tolist() == [0, 0, 0, 1, 1, 0]
    left = room(np.ones(6), found)
    assert left is not None
    assert left.tolist() == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # The control was run with other pairs only: nothing can be said.
        (grid("a", "noise", [], [(0, 0), (0, 1)]), {}),
        # It was run with more pairs, of which those alone count that true was run with.
        (grid("a", "noise", [(1, 1)]), {"noise": [0.0]}),
        (grid("a", "mean", [(0, 1)]), {"mean": [1.0]}),
        # A paraphrase brings the question along, and is not among them.
        (grid("a", "paraphrase", PAIRS), {}),
        # Two strata that each lack a part are one control together.
        (
            [
                *grid("a", "shuffled", [], [(0, 0), (0, 1)], stratum="same_symbol", donor="z"),
                *grid("a", "shuffled", [(1, 0)], [(1, 0)], stratum="same_answer", donor="z"),
            ],
            {"shuffled": [1.0]},
        ),
        ([], {}),
    ],
)
def test_controls_count_over_the_pairs_that_true_was_run_with(
    tmp_path: Path, rows: list[Record], expected: dict[str, list[float]]
) -> None:
    true = grid("a", "none", [(0, 0)], [(0, 0), (0, 1), (1, 0)])
    run = write_run(tmp_path / "run", [item("a")], [row("a", "vanilla", False), *true, *rows])
    found = solved_by_controls(RunData(RunReader(run)), ["ffn"])
    assert {name: values.tolist() for name, values in found.items()} == expected


def test_a_component_without_the_control_leaves_it_unknown(tmp_path: Path) -> None:
    rows = [row("a", "vanilla", False), *grid("a", "none"), *grid("a", "noise")]
    rows += grid("a", "none", component="attn")
    data = RunData(RunReader(write_run(tmp_path / "run", [item("a")], rows)))
    assert list(solved_by_controls(data, ["ffn"])) == ["noise"]
    assert solved_by_controls(data, ["ffn", "attn"]) == {}


def test_self_of_the_authors_attention_has_no_identities(tmp_path: Path) -> None:
    rows = [row("a", "vanilla", True)]
    for control in ("none", "self"):
        rows += grid("a", control, component="attn_residual")
    data = RunData(RunReader(write_run(tmp_path / "run", [item("a")], rows)))
    assert solved_by_controls(data, ["attn_residual"])["self"].tolist() == [0.0]


def test_what_a_control_lacks_is_missing_and_not_outside_the_room() -> None:
    found = room(
        np.array([1.0, 1.0, 0.0]), {"noise": np.array([0, 1, np.nan]), "mean": np.zeros(3)}
    )
    assert found is not None
    assert found[:2].tolist() == [1, 0]
    assert np.isnan(found[2])
    assert room(np.ones(2), {}) is None


def test_the_evaluation_has_it_for_every_selector_and_way(tmp_path: Path) -> None:
    names = [f"{split}{k}" for split in ("pilot", "final") for k in range(8)]
    items = [item(name, split=name[:-1]) for name in names]
    rows = []
    for k, name in enumerate(names):
        rows += [row(name, "vanilla", False), row(name, "translate_test", k % 8 == 7)]
        # 0 -> 0 wins on the pilot split; on half of the others another pair alone is right.
        right = [(0, 0)] if k < 8 or k % 2 else [(1, 1)]
        rows += grid(name, "none", right)
        rows += grid(name, "noise", [(0, 1)] * (k % 8 == 0))
    run = RunReader(write_run(tmp_path / "run", items, rows))
    found, _ = evaluate_run(run, [Pilot()])
    pilot = found.selectors[0]
    assert pilot.accuracy.value == 0.5
    # Four of eight are left to a better choice, and noise solves one of them.
    assert pilot.strict_room is not None
    assert (pilot.strict_room.value, pilot.strict_room.n) == (3 / 8, 8)
    rooms = {one.name: one.strict_room.value for one in found.baselines if one.strict_room}
    assert rooms["vanilla"] == 7 / 8
    assert rooms["translate_test"] == 6 / 8
    assert rooms["upper_bound"] == 0
    assert (found.strict_controls, found.strict_missing) == (
        ["noise"],
        ["shuffled", "mean", "self"],
    )
