"""Cells of a measure from one value for each question, which most measures have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from crosslatent.analysis.culture.culture_answers import (
    Answers,
    Cells,
    ConditionAnswers,
    CultureAnswer,
    CultureQuestion,
)

Value = float | None
Of = Callable[[CultureQuestion, CultureAnswer], Value]


def cells_of(
    questions: Sequence[CultureQuestion],
    answers: Answers,
    value: Of,
    *,
    weight: Of | None = None,
    group: Callable[[CultureQuestion], str] | None = None,
) -> Cells:
    """One unit for each question that has a value.

    Args:
        questions: of the measure's tasks.
        answers: under one condition.
        value: of a question and its answer; None leaves it out.
        weight: what values are divided by; 1 for a mean.
        group: of a question; "" for all.
    """
    found = [
        (one, got, 1.0 if weight is None else weight(one, answers[one.id]))
        for one in questions
        if one.id in answers and (got := value(one, answers[one.id])) is not None
    ]
    kept = [(one, got, each) for one, got, each in found if each is not None]
    return made_of(
        (name_of(one), cluster_of(one), one.country, "" if group is None else group(one), got, each)
        for one, got, each in kept
    )


Unit = tuple[str, str, str, str, float, float]


def made_of(units: Iterable[Unit]) -> Cells:
    """Cells from (unit, cluster, country, group, value, weight)."""
    rows = list(units)
    names, clusters, countries, groups, values, weights = (
        [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(6)]
    )
    numbers = [np.array(some, dtype=float) for some in (values, weights)]
    return Cells(names, clusters, countries, groups, *numbers)


def name_of(question: CultureQuestion) -> str:
    """A question's name over all tasks."""
    return f"{question.task}/{question.id}"


def cluster_of(question: CultureQuestion) -> str:
    """The name of what is resampled, over all tasks."""
    return f"{question.task}/{question.cluster}"


def share(flags: Iterable[bool]) -> float:
    """Share of true ones; NaN of none."""
    found = list(flags)
    return float(np.mean(found)) if found else float("nan")


def named_nothing(questions: Sequence[CultureQuestion], answers: Answers) -> dict[str, float]:
    """Shares of outputs that are no answer, by kind."""
    kinds = [answers[one.id].kind for one in questions if one.id in answers]
    return {
        "refusals": share(kind == "refusal" for kind in kinds),
        "answers in another language": share(kind == "other language" for kind in kinds),
        "outputs that name nothing else": share(kind == "other" for kind in kinds),
    }


def grade_of(question: CultureQuestion, answer: CultureAnswer) -> float | None:
    """The graded score of an answer, else whether it is right; None if that is unknown."""
    del question
    if answer.grade is not None:
        return answer.grade
    return None if answer.correct is None else float(answer.correct)


def by_kind(
    questions: Sequence[CultureQuestion],
    answers: ConditionAnswers,
    stratum: str,
    groups: Mapping[str, float],
) -> Cells:
    """Right answers by a group of the questions, over all countries together."""
    wanted = [one for one in questions if one.strata.get(stratum) in groups]
    cells = cells_of(wanted, answers.plain, grade_of, group=lambda one: one.strata[stratum])
    return Cells(
        cells.units,
        cells.clusters,
        [""] * len(cells.units),
        cells.groups,
        cells.values,
        cells.weights,
    )
