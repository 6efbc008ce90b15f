"""Corrections for many tests at once: Holm and Benjamini-Hochberg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from crosslatent.stats.clusters import Floats

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Correction:
    """p-values of a family of tests, corrected, in the order in which they came.

    Attributes:
        p_values: as given; None = the test is undefined.
        adjusted: to be compared with `alpha`; None where the test is undefined.
        rejected: whether adjusted <= alpha; None where the test is undefined.
        n: tests in the family: those that are defined.
        alpha: the rate that is kept: of any false rejection (Holm), or of false ones among the
            rejections (Benjamini-Hochberg).
        method: name of the correction.
    """

    p_values: tuple[float | None, ...]
    adjusted: tuple[float | None, ...]
    rejected: tuple[bool | None, ...]
    n: int
    alpha: float
    method: str


def holm(p_values: Sequence[float | None], alpha: float = ALPHA) -> Correction:
    """Step-down Bonferroni (Holm 1979): bounds the chance of any false rejection.

    It holds however the tests depend on each other.

    Args:
        p_values: one per test; None = undefined: it stays None and does not count as a test.
        alpha: the bound.

    Raises:
        ValueError: a p-value is not between 0 and 1.
    """
    return _corrected(p_values, alpha, _holm, "Holm")


def benjamini_hochberg(p_values: Sequence[float | None], alpha: float = ALPHA) -> Correction:
    """Bounds the expected share of false ones among the rejections (Benjamini and Hochberg 1995).

    It holds for independent tests and for positively dependent ones (Benjamini and Yekutieli 2001),
    which layers of one model on one set of questions usually are.

    Args:
        p_values: one per test; None = undefined: it stays None and does not count as a test.
        alpha: the bound.

    Raises:
        ValueError: a p-value is not between 0 and 1.
    """
    return _corrected(p_values, alpha, false_discovery_control, "Benjamini-Hochberg")


def _holm(p_values: Floats) -> Floats:
    """Each p-value times the number of those that are not smaller; none below one before it.

    As `multipletests` of statsmodels, which collects garbage in every call: 0.1 s each where many
    modules are loaded.
    """
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def _corrected(
    p_values: Sequence[float | None],
    alpha: float,
    adjust: Callable[[Floats], Floats],
    method: str,
) -> Correction:
    defined = np.array([p for p in p_values if p is not None], dtype=np.float64)
    if not ((defined >= 0) & (defined <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, not {defined.tolist()}")
    found = adjust(defined).tolist() if len(defined) else []
    rest = iter(found)
    adjusted = tuple(None if p is None else float(next(rest)) for p in p_values)
    return Correction(
        p_values=tuple(p_values),
        adjusted=adjusted,
        rejected=tuple(None if p is None else p <= alpha for p in adjusted),
        n=len(defined),
        alpha=alpha,
        method=method,
    )
