"""p-values beside their corrections, and rank correlation over a handful of languages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from crosslatent.analysis.evidence import Corrected
from crosslatent.stats import PERMUTATIONS, Floats, benjamini_hochberg, holm

LEVEL = 0.05
LEAST_LANGUAGES = 5
"""Below this many languages no rank correlation can be significant at 5 %: with four, the
smallest two-sided p-value is 2 / 4! = 0.08."""

_TOLERANCE = 1e-9


class Ranked(NamedTuple):
    """Spearman correlation with its permutation test; None where undefined."""

    rho: float | None
    p_value: float | None
    permutations: int


def spearman(x: Floats, y: Floats, seed: int) -> Ranked:
    """Is the rank correlation further from zero than in a random order?

    All n! orders are tried where they are few: up to seven points.

    Args:
        x: values without NaN, shape (n,).
        y: those that they are paired with.
        seed: of the random orders.
    """
    if len(x) < 2 or np.ptp(x) < _TOLERANCE or np.ptp(y) < _TOLERANCE:
        return Ranked(None, None, 0)
    one, other = (_standardised(rankdata(side)) for side in (x, y))
    rho = float(one @ other)
    if factorial(len(x)) <= PERMUTATIONS + 1:
        orders = np.array(list(permutations(range(len(x)))))
        return Ranked(rho, float(_as_far(other[orders] @ one, rho).mean()), len(orders))
    drawn = np.random.default_rng(seed).permuted(np.tile(other, (PERMUTATIONS, 1)), axis=1)
    hits = int(_as_far(drawn @ one, rho).sum())
    return Ranked(rho, (hits + 1) / (PERMUTATIONS + 1), PERMUTATIONS + 1)


def corrected(p_values: Sequence[float | None], family: str) -> list[Corrected]:
    """Each p-value beside its Holm and Benjamini-Hochberg adjustment.

    Tests without a p-value are no tests, and do not count.
    """
    strict, found = holm(p_values), benjamini_hochberg(p_values)
    return [
        Corrected(p, family_wise, discovery, family, strict.n)
        for p, family_wise, discovery in zip(p_values, strict.adjusted, found.adjusted, strict=True)
    ]


def uncorrected(p_value: float | None) -> Corrected:
    """The p-value of a single test, such as a pre-registered comparison; not adjusted."""
    return Corrected(p_value, None, None, "", 1)


def _as_far(values: Floats, observed: float) -> NDArray[np.bool_]:
    far: NDArray[np.bool_] = np.abs(values) >= abs(observed) - _TOLERANCE
    return far


def _standardised(ranks: Floats) -> Floats:
    """Centred and of length 1, so that a product is a correlation."""
    centred = ranks - ranks.mean()
    return np.asarray(centred / np.linalg.norm(centred), dtype=np.float64)
