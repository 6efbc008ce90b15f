"""What is said when a folder holds another run than the one that is asked for."""

from __future__ import annotations

import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.runs import RunFolder
from crosslatent.runs.manifest import differences

PAIRS = [[source, target] for source in range(80) for target in range(80)]
BASE = {
    "model": {"name": "a", "weights_hash": "0011", "dtype": "float32"},
    "task": {"name": "t", "title": "T", "hash": "aa"},
    "spec": {"seed": 0, "pairs": {"text": "all", "all": PAIRS}},
}


def refusal(path, **changes):
    RunFolder.open(path, BASE).close()
    with pytest.raises(RunFolderError) as error:
        RunFolder.open(path, {**BASE, **changes})
    return str(error.value)


def test_long_lists_are_shortened(tmp_path):
    other = [[0, 0], *PAIRS[2:]]
    said = refusal(tmp_path, spec={"seed": 0, "pairs": {"text": "all", "all": other}})
    assert (
        "spec.pairs.all: 6,400 values there, 6,399 now; the first that differs is number 2, "
        "[0, 1] there, [0, 2] now" in said
    )
    assert len(said) < 500
    assert said.endswith("repeat them to resume, give another folder, or start over with --new.")


def test_a_list_that_goes_on():
    (said,) = differences("x", PAIRS, PAIRS[:-1])
    assert said.endswith("the first that differs is number 6,400, [79, 79] there, none now")


def test_hashes_are_said_in_words(tmp_path):
    said = refusal(
        tmp_path,
        model={**BASE["model"], "weights_hash": "22"},
        task={**BASE["task"], "hash": "bb", "title": "Other"},
    )
    assert "model.weights_hash: other weights (0011 there, 22 now)" in said
    assert "task.hash: other questions (aa there, bb now)" in said
    assert "title" not in said


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        (1, 1, []),
        (None, 1, ["x: None there, 1 now"]),
        ([1], [2], ["x: [1] there, [2] now"]),
        ({"a": 1}, {"b": 2}, ["x.a: 1 there, None now", "x.b: None there, 2 now"]),
        ({"a": 1}, None, ["x: {'a': 1} there, None now"]),
    ],
)
def test_short_values_are_said_whole(there, asked, said):
    assert differences("x", there, asked) == said


def test_long_values_are_cut():
    (said,) = differences("x", PAIRS, None)
    assert said == "x: [[0, 0], [0, 1], [0, 2], [0, 3... (6,400 values) there, None now"
    (said,) = differences("x", "y" * 1000, "n")
    assert "(1,000 characters)" in said
    assert len(said) < 120
