"""What came of choosing the pair without the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosslatent.report import formatting
from crosslatent.report.verdicts.family import Family, Phrase, points_with_interval
from crosslatent.selectors.kinds.pilot import REFERENCE
from crosslatent.selectors.selector_results import MOST_COST, SelectorEvaluation, SelectorResult

_MOST_NAMED = 3
"""Selectors that a sentence names."""


def groups(evaluation: SelectorEvaluation) -> list[list[SelectorResult]]:
    """Selectors, those alike (right on the same questions, see `SelectorResult.alike`) together.

    The fixed pilot pair leads its group, the cheapest one any other.
    """
    left, found = list(evaluation.selectors), []
    while left:
        first = left[0]
        group = [one for one in left if one.name == first.name or one.name in first.alike]
        left = [one for one in left if one not in group]
        found.append(sorted(group, key=lambda one: (one.name != REFERENCE.name, one.cost)))
    return found


def named(group: Sequence[SelectorResult]) -> str:
    """The first of a group in quotes, and how many are like it."""
    more = f" (and {len(group) - 1} alike)" if len(group) > 1 else ""
    return f"\u201c{group[0].name}\u201d{more}"


@dataclass(frozen=True, slots=True)
class Choice:
    """An evaluation and what its sentences speak of."""

    found: SelectorEvaluation
    note: str = ""

    @property
    def pilot(self) -> SelectorResult | None:
        """The pair that is fixed beforehand."""
        return next((one for one in self.found.selectors if one.name == REFERENCE.name), None)

    @property
    def gap(self) -> float:
        """From the unmodified model to the upper bound."""
        bound = self.found.baseline("upper_bound")
        return (bound.gain.value or 0.0) if bound is not None else 0.0

    @property
    def better(self) -> list[list[SelectorResult]]:
        """Groups that beat the pilot pair and the unmodified model."""
        return [group for group in groups(self.found) if group[0].beats_pilot]

    @property
    def harmless(self) -> list[list[SelectorResult]]:
        """Groups that beat the pilot pair, and not the unmodified model."""
        return [g for g in groups(self.found) if g[0].above_pilot and not g[0].beats_pilot]

    @property
    def weak(self) -> list[list[SelectorResult]]:
        """Groups whose interval lies above the pilot pair, and whose corrected test says no."""
        return [
            group
            for group in groups(self.found)
            if group[0].affordable
            and not group[0].above_pilot
            and group[0].versus_pilot is not None
            and group[0].versus_pilot.above_zero
        ]

    @property
    def differing(self) -> list[list[SelectorResult]]:
        """Groups that are right on other questions than the pilot pair."""
        return [group for group in groups(self.found) if group[0].differs]

    @property
    def half(self) -> list[list[SelectorResult]]:
        """Those of them that recover more than half of the gap, the cheapest first."""
        found = [group for group in self.differing if group[0].recovers_half]
        return sorted(found, key=lambda g: (g[0].cost, -(g[0].accuracy.value or 0.0)))


def _several(parts: list[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(parts) - _MOST_NAMED
    return formatting.listing(parts[:_MOST_NAMED] + ([f"{more} more"] if more > 0 else []))


def _both_gains(one: SelectorResult) -> str:
    against = "" if one.versus_pilot is None else points_with_interval(one.versus_pilot)
    return f"{against}, {points_with_interval(one.gain)} over the unmodified model"


def share_of_gap(one: SelectorResult) -> str:
    """``92.0 % (84.0 to 98.8 %), at cost 2``."""
    return f"{formatting.with_interval(one.recovered, difference=False)}, at cost {one.cost:g}"


def _values(one: Choice) -> Mapping[str, str]:
    half, pilot = one.half, one.pilot
    return {
        "within": f"at no more than {MOST_COST:g} times the cost of an unmodified answer",
        "better": _several([f"{named(g)} by {_both_gains(g[0])}" for g in one.better]),
        "harmless": _several([f"{named(g)} ({_both_gains(g[0])})" for g in one.harmless]),
        "weak": _several(
            [
                f"{named(g)} ({_both_gains(g[0])}, corrected {formatting.p_equals(g[0].p_holm)})"
                for g in one.weak
            ]
        ),
        "comparisons": formatting.count(
            sum(r.p_value is not None for r in one.found.selectors), "comparison"
        ),
        "gap": f"the {formatting.points(one.gap)} points up to the upper bound",
        "pilot_share": "" if pilot is None else share_of_gap(pilot),
        "pilot_over": points_with_interval(pilot.over_shuffled)
        if pilot is not None and pilot.over_shuffled is not None
        else "",
        "tried": formatting.count(len(one.differing), "way"),
        "half": formatting.count(len(half), "way"),
        "cheapest": f"{named(half[0])}: {share_of_gap(half[0][0])}" if half else "",
    }


BEATS: Family[Choice] = Family(
    "beats",
    _values,
    {
        "not_run": Phrase(
            lambda one: one.pilot is None,
            "The fixed pilot pair was not run on these questions: nothing is compared with it.",
        ),
        "better": Phrase(
            lambda one: one.pilot is not None and bool(one.better),
            "Better than the fixed pilot pair, {within}: {better}.",
        ),
        "none": Phrase(
            lambda one: one.pilot is not None and not one.better,
            "No selector could be shown to beat both the fixed pilot pair and the unmodified model "
            "{within}.",
        ),
        "pair_alone": Phrase(
            lambda one: one.pilot is not None and not one.better and bool(one.harmless),
            "Better than the pair, but without a gain over the unmodified model that could be "
            "shown: {harmless}.",
        ),
        "interval_alone": Phrase(
            lambda one: one.pilot is not None and not one.better and bool(one.weak),
            "Better than the pair by the interval alone, but not after correction for "
            "{comparisons}: {weak}.",
        ),
    },
)


def _gap(one: Choice) -> bool:
    return one.pilot is not None and one.gap > 0


def _compared(one: Choice) -> bool:
    over = one.pilot.over_shuffled if one.pilot is not None else None
    return over is not None and over.n > 0


RECOVERS: Family[Choice] = Family(
    "recovers",
    _values,
    {
        "no_gap": Phrase(
            lambda one: one.gap <= 0,
            "The upper bound lies no higher than the unmodified model, so there is no gap to "
            "recover.",
        ),
        "pilot": Phrase(_gap, "The fixed pilot pair recovers of {gap}: {pilot_share}."),
        "over_shuffled": Phrase(
            lambda one: _gap(one) and _compared(one),
            "Right with its vectors minus right with vectors of other questions, drawn blindly: "
            "{pilot_over}.",
        ),
        "no_shuffled": Phrase(
            lambda one: _gap(one) and not _compared(one),
            "What vectors of other questions do at the same pair is not known: no shuffled control "
            "of it.",
        ),
        "one_candidate": Phrase(
            lambda one: _gap(one) and one.found.candidates == 1,
            "With one candidate pair there is nothing to choose.",
        ),
        "half": Phrase(
            lambda one: _gap(one) and one.found.candidates > 1 and bool(one.half),
            "Of {tried} to choose whose answers differ from it, {half} could be shown to recover "
            "more than half (not corrected for their number); the cheapest is {cheapest}.",
        ),
        "no_half": Phrase(
            lambda one: _gap(one) and one.found.candidates > 1 and not one.half,
            "No selector whose answers differ from it could be shown to recover more than half of "
            "{gap}, {within}.",
        ),
    },
)


def _strict(one: Choice) -> bool:
    return one.pilot is not None and one.pilot.strict_room is not None


def _strict_values(one: Choice) -> Mapping[str, str]:
    room = one.pilot.strict_room if one.pilot is not None else None
    return {
        "room": "" if room is None else formatting.with_interval(room, difference=False),
        "n": "" if room is None else f"{room.n:,}",
        "run": formatting.listing(map(formatting.control, one.found.strict_controls)),
        "lacking": formatting.listing(map(formatting.control, one.found.strict_missing)),
        "note": one.note,
    }


STRICT: Family[Choice] = Family(
    "strict",
    _strict_values,
    {
        "room": Phrase(
            _strict,
            "Strict room beside that pair: {room} of {n} questions are solved by some true pair, "
            "and neither by the fixed pilot pair nor by any pair of any control ({run}; of the "
            "shuffled one, every stratum that was run){note}.",
        ),
        "lacking": Phrase(
            lambda one: _strict(one) and bool(one.found.strict_missing),
            "Not run over the same pairs, so the strict room may be smaller: {lacking}.",
        ),
        "no_control": Phrase(
            lambda one: not one.found.strict_controls,
            "The strict room, which no control fills, is not known: no control was run over the "
            "same pairs.",
        ),
    },
)
