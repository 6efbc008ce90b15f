"""Weighted agreement: every candidate votes for its answer, with a weight from the tuning split.

The weight is the log-odds of being right where it errs evenly over the other answers, as in naive
Bayes (Nitzan and Paroush 1982); candidates agree for common reasons too, so it is no probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import (
    Reads,
    Selector,
    SelectorState,
    among,
    named,
    ranked,
    register_selector,
    restored_parts,
    stored,
    with_report,
)
from crosslatent.selectors.candidates import (
    ABSTAIN,
    Candidates,
    Labels,
    Places,
    Selection,
    always,
    looking_cost,
)
from crosslatent.stats import Floats


@register_selector("vote")
@dataclass(frozen=True, slots=True)
class Vote(Selector):
    """Let pairs vote; `most`: the best pairs of the tuning split that do, None = all."""

    most: int | None = 8

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """The best pairs, and all of them."""
        return cls(), cls(most=None)

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedVote:
        """The opposite of `FittedVote.state`.

        Raises:
            ValueError: voters and weights are not as many.
        """
        weights = arrays["weights"]
        pairs, report = restored_parts(plain, weights, len(plain["pairs"]), "voters")
        return FittedVote(pairs, weights, float(plain["vanilla"]), report)

    @property
    def name(self) -> str:
        """``vote-8``."""
        return f"vote-{self.most or 'all'}"

    @property
    def about(self) -> str:
        """What it does."""
        return f"weighted vote of {among(self.most)} and the unmodified answer"

    def fit(self, seen: Candidates, labels: Labels) -> FittedVote:
        """Weigh every voter by its accuracy.

        Raises:
            UsageError: the split has no gold answers.
        """
        places = ranked(seen, labels, self.most)
        chance = _chance(seen)
        weights = np.array([_weight(labels.correct[:, place], chance) for place in places])
        fitted = FittedVote(named(seen, places), weights, _weight(labels.vanilla, chance))
        return with_report(fitted, seen, labels)


@dataclass(frozen=True, slots=True)
class FittedVote:
    """Voters with their weights.

    Attributes:
        pairs: the voters.
        weights: of each, shape (voters,); never negative.
        vanilla: weight of the unmodified answer.
        report: what fitting measured beside.
    """

    pairs: tuple[TransplantSpec, ...]
    weights: Floats
    vanilla: float
    report: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = field(default="answers", init=False)

    @property
    def cost(self) -> float:
        """All voters answer, and so does the unmodified model."""
        return looking_cost(len(self.pairs))

    def choose(self, seen: Candidates) -> Selection:
        """The heaviest voter for the answer with most weight; unmodified if it gives that too."""
        known = {
            place: weight
            for weight, place in zip(self.weights, seen.places(self.pairs), strict=True)
            if place >= 0
        }
        places = list(known)
        answers = np.column_stack([seen.vanilla.answer, seen.steps.answer[:, places]])
        ran = np.column_stack([np.ones(len(seen), dtype=np.bool_), seen.ran[:, places]])
        weights = np.where(ran & (answers >= 0), np.array([self.vanilla, *known.values()]), 0.0)
        tally = np.zeros((len(seen), int(answers.max(initial=0)) + 1))
        np.add.at(tally, (np.arange(len(seen))[:, None], np.maximum(answers, 0)), weights)
        return always(_winners(tally, answers, weights, places), len(seen), self.cost)

    def state(self) -> SelectorState:
        """Voters as JSON, weights as an array."""
        return SelectorState("vote", stored(self, vanilla=self.vanilla), {"weights": self.weights})


def _winners(tally: Floats, answers: Places, weights: Floats, places: list[int]) -> Places:
    """The candidate that represents the winning answer of each item."""
    n = len(answers)
    if not places:
        return np.full(n, ABSTAIN, dtype=np.int64)
    winner = tally.argmax(axis=1)
    standing = np.where(answers == winner[:, None], weights, -1.0)
    # An answer that the unmodified model gives too needs no transplant.
    heaviest = standing[:, 1:].argmax(axis=1)
    unmodified = (answers[:, 0] == winner) | (tally.max(axis=1) <= 0)
    return np.where(unmodified, ABSTAIN, np.array(places)[heaviest]).astype(np.int64)


def _chance(seen: Candidates) -> float:
    """Answers that a question has on average, as far as is known; at least two."""
    options = (~np.isnan(seen.vanilla.options)).sum(axis=-1).astype(np.float64)
    counted = options[options > 0] if options.size else options
    return float(max(2.0, counted.mean())) if counted.size else 2.0


def _weight(correct: Floats, answers: float) -> float:
    """Log-odds of being right, by the rule of succession, for an even choice between wrong ones."""
    known = correct[~np.isnan(correct)]
    right = (known.sum() + 1) / (len(known) + 2)
    return max(0.0, float(np.log(right * (answers - 1) / (1 - right))))
