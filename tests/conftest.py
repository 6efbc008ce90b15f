"""Fixtures that several test modules use; the models come from `support.models`."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One thread: tiny models gain nothing from more, and lose a hundredfold on a machine that is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from support.shapes import check_shapes

check_shapes()
collect_ignore = ["core_alone"]  # `test_core_alone.py` runs it in an environment of its own
# No test fails for being slow: the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _pdf_files_of_outlines() -> Iterator[None]:
    """PDF figures hold outlines of letters: to cut fonts for each takes half the time of a report.

    `tests/report/test_report.py` asks what users get.
    """
    from crosslatent.report import drawing

    with mock.patch.dict(drawing._style(), {"pdf.fonttype": 3}):
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama on disk; read-only for the tests."""
    from support.models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--newest`: libraries may say that something will go."""
    parser.addoption(
        "--newest", action="store_true", help="list what libraries deprecate, and fail nothing"
    )


FIRST = ("distributed", "faults", "hostile", "golden", "report", "engine", "harness", "translate")
"""Folders with few tests that take long: begun first, then the files beside the folders, so that
none is waited for at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long comes first; with `--newest`, deprecations are listed and fail nothing."""
    folder = Path(__file__).parent
    order = {name: place for place, name in enumerate(FIRST)}

    def place(item: pytest.Item) -> int:
        name, *below = item.path.relative_to(folder).parts
        return order.get(name, len(FIRST) + 1) if below else len(FIRST)

    items.sort(key=place)
    if config.getoption("--newest"):
        for item in items:
            for category in ("FutureWarning", "DeprecationWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"default::{category}"))


class _Deprecations(logging.Handler):
    """Keeps what a library's logger says of things that will go, as transformers does."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "deprecated" in text or "will be removed" in text:
            self.said.append(text)


@pytest.fixture(autouse=True)
def nothing_deprecated(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may make transformers log that what it was asked for will go."""
    handler, logger = _Deprecations(), logging.getLogger("transformers")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    for text in handler.said:
        if not request.config.getoption("--newest"):
            pytest.fail(f"transformers deprecates something that was used: {text}")
        warnings.warn(text, FutureWarning, stacklevel=1)
