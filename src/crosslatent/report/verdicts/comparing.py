"""What two runs say beside each other: which gains more, and whether a headline is replicated."""

from __future__ import annotations

from collections.abc import Mapping

from crosslatent.analysis import replication
from crosslatent.analysis.replication import Replication
from crosslatent.analysis.run_differences import LESS, MORE, SAME, UNDECIDED, RunDifference
from crosslatent.core.specs import Pair
from crosslatent.report import formatting
from crosslatent.report.verdicts.family import Family, Phrase, points_with_interval

MEASURES: Mapping[str, str] = {
    "accuracy": "unmodified model",
    "translate_test": "answering the counterpart instead",
    "surer": "the surer of both prompts",
    "picked_accuracy": "right answers at each run\u2019s own picked pair",
    "picked_pair": "gain at each run\u2019s own picked pair",
    "declared_accuracy": "right answers at the declared pair",
    "declared_pair": "gain at the declared pair",
    "all_pairs": "mean gain over all pairs of both",
    "upper_bound": "upper bound",
    "over_control": "upper bound above the strongest control",
}
"""What each measure is called."""

_GAINS = ("gains more than A", "gains less than A")
_VERBS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("picked_pair", "declared_pair", "all_pairs"), _GAINS),
    **dict.fromkeys(("upper_bound", "over_control"), ("is above A", "is below A")),
}
_RIGHT = ("is right more often than A", "is right less often than A")


def pair_named(pair: Pair) -> str:
    """``3 → 7``."""
    return f"{pair[0]} \u2192 {pair[1]}"


def measure_named(one: RunDifference) -> str:
    """A measure with its component: ``attention, upper bound``."""
    component = f"{formatting.component(one.component)}, " if one.component else ""
    return f"{component}{MEASURES[one.measure]}"


def _compared_values(one: RunDifference) -> Mapping[str, str]:
    more, less = _VERBS.get(one.measure, _RIGHT)
    ends = formatting.interval(one.difference, difference=True)
    test = f"; corrected {formatting.p_equals(one.test.holm)}" if one.test.holm is not None else ""
    return {
        "what": formatting.first_upper(measure_named(one)),
        "more": more,
        "less": less,
        "numbers": f"{formatting.points(one.difference.value)} points ({ends}{test})",
        "margin": f"{100 * one.margin:.0f}",
        "visible": formatting.points(one.visible).lstrip("+"),
    }


COMPARED: Family[RunDifference] = Family(
    "compared",
    _compared_values,
    {
        "more": Phrase(lambda one: one.outcome == MORE, "{what}: B {more}, by {numbers}."),
        "less": Phrase(lambda one: one.outcome == LESS, "{what}: B {less}, by {numbers}."),
        "same": Phrase(
            lambda one: one.outcome == SAME,
            "{what}: no difference that matters: {numbers}, within {margin} points either way.",
        ),
        "undecided": Phrase(
            lambda one: one.outcome == UNDECIDED and one.visible is not None,
            "{what}: undecided: {numbers}. The smallest difference that such data show with "
            "80\u202f% power is {visible} points.",
        ),
    },
)
"""B minus A, of one figure."""


def _beaten(one: Replication) -> bool:
    return not one.not_run and all(each.difference.above_zero for each in one.controls)


def _replication_values(one: Replication) -> Mapping[str, str]:
    before = "" if one.first is None else f", {points_with_interval(one.first)} in A"
    ends = formatting.interval(one.gain, difference=True)
    return {
        "component": formatting.component(one.declared.component),
        "pair": pair_named(one.pair),
        "aim": f"{100 * one.declared.least_gain:.0f}",
        "numbers": f"{formatting.points(one.gain.value)} points ({ends}; "
        f"{formatting.p_equals(one.p_value)}){before}",
        "n": f"{formatting.count(one.gain.n, 'other question')} about "
        f"{formatting.count(one.gain.clusters, 'other fact')}",
        "visible": formatting.points(one.visible).lstrip("+"),
        "lacking": formatting.listing(formatting.control(name) for name in one.not_run),
    }


_FOUND = "On {n}, {component} gains {numbers}; A declared at least {aim} points. "

REPLICATION: Family[Replication] = Family(
    "replication",
    _replication_values,
    {
        "replicated": Phrase(
            lambda one: one.verdict == replication.REPLICATED,
            f"{_FOUND}Replicated: the gain reaches the aim and beats every declared control.",
        ),
        "refuted": Phrase(
            lambda one: one.verdict == replication.REFUTED,
            f"{_FOUND}Refuted: a gain that large is excluded.",
        ),
        "undecided": Phrase(
            lambda one: one.verdict == replication.UNDECIDED,
            f"{_FOUND}Undecided: the smallest gain that such data show with 80\u202f% power is "
            "{visible} points.",
        ),
        "not_beaten": Phrase(
            lambda one: one.gain.above_zero and not one.not_run and not _beaten(one),
            "Not every declared control is beaten.",
        ),
        "not_run": Phrase(
            lambda one: bool(one.not_run), "Declared controls that were not run: {lacking}."
        ),
        "same_pair": Phrase(lambda one: not one.own_pair, "The pair is that of A, {pair}."),
        "own_pair": Phrase(
            lambda one: one.own_pair,
            "The models differ, so the pair is B\u2019s own, {pair}, picked on questions that are "
            "left out here.",
        ),
        "not_declared": Phrase(
            lambda one: not one.declared_again, "B did not declare this comparison beforehand."
        ),
    },
)
"""The first run's declared headline on other questions of the second."""
