"""Whole jobs: from a user's own questions to an answer that can be used; what answers cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.studies.culture_card import CultureCard, culture
    from crosslatent.studies.improvement import Improvement, improve
    from crosslatent.studies.methods_compared import MethodComparison, compare
    from crosslatent.studies.overhead_record import Overhead
    from crosslatent.studies.overhead_study import overhead

__all__ = [
    "CultureCard", "Improvement", "MethodComparison", "Overhead", "compare", "culture", "improve",
    "overhead",
]  # fmt: skip

__getattr__, __dir__ = lazily(
    __name__,
    {
        "culture_card": ("CultureCard", "culture"),
        "improvement": ("Improvement", "improve"),
        "methods_compared": ("MethodComparison", "compare"),
        "overhead_study": ("overhead",),
        "overhead_record": ("Overhead",),
    },
)
