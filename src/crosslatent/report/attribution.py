"""Attribution: do scores from gradients rank the pairs as the true sweep does?"""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.analysis.attribution_quality import AttributionResult
from crosslatent.analysis.items import ALL
from crosslatent.report import formatting
from crosslatent.report.verdicts import RANKING
from crosslatent.report.views import Passage, Table

_OUTCOMES = {
    "rise": "largest rise of an option",
    "gold_logprob": "gain of the gold answer",
    "correct": "right or wrong",
}
_GROUPS = {
    "all": "all questions",
    "wrong": "wrong without a transplant",
    "right": "right without a transplant",
}


def attribution(results: Sequence[AttributionResult]) -> list[Passage]:
    """How good the scores are; empty if the run has none."""
    if not results:
        return []
    failed = {one.component for one in results if one.trust and one.trust.granted is False}
    ranked = [one for one in results if one.component not in failed]
    tables = [_found(ranked), _agreement(results)]
    said = [
        [RANKING.say(one), "" if one.component in failed else _sentence(one)]
        for one in results
        if one.split == ALL
    ]
    return [
        Passage([" ".join(filter(None, parts)) for parts in said]),
        Passage(tables=tables, fold="Attribution: all pairs ranked from gradients"),
    ]


def _sentence(result: AttributionResult) -> str:
    name = formatting.first_upper(formatting.component(result.component))
    if not result.found:
        return f"{name}: no question is both wrong unmodified and repaired by some pair."
    least = result.found[0]
    found = formatting.with_interval(least.attribution, difference=False)
    random, fixed = formatting.percent(least.random.value), formatting.percent(least.fixed.value)
    return (
        f"{name}: of {formatting.count(result.solvable, 'question')} that are wrong unmodified "
        "and that "
        f"some pair repairs, the {least.k} pairs with the highest scores hold a repairing one for "
        f"{found}; as many drawn at random {random}, the same {least.k} for every question {fixed}."
    )


def _found(results: Sequence[AttributionResult]) -> Table:
    rows = [
        [
            formatting.component(result.component),
            _split(result),
            str(found.k),
            formatting.with_interval(found.attribution, difference=False),
            formatting.percent(found.random.value),
            formatting.with_interval(found.over_random, difference=True),
            formatting.percent(found.fixed.value),
            formatting.with_interval(found.over_fixed, difference=True),
        ]
        for result in results
        for found in result.found
    ]
    head = ["component", "split", "k", "found", "random", "over random", "fixed", "over fixed"]
    caption = (
        "Share of the questions that some pair repairs with such a pair among the k that are run: "
        "those with the highest scores, k drawn at random (expected), or the same k for every "
        "question, the best on questions about other facts. No score sees a gold answer."
    )
    return Table(head, rows, caption, frozenset(range(2, len(head))))


def _agreement(results: Sequence[AttributionResult]) -> Table:
    rows = [
        [
            formatting.component(result.component),
            _split(result),
            _OUTCOMES[agreement.outcome],
            _GROUPS[agreement.group],
            _number(agreement.correlation.value),
            f"{_number(agreement.correlation.low)} to {_number(agreement.correlation.high)}",
            f"{agreement.correlation.n:,}",
        ]
        for result in results
        for agreement in result.agreement
    ]
    head = ["component", "split", "with", "among", "correlation", "interval", "n"]
    caption = (
        "Spearman\u2019s rank correlation of the scores with what the pairs did, within each "
        "question; mean over questions."
    )
    return Table(head, rows, caption, frozenset((4, 5, 6)))


def _split(result: AttributionResult) -> str:
    return "all" if result.split == ALL else result.split


def _number(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.2f}".replace("-", formatting.MINUS)
