"""Cheap features of every possible answer to a question: the unmodified one and the candidates'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosslatent.core.specs import COMPONENTS
from crosslatent.selectors.base import Candidates, Labels, Mask, Places, Steps
from crosslatent.selectors.signals import MEASURES, signals, top_probability
from crosslatent.stats import Floats

AUX_FEATURES = ("agrees_aux", "aux_probability", "aux_sure", "aux_agrees_vanilla")
"""What is known of the answer to aux: with these, a selector can turn into translate-test."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Possible answers with their features; column 0 is the unmodified answer.

    Attributes:
        values: shape (items, 1 + candidates, features); what is not known is 0.
        valid: which answers there are, shape (items, 1 + candidates).
        names: of the features.
    """

    values: Floats
    valid: Mask
    names: tuple[str, ...]


def examples(
    seen: Candidates, places: Sequence[int], languages: Sequence[str], *, with_aux: bool
) -> Examples:
    """Features of the unmodified answer and of some candidates.

    Args:
        seen: the questions.
        places: the candidates to look at; -1 for one that is not there.
        languages: those that have a feature of their own.
        with_aux: whether `AUX_FEATURES` are among them.
    """
    columns = [max(place, 0) for place in places]
    there = np.array([place >= 0 for place in places], dtype=np.bool_)
    answers = np.column_stack([seen.vanilla.answer, seen.steps.answer[:, columns]])
    valid = np.column_stack([np.ones(len(seen), np.bool_), seen.ran[:, columns] & there])
    found = _confidence(seen, columns)
    found |= _agreement(seen, answers, valid)
    found |= _aux(seen, answers) if with_aux else {}
    found |= _place(seen, places)
    found |= {f"lang_{lang}": _spread(seen.lang == lang, answers.shape) for lang in languages}
    values = np.stack([found[name] for name in found], axis=-1)
    return Examples(np.nan_to_num(values), valid, tuple(found))


def example_labels(labels: Labels, places: Sequence[int]) -> Floats:
    """What is right of the answers that `examples` describes, shape (items, 1 + candidates)."""
    return np.column_stack([labels.vanilla, labels.correct[:, list(places)]])


def _confidence(seen: Candidates, columns: list[int]) -> dict[str, Floats]:
    """How sure each answer is, and how much surer than the unmodified one."""
    found: dict[str, Floats] = {}
    for measure in MEASURES:
        vanilla, candidates = signals(seen, measure)
        values = np.column_stack([vanilla, candidates[:, columns]])
        found[measure] = values
        found[f"{measure}_change"] = values - vanilla[:, None]
    return found


def _agreement(seen: Candidates, answers: Places, valid: Mask) -> dict[str, Floats]:
    """Whether an answer names anything, and who else gives it."""
    named = answers >= 0
    same = answers[:, :, None] == answers[:, None, :]
    voters = (valid & named)[:, None, :]
    share = (same & voters).sum(axis=2) / np.maximum(voters.sum(axis=2), 1)
    return {
        "named": named.astype(np.float64),
        "agrees_vanilla": _equal(answers, seen.vanilla.answer),
        "vanilla_probability": _probability(seen.vanilla, answers),
        "agreeing": np.where(named, share, 0.0),
    }


def _aux(seen: Candidates, answers: Places) -> dict[str, Floats]:
    sure = top_probability(seen.aux)
    agrees = _equal(seen.vanilla.answer[:, None], seen.aux.answer)
    found = (
        _equal(answers, seen.aux.answer),
        _probability(seen.aux, answers),
        _spread(sure, answers.shape),
        _spread(agrees[:, 0], answers.shape),
    )
    return dict(zip(AUX_FEATURES, found, strict=True))


def _place(seen: Candidates, places: Sequence[int]) -> dict[str, Floats]:
    """Where the transplant is: relative layers and component; 0 for the unmodified answer."""
    pairs = [seen.pairs[max(place, 0)] for place in places]
    last = max(seen.n_layers - 1, 1)
    rows = {
        "unmodified": [1.0, *(0.0 for _ in pairs)],
        "source": [0.0, *(pair.source / last for pair in pairs)],
        "target": [0.0, *(pair.target / last for pair in pairs)],
    }
    for component in COMPONENTS:
        rows[component] = [0.0, *(float(pair.component == component) for pair in pairs)]
    for pair in pairs:
        # How good a pair is is no line along its layers: each of the few may have its own level.
        name = f"pair_{pair.component}_{pair.source}_{pair.target}"
        rows[name] = [0.0, *(float(pair == other) for other in pairs)]
    shape = (len(seen), 1 + len(pairs))
    return {name: np.broadcast_to(np.array(row), shape) for name, row in rows.items()}


def _equal(answers: Places, other: Places) -> Floats:
    """Whether answers name what another answer names, shape (items, ...)."""
    other = other.reshape(-1, *[1] * (answers.ndim - 1))
    same: Mask = (answers == other) & (answers >= 0)
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
