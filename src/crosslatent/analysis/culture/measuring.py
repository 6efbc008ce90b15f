"""From the stored answers of some tasks to the measures of the card, and to its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosslatent.analysis.culture.card import MeasureResult
from crosslatent.analysis.culture.contrasts import CultureFigure, measure_rows, not_worse
from crosslatent.analysis.culture.culture_answers import (
    TRANSPLANT,
    VANILLA,
    ConditionAnswers,
    CultureQuestion,
)
from crosslatent.analysis.culture.differences import differences
from crosslatent.analysis.culture.measure import Measure
from crosslatent.analysis.culture.steps import CountryClaim, country_claims
from crosslatent.analysis.culture.stored_answers import StoredAnswers
from crosslatent.core.plugins import MEASURES

OF_OPINIONS = ("stability", "similarity", "specificity")
OF_ANSWERS = ("stability", "knowledge", "wrong-country")
"""What reads a task that no measure names: with shares of a population, or with gold answers."""


def read_by(measure: str, questions: Sequence[CultureQuestion]) -> bool:
    """Whether a measure reads a task; of one that no measure names, by what its questions have."""
    task = questions[0].task if questions else ""
    if any(task in MEASURES[name].tasks for name in MEASURES.names()):
        return task in MEASURES[measure].tasks
    opinions = all(one.shares is not None for one in questions)
    return measure in (OF_OPINIONS if opinions else OF_ANSWERS)


def measured(
    name: str, stored: Sequence[StoredAnswers], missing: Mapping[str, str], seed: int
) -> MeasureResult:
    """One measure over all tasks that it reads.

    Args:
        name: of the measure.
        stored: answers of each task.
        missing: task that is not there -> why.
        seed: of the draws.
    """
    measure = MEASURES[name]()
    read = [one for one in stored if one.questions and read_by(name, one.questions)]
    head = _head(name, measure)
    if not read:
        own = {task: missing[task] for task in measure.tasks if task in missing}
        reason = " ".join(f"{task}: {why}" for task, why in own.items())
        return MeasureResult(**head, reason=reason or "None of its tasks was asked.")
    questions = [question for one in read for question in one.questions]
    runs = together(read)
    cells = {condition: measure.cells(questions, run) for condition, run in runs.items()}
    kept = {condition: some for condition, some in cells.items() if len(some.units)}
    if VANILLA not in kept or TRANSPLANT not in kept:
        return MeasureResult(**head, reason="No question has what it reads.")
    rows = measure_rows(kept, measure.groups, seed=seed)
    beside = {
        condition: dict(measure.beside(questions, run))
        for condition, run in runs.items()
        if condition in kept
    }
    return MeasureResult(
        **head,
        rows=tuple(rows),
        beside={condition: some for condition, some in beside.items() if some},
        not_worse=not_worse(rows[0], measure.margin) if measure.good == "not worse" else None,
        read=tuple(dict.fromkeys(one.task for one in questions)),
    )


def _head(name: str, measure: Measure) -> dict[str, Any]:
    names = ("title", "about", "source", "good", "unit", "fails", "tasks")
    return {"name": name, **{each: getattr(measure, each) for each in names}}


def together(stored: Sequence[StoredAnswers]) -> dict[str, ConditionAnswers]:
    """Answers of several tasks by condition; a question has the name of its task before its id."""
    found: dict[str, ConditionAnswers] = {}
    for one in stored:
        for name, run in one.runs.items():
            there = found.get(name, ConditionAnswers({}))
            forms = {*there.variants, *run.variants}
            found[name] = ConditionAnswers(
                {**there.plain, **run.plain},
                {
                    form: {**there.variants.get(form, {}), **run.variants.get(form, {})}
                    for form in forms
                },
            )
    return found


def claimed(
    stored: StoredAnswers, seed: int
) -> tuple[tuple[CountryClaim, ...], dict[str, dict[str, CultureFigure]], str]:
    """What may be said of each country of one task.

    Returns:
        The claims, the first over all countries; differences in differences by name and country;
        and why there are none.
    """
    countries = {one.country for one in stored.questions} - {""}
    if not countries:
        return (), {}, "Its questions are not about countries, so that no step can be tested."
    for name in (*OF_OPINIONS, *OF_ANSWERS):
        if not read_by(name, stored.questions):
            continue
        closeness = MEASURES[name]().closeness(stored.questions, stored.runs)
        if closeness is not None:
            return (
                tuple(country_claims(closeness, seed=seed)),
                differences(closeness, seed=seed),
                "",
            )
    return (), {}, "No measure of its questions knows how close answers are to countries."
