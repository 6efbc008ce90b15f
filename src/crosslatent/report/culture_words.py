"""What a culture card says, in sentences, and as a table of texts."""

from __future__ import annotations

from collections.abc import Iterator

from crosslatent.analysis.culture.card import CultureResult, MeasureResult
from crosslatent.analysis.culture.contrasts import CultureFigure
from crosslatent.core.languages import name_of

HEAD = ("measure", "unmodified", "transplant", "change", "questions")
"""Titles of `lines`."""
STEPS = {
    0: "no change is shown",
    1: "changes answers",
    2: "changes them towards the country",
    3: "more than any other donor does",
}
"""The steps of a claim, in words."""


def lines(result: CultureResult) -> list[tuple[str, ...]]:
    """The card as texts: every measure with figures, over all countries."""
    return [_line(one) for one in result.measures if not one.reason]


def without_figures(result: CultureResult) -> list[str]:
    """Each measure and task without figures, and why."""
    return [
        *(f"{one.title}: {one.reason}" for one in result.measures if one.reason),
        *(f"{name}: {reason}" for name, reason in result.missing.items()),
    ]


def sentences(result: CultureResult) -> list[str]:
    """What can be said: stability first, then the claims of each task, then what is unknown."""
    return [*_stability(result), *_claims(result), *_unmatched(result)]


def value(figure: CultureFigure | None, measure: MeasureResult, *, signed: bool = False) -> str:
    """A figure in the unit of its measure."""
    if figure is None or figure.value is None:
        return "-"
    return number(figure.value, measure, signed=signed)


def number(found: float, measure: MeasureResult, *, signed: bool = False) -> str:
    """A number in the unit of a measure: hundredths, or as it is."""
    scaled = 100 * found if measure.unit == "points" else found
    digits = 1 if measure.unit == "points" else 3
    return f"{scaled:+.{digits}f}" if signed else f"{scaled:.{digits}f}"


def with_interval(figure: CultureFigure | None, measure: MeasureResult) -> str:
    """A change with its interval."""
    text = value(figure, measure, signed=True)
    if figure is None or figure.low is None or figure.high is None:
        return text
    low, high = (number(one, measure, signed=True) for one in (figure.low, figure.high))
    return f"{text} ({low} to {high})"


def _line(one: MeasureResult) -> tuple[str, ...]:
    row = one.pooled
    n = row.vanilla.n if row is not None and row.vanilla is not None else 0
    if row is None:
        return (one.title, "-", "-", "-", "0")
    cells = value(row.vanilla, one), value(row.transplant, one), with_interval(row.change, one)
    return (one.title, *cells, f"{n:,}")


def _stability(result: CultureResult) -> Iterator[str]:
    one = result.measure("stability")
    if one is None or one.pooled is None or one.pooled.vanilla is None:
        return
    plain, changed = value(one.pooled.vanilla, one), value(one.pooled.transplant, one)
    yield (
        f"The unmodified model gives the same answer to other forms of a question in {plain} % of "
        f"the cases, under the transplant in {changed} %: read the other measures by that."
    )


def _claims(result: CultureResult) -> Iterator[str]:
    for task in result.tasks:
        if not task.claims:
            yield f"{task.task}: {task.no_claims}"
            continue
        tested = [one for one in task.claims if one.country]
        for step in (3, 2, 1):
            there = [one.country for one in tested if one.step == step]
            if there:
                share = f"{len(there)} of {len(tested)} countries"
                yield f"{task.task}: {STEPS[step]}: {', '.join(there)} ({share})."
        if not any(one.step for one in tested):
            yield f"{task.task}: for none of {len(tested)} countries a change of answers is shown."


def _unmatched(result: CultureResult) -> Iterator[str]:
    for task in result.tasks:
        far = [name_of(lang) for lang, one in task.matched.items() if one.other and not one.close]
        if far:
            yield (
                f"{task.task}: no other donor language is within 5 points of the model's accuracy "
                f"in {', '.join(far)}, so that language skill may explain a difference there."
            )
