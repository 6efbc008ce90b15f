"""Intervals of shares of clustered 0/1 answers, which hold near 0 and 1 too."""

from __future__ import annotations

from scipy.stats import beta, t

from crosslatent.stats.clusters import Floats, contributions

METHOD = "Clopper-Pearson on the effective number of items"
_ROUNDING = 1e-12


def effective_n(sums: Floats, counts: Floats, confidence: float) -> float:
    """Independent items that say as much about a share as these clusters (Korn, Graubard 1998).

    n / design effect, at most n, also reduced for the degrees of freedom between clusters. Where
    the design effect cannot be estimated, because all clusters agree, each cluster counts once.

    Args:
        sums: of the 0/1 items by cluster, shape (clusters,).
        counts: numbers of items by cluster, shape (clusters,).
        confidence: coverage aimed at.
    """
    n, clusters = counts.sum(), len(counts)
    share = sums.sum() / n
    error = contributions(sums, counts).var(ddof=1) / clusters if clusters > 1 else 0.0
    if n < 2 or error < _ROUNDING:
        return float(clusters)
    alone = share * (1 - share) / (n - 1)
    tail = (1 + confidence) / 2
    freedom = (t.ppf(tail, n - 1) / t.ppf(tail, clusters - 1)) ** 2
    return float(min(n, n * alone / error * freedom))


def share_interval(share: float, n: float, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of `n` items, which need not be whole."""
    right, tail = share * n, (1 - confidence) / 2
    low = beta.ppf(tail, right, n - right + 1) if right > 0 else 0.0
    high = beta.ppf(1 - tail, right + 1, n - right) if right < n else 1.0
    return float(low), float(high)
