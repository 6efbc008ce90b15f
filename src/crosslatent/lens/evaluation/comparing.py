"""From the answers under two conditions to paired estimates; NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crosslatent.core.languages import can_identify, same_language
from crosslatent.lens.evaluation.results import ALL, AnswerRow
from crosslatent.stats import (
    Estimate,
    Floats,
    cluster_permutation,
    clustered_mean,
    paired_difference,
)


@dataclass(slots=True)
class Compared:
    """The figures of `results.ConditionResult` that follow from answers."""

    accuracy: dict[str, Estimate] = field(default_factory=dict)
    change: dict[str, Estimate] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    p_value: dict[str, float | None] = field(default_factory=dict)
    fidelity: dict[str, Estimate] = field(default_factory=dict)
    fidelity_change: dict[str, Estimate] = field(default_factory=dict)


def compare(
    rows: Sequence[AnswerRow], unmodified: Sequence[AnswerRow] | None, central: str, seed: int
) -> Compared:
    """Figures of the answers under one condition.

    Args:
        rows: its answers.
        unmodified: the answers of the unmodified model to the same questions, or to more; None
            where `rows` are these.
        central: key of the central questions.
        seed: of intervals and tests.
    """
    found = Compared()
    before = None if unmodified is None else {_question(row): row for row in unmodified}
    for key, chosen in _groups(rows, central).items():
        clusters = [row.cluster for row in chosen]
        right, faithful = _right(chosen), _faithful(chosen)
        found.accuracy[key] = clustered_mean(right, clusters, seed=seed)
        found.fidelity[key] = clustered_mean(faithful, clusters, seed=seed)
        if before is None:
            continue
        pairs = [before[_question(row)] for row in chosen]
        was_right, was_faithful = _right(pairs), _faithful(pairs)
        found.change[key] = paired_difference(right, was_right, clusters, seed=seed)
        found.fidelity_change[key] = paired_difference(faithful, was_faithful, clusters, seed=seed)
        found.repaired[key] = int((right > was_right).sum())
        found.broken[key] = int((right < was_right).sum())
        test = cluster_permutation(right, was_right, clusters, seed=seed)
        found.p_value[key] = test.p_two_sided
    return found


def _groups(rows: Sequence[AnswerRow], central: str) -> Mapping[str, list[AnswerRow]]:
    """All target questions, those of each language, and the central ones."""
    targets = [row for row in rows if row.role == "target"]
    groups = {ALL: targets}
    for lang in sorted({row.lang for row in targets}):
        groups[lang] = [row for row in targets if row.lang == lang]
    groups[central] = [row for row in rows if row.role == "central"]
    return {key: group for key, group in groups.items() if group}


def _question(row: AnswerRow) -> tuple[str, str]:
    return row.item, row.role


def _right(rows: Sequence[AnswerRow]) -> Floats:
    return np.array([np.nan if row.correct is None else float(row.correct) for row in rows])


def _faithful(rows: Sequence[AnswerRow]) -> Floats:
    """Whether answers are in the language of the question; NaN where it cannot be identified."""
    return np.array(
        [
            np.nan
            if row.output_lang is None or not can_identify(row.lang)
            else float(same_language(row.output_lang, row.lang))
            for row in rows
        ]
    )
