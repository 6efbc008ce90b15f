"""Run folders: what a sweep writes, how it resumes, and how everything downstream reads it.

Never sees a model. `schema` says what a row means, `run_folder` writes, `reader` reads through
DuckDB and hands rows to other tools. Names are imported when first used: `files` needs neither
DuckDB nor Arrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader
    from crosslatent.runs.run_folder import RunFolder

__all__ = ["RunFolder", "RunReader"]

__getattr__, __dir__ = lazily(__name__, {"run_folder": ("RunFolder",), "reader": ("RunReader",)})
