from __future__ import annotations

from pathlib import Path

import pytest

from crosslatent.report import ReportPaths, build_report, drawing
from support.hostile import bad, hostile_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of hostile texts; never written to."""
    return hostile_run(tmp_path_factory.mktemp("hostile") / "run 'x' <b>$é[a-z]*lang=sw")


@pytest.fixture(scope="session")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """The report of it and of another one beside it, with figures as SVG only."""
    formats, drawing.FORMATS = drawing.FORMATS, ("svg",)
    spec = {"seed": 0, "components": ["ffn"], bad("key"): bad("other value")}
    other = tmp_path_factory.mktemp("other") / run.name
    hostile_run(other, shift=1, created=bad("later"), spec=spec)
    try:
        return build_report([run, other], tmp_path_factory.mktemp("report") / "out")
    finally:
        drawing.FORMATS = formats
