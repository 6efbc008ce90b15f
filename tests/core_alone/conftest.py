"""For an environment with the core alone, which `tests/test_core_alone.py` makes."""

from __future__ import annotations

import pytest

import crosslatent as xl


@pytest.fixture(scope="session")
def model():
    return xl.shipped_model()


@pytest.fixture(scope="session")
def run(model, tmp_path_factory):
    """A small sweep with controls."""
    folder = tmp_path_factory.mktemp("core") / "run"
    task = xl.load_task("demo-facts", languages=["sw"]).select(limit=3)
    return xl.sweep(
        model, task, out=folder, component="ffn", pairs="2:2,7:7", controls=["shuffled", "noise"]
    )
