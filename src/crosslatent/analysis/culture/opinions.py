"""Distributions of opinions: similarity, entropy, and what flattening alone would do.

Similarity is 1 minus the Jensen-Shannon distance in base 2 (the root of the divergence), as in
GlobalOpinionQA by its re-implementations [2nd]; figures of the divergence are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HALVINGS = 80


def entropy(p: Floats) -> Floats:
    """Entropy in bits of distributions along the last axis; options that are not there are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p), 0.0)
    found: Floats = -terms.sum(-1)
    return np.where(np.isnan(p).any(-1), np.nan, found)


def divergence(p: Floats, h: Floats) -> Floats:
    """Jensen-Shannon divergence in bits, 0 to 1, along the last axis; NaN where a side is NaN.

    An option with p = m (1 + d) and h = m (1 - d) adds m / 2 times (1 + d) log(1 + d) +
    (1 - d) log(1 - d), which is 2 d artanh(d) + log(1 - d^2): of two distributions that are nearly
    the same no digits are lost, as they would be in a difference of entropies.
    """
    p, h = np.broadcast_arrays(p, h)
    middle = (p + h) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(np.where(middle > 0, (p - h) / 2 / middle, middle))
        terms = 2 * apart * np.arctanh(apart) + np.log1p(-(apart**2))
    terms = np.where(apart < 1, terms, np.where(np.isnan(apart), np.nan, 2 * np.log(2)))
    found: Floats = (middle * terms).sum(-1) / (2 * np.log(2))
    return np.clip(found, 0.0, 1.0)


def similarity(p: Floats, h: Floats) -> Floats:
    """1 - the root of the divergence."""
    found: Floats = 1.0 - np.sqrt(divergence(p, h))
    return found


def flattened(p: Floats, wanted: Floats) -> Floats:
    """P^(1/T) with the T of each distribution at which it has a wanted entropy.

    Args:
        p: distributions, shape (n, options); options that are not there are 0.
        wanted: entropies in bits, shape (n,).

    Returns:
        Distributions, shape (n, options): uniform over the options where no T is high enough, even
        over the likeliest ones where none is low enough; NaN where an input is.
    """
    with np.errstate(divide="ignore"):
        logs = np.where(p > 0, np.log(p), -np.inf)
    logs = logs - logs.max(-1, keepdims=True)
    low, high = np.full(len(p), -14.0), np.full(len(p), 14.0)  # of the logarithm of 1 / T
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        flatter = entropy(_tempered(logs, middle)) > wanted
        low, high = np.where(flatter, middle, low), np.where(flatter, high, middle)
    found = _tempered(logs, (low + high) / 2)
    return np.where(np.isnan(wanted)[:, None], np.nan, found)


def _tempered(logs: Floats, power: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        odds = np.where(np.isfinite(logs), np.exp(logs * np.exp(power)[:, None]), 0.0)
    found: Floats = odds / odds.sum(-1, keepdims=True)
    return found


def spread(shares: Floats) -> float:
    """Mean divergence between countries, over questions.

    Args:
        shares: shape (questions, countries, options), NaN where a country has no data.
    """
    pairs = divergence(shares[:, :, None], shares[:, None])
    count = shares.shape[1]
    first, second = np.triu_indices(count, 1)
    values = pairs[:, first, second]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def kept_options(labels: Sequence[str], missing: frozenset[str]) -> list[int]:
    """Places of the options that are answers: not "Don't know" or the like.

    Args:
        labels: of a question.
        missing: texts of such options, in lower case.
    """
    kept = [k for k, label in enumerate(labels) if label.strip().casefold() not in missing]
    return kept if len(kept) > 1 else list(range(len(labels)))
