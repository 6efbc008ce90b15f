"""Filters that task files may use."""

from __future__ import annotations

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks.expressions import Expression, argmax, found, literal, marked


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("defaultdict(<class 'list'>, {'Kenya': [0.2, 0.8]})", {"Kenya": [0.2, 0.8]}),
        ("3", 3),
    ],
)
def test_literal(text, value):
    assert literal(text) == value


@pytest.mark.parametrize("text", ["__import__('os')", "[1,", "x"])
def test_literal_runs_nothing(text):
    with pytest.raises(TaskError, match="places.yaml:3: this fails on row 1"):
        Expression("text | literal", "places.yaml:3")({"text": text}, "row 1")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Q?\n(1) yes\n(2) no, not (at all)\nA:", ["yes", "no, not (at all)"]),
        ("(1) yes (2) no\n", ["yes", "no"]),
        ("（1）是\n（2）否\n", ["是", "否"]),
        ("(1) only", ["only", ""]),
    ],
)
@pytest.mark.parametrize("options", [("(1)", "(2)"), ("1", "2")])
def test_marked(text, labels, options):
    assert marked(text, options) == labels


def test_found_and_argmax():
    assert found("a: x\ny", r"a: (.*?)\n") == "x"
    assert found("b", "a(.)") == ""
    assert argmax([0.1, 0.4, 0.4]) == 1
