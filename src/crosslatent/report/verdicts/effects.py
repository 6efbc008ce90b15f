"""What a pair gains, what is left of an upper bound, and what the declared conditions came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crosslatent.analysis.bounds import BoundVersus, OverControls, UpperBound
from crosslatent.analysis.carried import Follow
from crosslatent.analysis.data import control_name
from crosslatent.analysis.inference import LEVEL
from crosslatent.analysis.other_ways import OF_OPTIONS, OF_TEXTS, OtherWay
from crosslatent.report import formatting
from crosslatent.report.verdicts.family import Family, Phrase, points_with_interval
from crosslatent.stats import Estimate

Conditions = Mapping[str, bool | None]


def _gain_values(gain: Estimate) -> Mapping[str, str]:
    ends = formatting.interval(gain, difference=True)
    if gain.low is not None:
        ends = f"{100 * gain.confidence:.0f}{formatting.NARROW}% interval {ends}"
    return {"numbers": f"{formatting.points(gain.value)} points ({ends})"}


GAIN: Family[Estimate] = Family(
    "gain",
    _gain_values,
    {
        "shown": Phrase(lambda gain: gain.above_zero, "a gain of {numbers}"),
        "loss": Phrase(lambda gain: gain.below_zero, "a loss of {numbers}"),
        "not_shown": Phrase(
            lambda gain: gain.value is not None and not (gain.above_zero or gain.below_zero),
            "no gain could be shown: {numbers}",
        ),
        "unmeasured": Phrase(lambda gain: gain.value is None, "the gain could not be measured"),
    },
)
"""A clause, not a sentence: as plain for a bad result as for a good one."""


def _condition_values(conditions: Conditions) -> Mapping[str, str]:
    failed = [name for name, held in conditions.items() if held is False]
    unknown = [name for name, held in conditions.items() if held is None]
    return {
        "failed": f"{len(failed)} of {len(conditions)}",
        "open": f"{len(unknown)} of {len(conditions)}",
    }


HEADLINE: Family[Conditions] = Family(
    "headline",
    _condition_values,
    {
        "holds": Phrase(
            lambda found: all(found.values()), "Every condition declared beforehand holds."
        ),
        "fails": Phrase(
            lambda found: False in found.values(),
            "Not every condition declared beforehand holds. Failing: {failed}.",
        ),
        "open": Phrase(
            lambda found: None in found.values(),
            "Of the conditions declared beforehand, {open} could not be judged.",
        ),
    },
)


def _bound_values(one: OverControls) -> Mapping[str, str]:
    gap = one.strongest.difference
    ends = formatting.interval(gap, difference=True)
    return {
        "component": formatting.first_upper(formatting.component(one.component)),
        "numbers": f"{formatting.points(gap.value)} points ({ends}; permutation test "
        f"{formatting.p_equals(one.p_value)})",
        "control": formatting.control(one.strongest.control),
        "lacking": formatting.listing(formatting.control(name) for name in one.not_run),
    }


def _significant(one: OverControls) -> bool:
    return one.p_value is not None and one.p_value < LEVEL


def _bound_shown(one: OverControls) -> bool:
    return one.strongest.difference.above_zero and _significant(one)


def _bound_below(one: OverControls) -> bool:
    """Of the strongest control alone: the others need not lie above the true counterpart."""
    p_value = one.strongest.test.p_two_sided
    return one.strongest.difference.below_zero and p_value is not None and p_value < LEVEL


BOUND: Family[OverControls] = Family(
    "bound",
    _bound_values,
    {
        "above": Phrase(
            _bound_shown,
            "{component}: the upper bound lies {numbers} above the strongest control, {control}.",
        ),
        "below": Phrase(
            _bound_below,
            "{component}: the upper bound lies {numbers} below the strongest control, {control}: "
            "it is no more than luck.",
        ),
        "not_shown": Phrase(
            lambda one: not _bound_shown(one) and not _bound_below(one),
            "{component}: that the upper bound beats the strongest control, {control}, could not "
            "be shown: {numbers}.",
        ),
        "interval_alone": Phrase(
            lambda one: one.strongest.difference.above_zero and not _significant(one),
            "The interval lies above zero, but the test does not confirm it.",
        ),
        "not_run": Phrase(
            lambda one: bool(one.not_run), "Not run, and perhaps stronger: {lacking}."
        ),
    },
)


@dataclass(frozen=True, slots=True)
class Union:
    """The upper bound of one component, with its controls.

    Attributes:
        rival: the comparison with the strongest control that knows no answer.
        others: every comparison that is plotted.
    """

    bound: UpperBound
    rival: BoundVersus | None
    others: list[BoundVersus]


def _union_values(one: Union) -> Mapping[str, str]:
    bound, rival = one.bound, one.rival
    where = f" of the {bound.splits[0]} split" if len(bound.splits) == 1 else ""
    names = [formatting.control(control_name(b.control, b.stratum)) for b in one.others]
    values = {
        "component": formatting.first_upper(formatting.component(bound.component)),
        "where": where,
        "tries": f"{bound.attempts[1]:,} {'pair' if bound.attempts[1] == 1 else 'pairs'}",
        "before": formatting.percent(bound.vanilla.value),
        "after": formatting.percent(bound.overall.value),
        "controls": formatting.listing(names),
    }
    if rival is not None:
        values["rival"] = formatting.control(control_name(rival.control, rival.stratum))
        values["luck"] = formatting.percent(rival.overall.control.value)
        values["true"] = formatting.percent(rival.overall.true.value)
    return values


def _lifted(one: Union) -> float:
    return (one.bound.overall.value or 0.0) - (one.bound.vanilla.value or 0.0)


UNION: Family[Union] = Family(
    "union",
    _union_values,
    {
        "lifts": Phrase(
            lambda one: _lifted(one) > 0,
            "{component}: counting a question{where} as solved if any of up to {tries} solves it "
            "lifts the share of right answers from {before} to {after}.",
        ),
        "lifts_nothing": Phrase(
            lambda one: _lifted(one) <= 0,
            "{component}: even counting a question{where} as solved if any of up to {tries} solves "
            "it, no more answers are right than unmodified: {after} against {before}.",
        ),
        "beside": Phrase(
            lambda one: one.rival is not None,
            "With as many attempts at the same pairs, the strongest control that knows no answer "
            "({rival}) reaches {luck}, and the true counterpart {true}.",
        ),
        "diagnosis_alone": Phrase(
            lambda one: one.rival is None and bool(one.others),
            "How much of that is luck is not known: of the controls, {controls} alone was run, "
            "which brings something of the answer or the question along.",
        ),
        "no_control": Phrase(
            lambda one: one.rival is None and not one.others,
            "No control was run, so how much of that is luck is not known.",
        ),
    },
)


def _follow_values(one: Follow) -> Mapping[str, str]:
    return {
        "component": formatting.first_upper(formatting.component(one.component)),
        "where": "over all pairs" if one.pair is None else "at the picked pair",
        "share": formatting.percent(one.share.value),
        "before": formatting.percent(one.vanilla_share.value),
    }


FOLLOW: Family[Follow] = Family(
    "follow",
    _follow_values,
    {
        "shares": Phrase(
            lambda one: one.share.value is not None,
            "{component}: {where}, {share} of the outputs give the donor\u2019s answer; "
            "unmodified, {before} would have matched it anyway.",
        ),
        "follows": Phrase(
            lambda one: one.difference.above_zero,
            "The output follows the donor, so part of what the vector carries is an answer, or its "
            "symbol.",
        ),
        "not_shown": Phrase(
            lambda one: not one.difference.above_zero,
            "That the output follows the donor could not be shown.",
        ),
    },
)


def place(pair: tuple[str, int, int]) -> str:
    """``attention 7 -> 0``."""
    return f"{formatting.component(pair[0])} {pair[1]}\u202f\u2192\u202f{pair[2]}"


_COSTS = {"translate_test": 1, "surer": 2, "surer_calibrated": 2}
_MEANINGS = {
    "translate_test": "Answering the counterpart prompt instead (translate-test, without any "
    "transplant",
    "surer": "The surer of both prompts (both answered, the likelier answer kept",
    "surer_calibrated": "The surer of both prompts, calibrated (with a margin fitted on the pilot "
    "questions",
}


@dataclass(frozen=True, slots=True)
class Beside:
    """Another way to answer, and what is to be said of it: ``exploratory`` or nothing."""

    way: OtherWay
    note: str = ""


def _beside_values(one: Beside) -> Mapping[str, str]:
    way = one.way
    best = way.best or ("", 0, 0)
    return {
        "way": f"{_MEANINGS.get(way.name, way.name)}, cost {_COSTS.get(way.name, 2)})",
        "share": formatting.percent(way.accuracy.value),
        "pair": place(best),
        "best": formatting.percent(way.best_accuracy.value if way.best_accuracy else None),
        "over": points_with_interval(way.over_best) if way.over_best else "",
        "preset": place(way.pair or best),
        "gain": GAIN.say(way.gain),
        "note": one.note,
        "starts": f"{_by_starts(way):,}",
        "asked": f"{sum(way.measured_by.values()):,}",
    }


def _by_starts(way: OtherWay) -> int:
    """Questions of which it is known alone how likely the first tokens of answers were."""
    return sum(way.measured_by.get(name, 0) for name in (OF_OPTIONS[1], OF_TEXTS[1]))


def _answers(one: Beside) -> bool:
    return one.way.name in _COSTS


def _compared(one: Beside) -> float | None:
    """Points above the best pair; None for a pair, and where no pair was run."""
    return one.way.over_best.value if _answers(one) and one.way.over_best else None


def _better(one: Beside) -> bool:
    return _compared(one) is not None and bool(one.way.over_best and one.way.over_best.above_zero)


WAYS: Family[Beside] = Family(
    "ways",
    _beside_values,
    {
        "better": Phrase(
            _better,
            "{way} is right on {share}: better than any pair of layers, by {over} over the best "
            "one in hindsight ({pair}, {best}){note}.",
        ),
        "not_worse": Phrase(
            lambda one: (over := _compared(one)) is not None and over >= 0 and not _better(one),
            "{way} is right on {share}; no pair of layers is right more often, the best one in "
            "hindsight ({pair}) on {best}{note}.",
        ),
        "worse": Phrase(
            lambda one: (_compared(one) or 0.0) < 0,
            "{way} is right on {share}, the best pair of layers in hindsight ({pair}) on {best}"
            "{note}.",
        ),
        "alone": Phrase(
            lambda one: _answers(one) and _compared(one) is None,
            "{way} is right on {share}{note}.",
        ),
        "first_tokens": Phrase(
            lambda one: one.way.name == "surer" and _by_starts(one.way) > 0,
            "How likely the two answers were is known of their first tokens alone in {starts} of "
            "{asked} questions, whose rows say no more.",
        ),
        "preset": Phrase(
            lambda one: one.way.name == "preset",
            "The pair that the paper recommends for this type of task, {preset}: {gain}.",
        ),
    },
)


@dataclass(frozen=True, slots=True)
class PairNamed:
    """A pair where it is named, with the questions whose prompts end in the same token.

    Attributes:
        plain: one position, at full strength.
        changes: it changes some output: in a decoder that is given one token alone it cannot.
    """

    component: str
    pair: tuple[int, int]
    same: int
    questions: int
    plain: bool
    changes: bool


def _copies(one: PairNamed) -> bool:
    site = one.component == "attn" and one.pair == (0, 0)
    return site and one.plain and one.changes and one.same > 0


PAIR: Family[PairNamed] = Family(
    "pair",
    lambda one: {"same": f"{one.same:,}", "questions": f"{one.questions:,}"},
    {
        "whole_state": Phrase(
            lambda one: _copies(one) and one.same == one.questions,
            "Both prompts end in the same token here, so attention 0\u202f\u2192\u202f0 copies the "
            "whole state of the last token after the attention of block 0, not a part of it.",
        ),
        "whole_state_of_some": Phrase(
            lambda one: _copies(one) and one.same < one.questions,
            "In {same} of {questions} questions both prompts end in the same token: there, "
            "attention 0\u202f\u2192\u202f0 copies the whole state of the last token after the "
            "attention of block 0, not a part of it.",
        ),
    },
)
