"""Whole jobs on a user's own questions, from prompts to an answer that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.studies.improvement import Improvement, improve
    from crosslatent.studies.methods_compared import MethodComparison, compare

__all__ = ["Improvement", "MethodComparison", "compare", "improve"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "improvement": ("Improvement", "improve"),
        "methods_compared": ("MethodComparison", "compare"),
    },
)
