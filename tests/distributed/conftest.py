"""Real workers of Ray on this machine, one connection for all tests of a module."""

from __future__ import annotations

import os

import pytest

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'crosslatent[ray]'")


@pytest.fixture(scope="session")
def ray_here():
    """Ray with two cores, as `--ray` would start it; `connected` finds and uses it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Otherwise workers stand back behind the other tests, and one waits for them for minutes.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()
