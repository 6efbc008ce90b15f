"""Pairs ranked by their right answers on the tuning split; the rules are those of `select`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosslatent.analysis.pair_choice import PairScore, Scope, Tie, best_pair
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import Candidates, Labels, Mask


def ranked(
    seen: Candidates,
    labels: Labels,
    most: int,
    *,
    scope: Scope = "all",
    tie: Tie = "logprob",
    items: Mask | None = None,
) -> list[int]:
    """The best candidates, best first.

    Args:
        seen: the tuning split.
        labels: what is right there.
        most: how many at most.
        scope: ``all`` candidates, or ``target-first`` ones only.
        tie: see `analysis.pair_choice.pilot_pair`.
        items: the items that count, shape (items,); None = all.

    Raises:
        UsageError: no candidate was run there with a gold answer.
    """
    scores = pair_scores(seen, labels, scope, items)
    if not scores:
        raise UsageError(
            f"The tuning split has no {scope} rows with gold answers: sweep it first, or name "
            "another one."
        )
    found: list[int] = []
    while scores and len(found) < most:
        best, _ = best_pair(scores.values(), tie)
        # The same layers may stand for several components: what was found is the very object.
        place = next(place for place, score in scores.items() if score is best)
        found.append(place)
        del scores[place]
    return found


def pair_scores(
    seen: Candidates, labels: Labels, scope: Scope = "all", items: Mask | None = None
) -> dict[int, PairScore]:
    """Right answers and mean gold log-probability of every candidate that was run."""
    rows = slice(None) if items is None else items
    correct, logprob = labels.correct[rows], labels.gold_logprob[rows]
    known = ~np.isnan(correct)
    usable = known & np.isfinite(logprob)
    right = np.where(known, correct, 0).sum(axis=0)
    total = np.where(usable, logprob, 0).sum(axis=0)
    counts = usable.sum(axis=0)
    return {
        place: PairScore(
            pair.source,
            pair.target,
            int(right[place]),
            int(known[:, place].sum()),
            round(float(total[place] / counts[place]), 9) if counts[place] else None,
        )
        for place, pair in enumerate(seen.pairs)
        if known[:, place].any() and (scope == "all" or pair.target == 0)
    }


def named(seen: Candidates, places: Sequence[int]) -> tuple[TransplantSpec, ...]:
    """The candidates at some places."""
    return tuple(seen.pairs[place] for place in places)
