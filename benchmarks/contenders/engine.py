"""This package's batched engine: all rows of an instance over one shared prefix."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders import ours
from benchmarks.task import Run


def prepare(folder: Path) -> Run:
    """Load the model; see `ours.runner`."""
    from crosslatent import engine

    return ours.runner(folder, engine.run_rows)
