from __future__ import annotations

from pathlib import Path

import pytest

from crosslatent.report import ReportPaths, build_report, drawing
from support.hostile import hostile_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of hostile texts; never written to."""
    return hostile_run(tmp_path_factory.mktemp("hostile") / "run 'x' <b>$é[a-z]*lang=sw")


@pytest.fixture(scope="session")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """Its report, with figures as SVG only."""
    formats, drawing.FORMATS = drawing.FORMATS, ("svg",)
    try:
        return build_report([run, run], tmp_path_factory.mktemp("report") / "out")
    finally:
        drawing.FORMATS = formats
