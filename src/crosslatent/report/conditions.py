"""Conditions beside the unmodified model, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from crosslatent.analysis.results import RunSummary
from crosslatent.report.tables_evidence import Record, flat


def condition_records(run: RunSummary) -> Iterator[Record]:
    """Every condition, split and language."""
    for one in run.conditions:
        yield {
            "condition": one.name,
            "id": one.id,
            "split": one.split,
            "lang": one.lang,
            **flat("vanilla", one.vanilla),
            **flat("accuracy", one.accuracy),
            **flat("gain", one.gain),
            "repaired": one.repaired,
            "broken": one.broken,
            **flat("changed", one.changed),
            "p_value": one.test.p_value,
            "holm": one.test.holm,
        }
