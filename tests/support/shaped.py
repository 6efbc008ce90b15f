"""Simulated answers in the shapes of real tasks: facts, languages, and answers before and after.

Whether a question is answered right is a threshold on a normal variable: a part that the fact has
in every language, before and after; one of the question; one of the fact that is new after the
change; and noise. So answers of a fact correlate, changes of a fact correlate, and what is true is
known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

FACT, QUESTION, CHANGE = 0.4, 0.2, 0.2
"""Shares of the variance; the rest is noise."""
AT_ONCE = 250


@dataclass(frozen=True)
class Shape:
    """Facts asked in languages; not every cell of the table need be there."""

    facts: int
    languages: int
    questions: int


class Asked(NamedTuple):
    """The questions of a shape: fact and language of each, shape (questions,)."""

    fact: NDArray[np.intp]
    lang: NDArray[np.intp]

    @property
    def clusters(self) -> list[str]:
        return [f"fact{k:04d}" for k in self.fact]


SHAPES = {
    "demo": Shape(145, 4, 200),
    "xnli": Shape(50, 14, 700),
    "mkqa": Shape(500, 20, 10_000),
}


def asked(shape: Shape, seed: int = 0) -> Asked:
    """Every fact once, and other cells of the table as far as there are questions."""
    rng = np.random.default_rng(seed)
    cells = np.arange(shape.facts * shape.languages)
    first = np.arange(shape.facts) * shape.languages
    first += rng.integers(0, shape.languages, shape.facts)
    rest = rng.permutation(np.setdiff1d(cells, first))[: shape.questions - shape.facts]
    kept = np.sort(np.concatenate([first, rest]))
    return Asked(kept // shape.languages, kept % shape.languages)


def answers(
    questions: Asked, chances: tuple[float, ...], simulations: int, seed: int
) -> list[NDArray[np.bool_]]:
    """Right or wrong on every side: one with each of `chances`, shape (questions, simulations)."""
    rng = np.random.default_rng(seed)
    facts, count = questions.fact.max() + 1, len(questions.fact)
    found = [np.empty((count, simulations), dtype=np.bool_) for _ in chances]
    for start in range(0, simulations, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, simulations))
        size = part.stop - start

        def normal(share: float, rows: int, size: int = size) -> NDArray[np.float32]:
            return rng.standard_normal((rows, size), dtype=np.float32) * np.float32(share**0.5)

        common = normal(FACT, facts)[questions.fact] + normal(QUESTION, count)
        for side, chance in zip(found, chances, strict=True):
            own = normal(CHANGE, facts)[questions.fact]
            own += normal(1 - FACT - QUESTION - CHANGE, count)
            side[:, part] = common + own < norm.ppf(chance)
    return found


def both_right(before: float, after: float) -> float:
    """Chance that a question is right on both sides."""
    shared = FACT + QUESTION
    covariance = [[1, shared], [shared, 1]]
    return float(multivariate_normal(cov=covariance).cdf(norm.ppf([before, after])))


def odds_ratio(before: float, after: float) -> float:
    """Repaired to broken questions."""
    both = both_right(before, after)
    return (after - both) / (before - both)
