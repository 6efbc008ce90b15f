"""docs/runs.md says what happens: its examples run on a run folder as it is."""

from __future__ import annotations

import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from crosslatent.core.errors import UsageError
from crosslatent.report import build_report
from crosslatent.report.figure import FIGURES
from crosslatent.runs.schema import FAILURES
from crosslatent.sweeps import run_sweep
from support.faults import exported
from support.pages import text_of

GUIDE = Path(__file__).parents[2] / "docs" / "runs.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


def packages(block):
    found = re.findall(r"(?:^import|^from|crosslatent\[)\s*(\w+)", block, flags=re.MULTILINE)
    return [name for name in found if find_spec(name) is None]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_examples_of_reading_run(whole, block, tmp_path, monkeypatch, capsys):
    if missing := packages(block):
        pytest.skip(f"{missing[0]} is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(FIGURES, "_kinds", {name: FIGURES[name] for name in FIGURES.own})
    scope = {}
    code = compile(re.sub("RUN|runs/before|runs/after", str(whole[0]), block), "runs.md", "exec")
    if "compare" in block:
        with pytest.raises(UsageError, match=r"one run|itself|copy"):
            exec(code, scope)
        return
    exec(code, scope)
    printed = capsys.readouterr().out
    if "rows" in scope:
        rows = exported(whole[0])
        capsys.readouterr()
        assert scope["rows"].num_rows == len(rows)
        assert {row["output"] for row in scope["rows"]} == {row["output"] for row in rows}
        assert scope["items"].num_rows == 8
    elif "ways" in scope:
        files = build_report([whole[0]], tmp_path / "report")
        assert "-ways.csv" in " ".join(file.name for file in files.figures)
        assert "Accuracy of every way to answer." in text_of(files.page)
    elif "run" in scope:
        assert "<svg" in scope["run"]._repr_html_()
    else:
        assert "shuffled" in printed


def test_there_is_an_example_of_every_way_of_reading():
    text = "".join(BLOCKS)
    assert all(name in text for name in ("duckdb", "to_pandas", "to_polars", "load_dataset"))


def test_numbers_of_the_guide():
    text = " ".join(GUIDE.read_text(encoding="utf-8").split())
    seconds = inspect.signature(run_sweep).parameters["part_seconds"].default
    assert f"Rows are collected for {seconds:g} seconds" in text
    meaning = FAILURES.field("kind").metadata[b"meaning"].decode()
    for kind in ("prompt", "memory", "error", "worker"):
        assert f"| `{kind}` |" in text
        assert kind in meaning
