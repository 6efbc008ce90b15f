"""Run folders: what a sweep writes, how it resumes, and how everything downstream reads it.

Never sees a model. `schema` says what a row means, `run_folder` writes, `reader` reads through
DuckDB and hands rows to other tools. Names are imported when first used: `files` needs neither
DuckDB nor Arrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader
    from crosslatent.runs.run_folder import RunFolder

__all__ = ["RunFolder", "RunReader"]

_HOMES = {"RunFolder": "run_folder", "RunReader": "reader"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
