"""A bar in a notebook is one output that is replaced, and needs no ipywidgets."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from crosslatent.core.bars import progresses, told
from crosslatent.sweeps import Progress


class Output:
    def __init__(self):
        self.shown = []

    def update(self, data, *, raw):
        assert raw
        self.shown.append(data["text/plain"])


@pytest.fixture
def cell(monkeypatch):
    display = pytest.importorskip("IPython.display", reason="needs a notebook's display")
    output = Output()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(display, "display", lambda *_, **__: output)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    return output


def state(rows, seconds):
    return Progress("answer", rows // 10, 10, rows, 100, seconds, 0, (1, 2), (3, 4))


def test_a_notebook_shows_one_output(cell, capsys, recwarn):
    with progresses() as show:
        show("first", state(40, 1.0))
        show("second\x1b[2J", state(100, 2.0))
    last = cell.shown[-1].splitlines()
    assert last[0].startswith(f"first {'━' * 10}{'┄' * 15} 4 of 10 items")
    assert "50% right, 75% transplanted" in last[0]
    assert "━" * 25 in last[1]
    assert "\x1b" not in cell.shown[-1]
    assert capsys.readouterr().err == ""
    assert not recwarn.list


def test_an_error_leaves_the_last_state(cell):
    with suppress(KeyboardInterrupt), told(True, "task") as show:
        show(state(10, 1.0))
        show(state(20, 1.1))
        raise KeyboardInterrupt
    assert "2 of 10 items" in cell.shown[-1]
    assert len(cell.shown) == 2
