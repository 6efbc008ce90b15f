"""Tests on the make-believe accelerator, which changes torch: they need a process of their own."""

from __future__ import annotations

import pytest

from support import accelerator


@pytest.fixture(scope="session", autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """Register the devices; not where other tests would run on what that makes of torch."""
    if not all(item.get_closest_marker("device") for item in request.session.items):
        pytest.skip("needs a process of its own: make test-device")
    accelerator.install()


@pytest.fixture
def nothing_refused(installed: None):
    """At the end of the test, no operator may have been refused, not even by somebody's `try`."""
    accelerator.refused.clear()
    yield
    assert accelerator.refused == []
