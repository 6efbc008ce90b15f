"""What is known of each possible answer to a question, as numbers to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.specs import COMPONENTS, TransplantSpec
from crosslatent.selectors.base import named
from crosslatent.selectors.candidates import (
    ABSTAIN,
    OTHER,
    Candidates,
    Labels,
    Mask,
    Places,
    Steps,
)
from crosslatent.selectors.signals import MEASURES, signal_of, signals, top_probability
from crosslatent.stats import Floats

Scorer = Callable[[Floats], Floats]
"""Chance of being right of one example a row, shape (n, features) -> (n,)."""


@dataclass(frozen=True, slots=True)
class AnswerFeatures:
    """Possible answers with their features; column 0 is the unmodified answer (see `TakenAnswers`).

    Attributes:
        values: shape (items, answers, features); what is not known is 0.
        valid: which answers there are, shape (items, answers).
        right: what is right of them, same shape; NaN = not known.
        cluster: of the items.
        names: of the features.
    """

    values: Floats
    valid: Mask
    right: Floats
    cluster: NDArray[np.str_]
    names: tuple[str, ...]

    def take(self, items: NDArray[np.intp]) -> AnswerFeatures:
        """Those of some items."""
        parts = (self.values[items], self.valid[items], self.right[items], self.cluster[items])
        return AnswerFeatures(*parts, self.names)

    def folds(self, most: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Train and test items of each fold; none if there are too few clusters."""
        from sklearn.model_selection import GroupKFold

        number = min(most, len(set(self.cluster.tolist())))
        if number < 2:
            return []
        return list(GroupKFold(number).split(self.right, groups=self.cluster))

    def scores(self, scorer: Scorer) -> Floats:
        """Chances of the answers, shape (items, answers); NaN where there is none."""
        flat = scorer(self.values.reshape(-1, self.values.shape[-1]))
        return np.where(self.valid, flat.reshape(self.valid.shape), np.nan)

    def chosen(self, scores: Floats) -> Floats:
        """Right or wrong of the highest-scored answers, shape (items,); NaN if none was scored."""
        best = highest_scored(scores)
        right = self.right[np.arange(len(best)), best]
        return np.where(np.isnan(scores).all(axis=1), np.nan, right)


def highest_scored(scores: Floats) -> NDArray[np.intp]:
    """The answer with the highest score of each item; the first if several have it."""
    return np.asarray(np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1))


@dataclass(frozen=True, slots=True)
class TakenAnswers:
    """Which answers of a question can be taken, and what is known of each.

    Attributes:
        languages: those with a feature of their own.
        with_aux: whether what is known of the answer to aux is a feature.
        other: whether the answer to aux is itself one that can be taken, the second.
    """

    languages: tuple[str, ...]
    with_aux: bool
    other: bool

    @property
    def without(self) -> tuple[int, ...]:
        """Choices that are no transplant, in the order of their answers."""
        return (ABSTAIN, OTHER) if self.other else (ABSTAIN,)

    def examples(
        self, seen: Candidates, places: Sequence[int], labels: Labels | None = None
    ) -> AnswerFeatures:
        """Features of the answers without a transplant, and of some candidates (-1 = not there)."""
        columns = [max(place, 0) for place in places]
        there = np.array([place >= 0 for place in places], dtype=np.bool_)

        def side(vanilla: NDArray[Any], aux: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
            return np.column_stack([vanilla, *([aux] if self.other else []), rows])

        answers = side(seen.vanilla.answer, seen.aux.answer, seen.steps.answer[:, columns])
        answered = ~np.isnan(signal_of(seen.aux, "probability"))
        always_there = np.ones(len(seen), dtype=np.bool_)
        valid = side(always_there, answered, seen.ran[:, columns] & there)
        features: dict[str, Floats] = {}
        for measure in MEASURES:
            vanilla, candidates = signals(seen, measure)
            own = side(vanilla, signal_of(seen.aux, measure), candidates[:, columns])
            features[measure] = own
            features[f"{measure}_change"] = own - vanilla[:, None]
        features |= _agreement(seen, answers, valid)
        features |= _of_aux(seen, answers) if self.with_aux else {}
        features |= _of_pairs(seen, named(seen, columns), other=self.other)
        features |= {
            f"lang_{lang}": _spread(seen.lang == lang, answers.shape) for lang in self.languages
        }
        right = np.full(answers.shape, np.nan)
        if labels is not None:
            right = side(labels.vanilla, labels.aux, labels.correct[:, list(places)])
        values = np.nan_to_num(np.stack(list(features.values()), axis=-1))
        return AnswerFeatures(values, valid, right, seen.cluster, tuple(features))


def _agreement(seen: Candidates, answers: Places, valid: Mask) -> dict[str, Floats]:
    """Whether an answer names anything, and which share of the others gives it."""
    given = answers >= 0
    same = answers[:, :, None] == answers[:, None, :]
    voters = (valid & given)[:, None, :]
    share = (same & voters).sum(axis=2) / np.maximum(voters.sum(axis=2), 1)
    return {
        "named": given.astype(np.float64),
        "agrees_vanilla": _equal(answers, seen.vanilla.answer),
        "vanilla_probability": _probability(seen.vanilla, answers),
        "agreeing": np.where(given, share, 0.0),
    }


def _of_aux(seen: Candidates, answers: Places) -> dict[str, Floats]:
    """What is known of the answer to aux: with it, a selector can turn into translate-test."""
    agrees = _equal(seen.vanilla.answer[:, None], seen.aux.answer)
    return {
        "agrees_aux": _equal(answers, seen.aux.answer),
        "aux_probability": _probability(seen.aux, answers),
        "aux_sure": _spread(top_probability(seen.aux), answers.shape),
        "aux_agrees_vanilla": _spread(agrees[:, 0], answers.shape),
    }


def _of_pairs(
    seen: Candidates, pairs: Sequence[TransplantSpec], *, other: bool
) -> dict[str, Floats]:
    """Where the transplant is: relative layers and component; 0 for answers without one."""
    last = max(seen.n_layers - 1, 1)
    none = [0.0, 0.0] if other else [0.0]
    rows = {
        "unmodified": [1.0, *none[1:], *(0.0 for _ in pairs)],
        "source": [*none, *(pair.source / last for pair in pairs)],
        "target": [*none, *(pair.target / last for pair in pairs)],
    }
    if other:
        rows["other"] = [0.0, 1.0, *(0.0 for _ in pairs)]
    for component in COMPONENTS:
        rows[component] = [*none, *(float(pair.component == component) for pair in pairs)]
    for pair in pairs:
        # How good a pair is is no line along its layers: each of the few may have its own level.
        name = f"pair_{pair.component}_{pair.source}_{pair.target}"
        rows[name] = [*none, *(float(pair == one) for one in pairs)]
    shape = (len(seen), len(none) + len(pairs))
    return {name: np.broadcast_to(np.array(row), shape) for name, row in rows.items()}


def _equal(answers: Places, other: Places) -> Floats:
    """Whether answers, shape (items, k), name what another one of the item names."""
    same: Mask = (answers == other[:, None]) & (answers >= 0)
    return same.astype(np.float64)


def _probability(steps: Steps, answers: Places) -> Floats:
    """Probability that a distribution over the options gives to other rows' answers."""
    if not steps.options.shape[-1]:
        return np.zeros(answers.shape)
    inside = (answers >= 0) & (answers < steps.options.shape[-1])
    values = np.take_along_axis(steps.options, np.where(inside, answers, 0), axis=1)
    return np.where(inside, np.nan_to_num(values), 0.0)


def _spread(values: Floats | Mask, shape: tuple[int, ...]) -> Floats:
    """A value of each item for all of its answers."""
    return np.broadcast_to(values[:, None].astype(np.float64), shape)
