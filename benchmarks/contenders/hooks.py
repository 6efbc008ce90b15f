"""Plain hooks, aux read once, one pair at a time: this package's oracle."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders import ours
from benchmarks.task import Run


def prepare(folder: Path) -> Run:
    """Load the model; see `ours.runner`."""
    from crosslatent.engine import oracle

    return ours.runner(folder, oracle.run_rows)
