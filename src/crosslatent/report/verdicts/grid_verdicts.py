"""Which layers matter, what a map shows, and what pass@K says of an upper bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosslatent.analysis.attribution_quality import (
    FIRST_SHARE,
    LEAST_HITS,
    TRIED_FOR_TRUST,
    AttributionResult,
)
from crosslatent.analysis.layers import LayerGain
from crosslatent.analysis.passk import PassAtK
from crosslatent.report import formatting
from crosslatent.report.verdicts.family import Family, Phrase, points_with_interval
from crosslatent.stats import Estimate


@dataclass(frozen=True, slots=True)
class Sampled:
    """pass@K of one component, and what is to be said of it: ``exploratory`` or nothing."""

    found: PassAtK
    note: str = ""


def _sampled_values(one: Sampled) -> Mapping[str, str]:
    found = one.found
    return {
        "component": formatting.first_upper(formatting.component(found.component)),
        "name": found.name,
        "n": f"{found.samples or 0:,}",
        "tries": f"{found.attempts[1]:,} {'pair' if found.attempts[1] == 1 else 'pairs'}",
        "share": formatting.percent(found.share.value),
        "gap": points_with_interval(found.versus.difference) if found.versus else "",
        "note": one.note,
    }


def _gap_of(one: Sampled) -> Estimate | None:
    return one.found.versus.difference if one.found.versus else None


PASS_AT_K: Family[Sampled] = Family(
    "pass_at_k",
    _sampled_values,
    {
        "above": Phrase(
            lambda one: (gap := _gap_of(one)) is not None and gap.above_zero,
            "{component}: sampled as often as there are pairs, the unmodified model is right at "
            "least once on {share} ({name}); the upper bound minus that is {gap}{note}.",
        ),
        "below": Phrase(
            lambda one: (gap := _gap_of(one)) is not None and gap.below_zero,
            "{component}: sampled as often as there are pairs, the unmodified model alone is right "
            "at least once on {share} ({name}), more than the upper bound, which minus that is "
            "{gap}{note}.",
        ),
        "not_shown": Phrase(
            lambda one: (
                (gap := _gap_of(one)) is not None and not (gap.above_zero or gap.below_zero)
            ),
            "{component}: that the upper bound lies above what the unmodified model reaches when "
            "it is sampled as often as there are pairs ({name}, {share}) could not be shown: the "
            "difference is {gap}{note}.",
        ),
        "too_few": Phrase(
            lambda one: _gap_of(one) is None,
            "{component}: of {n} sampled answers of the unmodified model at least one is right on "
            "{share} ({name}); the upper bound counts {tries}, so it is not compared with that"
            "{note}.",
        ),
    },
)
"""pass@K beside an upper bound: a comparison of its own, whatever the controls say."""


@dataclass(frozen=True, slots=True)
class Side:
    """The layers of one side of a grid.

    Attributes:
        side: source or target.
        gains: of the layers that were run.
        spread: number of layers that the gain is spread over.
        best: the best single pair, and the lower end of its gain's interval.
    """

    side: str
    gains: Sequence[LayerGain]
    spread: float | None
    best: tuple[tuple[int, int], Estimate] | None

    @property
    def gaining(self) -> list[int]:
        """Layers whose pairs gain on average."""
        return [one.layer for one in self.gains if one.mean.above_zero]

    @property
    def losing(self) -> list[int]:
        """Layers whose pairs lose on average."""
        return [one.layer for one in self.gains if one.mean.below_zero]

    @property
    def of_best(self) -> int | None:
        """The best pair's layer on this side, if that pair gains."""
        if self.best is None or not self.best[1].above_zero:
            return None
        return self.best[0][0 if self.side == "source" else 1]


def _side_values(one: Side) -> Mapping[str, str]:
    best = one.of_best
    does = "loses" if best in one.losing else "could not be shown to gain"
    return {
        "side": one.side,
        "other": "target" if one.side == "source" else "source",
        "gaining": _layers(one.gaining, "gains", "gain"),
        "losing": _layers(one.losing, "loses", "lose"),
        "spread": f"{one.spread or 0:.1f} of {len(one.gains)}",
        "pair": f"{one.best[0][0]}\u202f\u2192\u202f{one.best[0][1]}" if one.best else "",
        "best": points_with_interval(one.best[1]) if one.best else "",
        "layer": f"{one.side} layer {best}",
        "does": does,
    }


LAYERS: Family[Side] = Family(
    "layers",
    _side_values,
    {
        "gain": Phrase(
            lambda one: bool(one.gaining),
            "As {side}, averaged over its pairs, {gaining} (uncorrected).",
        ),
        "lose": Phrase(
            lambda one: bool(one.losing),
            "As {side}, averaged over its pairs, {losing} (uncorrected).",
        ),
        "neither": Phrase(
            lambda one: not one.gaining and not one.losing,
            "No {side} layer could be shown to gain or lose, averaged over its pairs.",
        ),
        "best_elsewhere": Phrase(
            lambda one: one.of_best is not None and one.of_best not in one.gaining,
            "That is no word on single pairs: the best one, {pair}, gains {best}, while {layer} "
            "{does} on average.",
        ),
        "spread": Phrase(
            lambda one: bool(one.gaining) and one.spread is not None,
            "The gain is spread over some {spread} {side} layers.",
        ),
    },
)


def _layers(numbers: Sequence[int], one: str, many: str) -> str:
    """Subject and verb of a clause: ``layer 3 gains``, ``layers 1 to 4 and 7 gain``."""
    if len(numbers) == 1:
        return f"layer {numbers[0]} {one}"
    return f"layers {formatting.listing(ranges(numbers))} {many}"


def ranges(numbers: Sequence[int]) -> list[str]:
    """Three or more neighbours as one: 1, 2, 3, 7 is ``1 to 3`` and ``7``."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and groups[-1][-1] == number - 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return [
        part
        for group in groups
        for part in ([f"{group[0]} to {group[-1]}"] if len(group) > 2 else map(str, group))
    ]


@dataclass(frozen=True, slots=True)
class Maps:
    """What the maps of a run show.

    Attributes:
        judged: cells are gains, not shares of changed answers.
        gains, losses: some cell is above, or below, the unmodified model.
        tuned: the split that the outlined pair was picked on; None without one.
        tested: that pair is tested on other questions.
    """

    judged: bool
    gains: bool
    losses: bool
    tuned: str | None
    tested: bool


MAP: Family[Maps] = Family(
    "map",
    lambda one: {"tuned": one.tuned or ""},
    {
        "changes": Phrase(
            lambda one: not one.judged,
            "Each cell is one pair: the share of answers that the transplant changes.",
        ),
        "cells": Phrase(
            lambda one: one.judged,
            "Each cell is one pair of layers: where the vector is read, and where it lands.",
        ),
        "gains": Phrase(
            lambda one: one.judged and one.gains,
            "Blue: more right answers than unmodified.",
        ),
        "losses": Phrase(
            lambda one: one.judged and one.losses,
            "Orange: fewer right answers than unmodified.",
        ),
        "flat": Phrase(
            lambda one: one.judged and not one.gains and not one.losses,
            "No pair answers more or fewer questions right than the unmodified model.",
        ),
        "outline": Phrase(
            lambda one: one.tuned is not None,
            "The outline marks the pair picked on the {tuned} questions.",
        ),
        "optimistic": Phrase(
            lambda one: one.judged and one.gains,
            "The best cell is optimistic, since it is chosen in hindsight.",
        ),
        "tested": Phrase(
            lambda one: one.judged and one.tested,
            "The outlined pair is tested on other questions.",
        ),
    },
)


def _ranked_values(one: AttributionResult) -> Mapping[str, str]:
    trust = one.trust
    return {
        "component": formatting.first_upper(formatting.component(one.component)),
        "hits": str(trust.hits if trust else 0),
        "questions": formatting.count(trust.questions if trust else 0, "question"),
        "least": str(LEAST_HITS),
        "wanted": str(TRIED_FOR_TRUST),
        "first": formatting.percent(FIRST_SHARE),
    }


def _trusted(one: AttributionResult) -> bool | None:
    return one.trust.granted if one.trust else None


RANKING: Family[AttributionResult] = Family(
    "ranking",
    _ranked_values,
    {
        "trusted": Phrase(
            lambda one: _trusted(one) is True,
            "{component}: the ranking by attribution passes its trial. In {hits} of {questions} "
            "that some pair repairs, drawn by the seed, the pair ranked first raises the right "
            "answer by more than all but {first} of the pairs do; {least} were asked for.",
        ),
        "untrusted": Phrase(
            lambda one: _trusted(one) is False,
            "{component}: the ranking by attribution fails its trial, so none is shown, and what "
            "selectors make of it is not to be relied on. In {hits} of {questions} that some "
            "pair repairs, drawn by the seed, the pair ranked first raises the right answer by "
            "more than all but {first} of the pairs do; {least} were asked for.",
        ),
        "untried": Phrase(
            lambda one: one.trust is not None and _trusted(one) is None,
            "{component}: the ranking by attribution could not be tried: that takes {wanted} "
            "questions that are wrong unmodified, that some pair repairs, and whose right answer "
            "has a known probability, and there are {questions}.",
        ),
    },
)
"""Whether attribution ranks the pairs of a component, from a trial on the run itself."""
