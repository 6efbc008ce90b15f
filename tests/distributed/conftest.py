"""Real workers: processes of this machine, and of Ray where it is installed."""

from __future__ import annotations

import os

import pytest

from crosslatent.distributed import Cluster


@pytest.fixture(scope="session")
def ray_here():
    """Ray with two cores, as `--ray` would start it; `connected` finds and uses it."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'crosslatent[ray]'")
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


@pytest.fixture(params=["processes", "ray"])
def two(request):
    """Two workers: where they are."""
    if request.param == "processes":
        return 2
    request.getfixturevalue("ray_here")
    return Cluster(workers=2)
