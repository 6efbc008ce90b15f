"""How large a difference between paired answers is, and how small a one a sample can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from crosslatent.stats.clusters import (
    SHARES,
    Floats,
    check_lengths,
    cluster_draws,
    contributions,
    effective_n,
    share_interval,
    sums_and_counts,
)
from crosslatent.stats.estimates import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    paired_difference,
    resampled_ends,
)

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class OddsRatio:
    """Odds of being repaired rather than broken, among the items that changed.

    Attributes:
        value: repaired / broken; None if nothing broke (then it has no bound) or nothing changed.
        low, high: ends of the interval; `high` is None where there is no upper bound, both are None
            if nothing changed.
        repaired, broken: items wrong before and right after, and the other way round.
        n: items that changed, so repaired + broken.
        clusters: independent groups among them.
        effective_n: independent items that say as much as these.
        confidence: coverage aimed at.
    """

    value: float | None
    low: float | None
    high: float | None
    repaired: int
    broken: int
    n: int
    clusters: int
    effective_n: float | None
    method: str = SHARES
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class EffectSizes:
    """One comparison on three scales, over the items that have both sides.

    Attributes:
        risk_difference: share right after - share right before.
        cohens_h: the same on the arcsine scale, where steps near 0 and 1 count for more.
        odds_ratio: of repairs to breakages.
    """

    risk_difference: Estimate
    cohens_h: Estimate
    odds_ratio: OddsRatio
    n: int
    clusters: int
    seed: int


def effect_sizes(
    treated: ArrayLike,
    baseline: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> EffectSizes:
    """Risk difference, Cohen's h and the odds ratio of the changed items.

    Args:
        treated: 0/1 by item, shape (n,); NaN = missing.
        baseline: 0/1 by item without the treatment, same shape.
        clusters: the cluster of each item, length n.
        seed: of the random draws.
        confidence: coverage of the intervals.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: the lengths differ, or a value is not between 0 and 1.
    """
    difference = paired_difference(
        treated, baseline, clusters, seed=seed, confidence=confidence, resamples=resamples
    )
    return EffectSizes(
        risk_difference=difference,
        cohens_h=cohens_h(
            treated, baseline, clusters, seed=seed, confidence=confidence, resamples=resamples
        ),
        odds_ratio=discordant_odds_ratio(treated, baseline, clusters, confidence=confidence),
        n=difference.n,
        clusters=difference.clusters,
        seed=seed,
    )


def cohens_h(
    treated: ArrayLike,
    baseline: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """2 asin sqrt(share treated) - 2 asin sqrt(share baseline) (Cohen 1988, chapter 6).

    By convention 0.2 is small, 0.5 medium and 0.8 large. The interval resamples clusters, as that
    of `estimates.paired_difference` does; values may be scores between 0 and 1 too. Arguments as
    for `effect_sizes`.

    Raises:
        ValueError: the lengths differ, or a value is not between 0 and 1.
    """
    sides = _pairs(treated, baseline, clusters)
    sums, counts = sums_and_counts(sides, clusters, ~np.isnan(sides[:, 0]))
    low, high = None, None
    if len(counts) >= 2:
        draws = cluster_draws(len(counts), seed, resamples)
        resampled = _h(draws @ sums / (draws @ counts)[:, None])
        every = np.ones(resamples, dtype=np.bool_)
        low, high, _ = resampled_ends(resampled, every, len(counts), confidence)
    return Estimate(
        value=float(_h(sums.sum(axis=0, keepdims=True) / counts.sum())[0]) if len(counts) else None,
        low=low,
        high=high,
        n=int(counts.sum()),
        clusters=len(counts),
        seed=seed,
        confidence=confidence,
    )


def discordant_odds_ratio(
    treated: ArrayLike,
    baseline: ArrayLike,
    clusters: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
) -> OddsRatio:
    """Repaired / broken, the odds ratio of paired answers (Agresti 2013, section 11.1).

    Among the items that changed, the share of repairs s has an exact binomial interval, and
    s / (1 - s) carries it over. Items of one cluster are not independent, so the interval is
    that of fewer items: n / design effect, also reduced for the degrees of freedom between clusters
    (Korn and Graubard 1998). With one item per cluster it is the exact Clopper-Pearson interval.
    Where the design effect cannot be estimated, because all clusters agree, each cluster counts
    once.

    Args:
        treated: 0/1 by item, shape (n,); NaN = missing. Any rise is a repair.
        baseline: 0/1 by item without the treatment, same shape.
        clusters: the cluster of each item, length n.
        confidence: coverage of the interval.

    Raises:
        ValueError: the lengths differ, or a value is not between 0 and 1.
    """
    sides = _pairs(treated, baseline, clusters)
    change = sides[:, 0] - sides[:, 1]
    changed = ~np.isnan(change) & (np.abs(change) > _ROUNDING)
    sums, counts = sums_and_counts((change > 0)[:, None].astype(np.float64), clusters, changed)
    repaired, n = int(sums.sum()), int(counts.sum())
    effective = effective_n(sums[:, 0], counts, confidence) if n else None
    low, high = share_interval(repaired / n, effective, confidence) if effective else (None, None)
    return OddsRatio(
        value=_odds(repaired / n) if n else None,
        low=_odds(low),
        high=_odds(high),
        repaired=repaired,
        broken=n - repaired,
        n=n,
        clusters=len(counts),
        effective_n=effective,
        confidence=confidence,
    )


def _pairs(treated: ArrayLike, baseline: ArrayLike, clusters: Sequence[str]) -> Floats:
    """Both sides, shape (n, 2), NaN where either is missing."""
    sides = np.column_stack([np.asarray(side, dtype=np.float64) for side in (treated, baseline)])
    check_lengths(len(sides), clusters)
    if (sides < 0).any() or (sides > 1).any():
        raise ValueError("shares and answers lie between 0 and 1")
    sides[np.isnan(sides).any(axis=1)] = np.nan
    return sides


def _h(shares: Floats) -> Floats:
    """Cohen's h of shares, shape (k, 2)."""
    # Sums of thirds can end a hair beyond 1.
    angles = 2 * np.arcsin(np.sqrt(np.clip(shares, 0, 1)))
    return np.asarray(angles[:, 0] - angles[:, 1], dtype=np.float64)


def _odds(share: float | None) -> float | None:
    return None if share is None or share >= 1 else share / (1 - share)


POWER = 0.8
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Detectable:
    """What paired data of this size and spread can show.

    Attributes:
        value: minimum detectable difference, on the scale of the observations; None without two
            clusters or without variation.
        standard_error: of the mean difference, over clusters.
        discordance: share of items whose two sides differ.
        design_effect: variance of the mean over that of as many independent items; above 1 where
            items of a cluster agree.
        n: items with both sides; `clusters`: independent groups among them.
        power: chance of a significant result if the difference is real; `alpha`: two-sided level.
    """

    value: float | None
    standard_error: float | None
    discordance: float | None
    design_effect: float | None
    n: int
    clusters: int
    power: float
    alpha: float
    method: str = "paired t test over clusters"


def minimum_detectable_difference(
    clusters: int,
    *,
    sd: float | None = None,
    discordance: float | None = None,
    items_per_cluster: float = 1.0,
    design_effect: float = 1.0,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float | None:
    """The difference that a two-sided paired test finds with the given power.

        [t(1 - alpha / 2; K - 1) + t(power; K - 1)] s / sqrt(K)

    with K clusters, Student quantiles t on K - 1 degrees of freedom, and s = sd sqrt(design effect
    / items per cluster), the standard deviation of a cluster's mean (Bloom 1995, Minimum Detectable
    Effects). From ten clusters on it is within 1 % of what the noncentral t distribution gives. Of
    0/1 answers of which a share d changes, sd is at most sqrt(d): where repairs and breakages
    cancel out.

    Args:
        clusters: K, independent groups.
        sd: standard deviation of the paired differences of single items.
        discordance: or the share of 0/1 items that change, between 0 and 1.
        items_per_cluster: mean number.
        design_effect: variance of the mean over that of as many independent items; 1 + (m - 1) rho
            for m items per cluster that correlate by rho.
        power: chance of finding the difference, between 0 and 1.
        alpha: two-sided level of the test.

    Returns:
        The difference, on the scale of the items; None with fewer than two clusters or without
        variation. Above 1 for shares: no possible difference would show.

    Raises:
        ValueError: not exactly one of `sd` and `discordance`, or one out of range.
    """
    if (sd is None) == (discordance is None):
        raise ValueError("give either sd or discordance")
    if discordance is not None and not 0 <= discordance <= 1:
        raise ValueError(f"discordance is a share, not {discordance}")
    spread = float(np.sqrt(discordance)) if discordance is not None else sd
    assert spread is not None
    by_cluster = spread * float(np.sqrt(design_effect / items_per_cluster))
    return _detectable(clusters, by_cluster, power, alpha)


def detectable_difference(
    treated: ArrayLike,
    baseline: ArrayLike,
    clusters: Sequence[str],
    *,
    power: float = POWER,
    alpha: float = ALPHA,
) -> Detectable:
    """`minimum_detectable_difference` with the spread between clusters that these data have.

    Args:
        treated: values by item, shape (n,); NaN = missing.
        baseline: values without the treatment, same shape.
        clusters: the cluster of each item, length n.
        power: chance of finding the difference.
        alpha: two-sided level of the test.

    Raises:
        ValueError: the lengths differ.
    """
    difference = np.asarray(treated, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    check_lengths(len(difference), clusters)
    known = difference[~np.isnan(difference)]
    sums, counts = sums_and_counts(difference[:, None], clusters, ~np.isnan(difference))
    found = len(counts)
    spread = float(contributions(sums[:, 0], counts).std(ddof=1)) if found > 1 else 0.0
    varies = spread > _ROUNDING
    alone = float(known.var(ddof=1)) / len(known) if varies else 0.0
    return Detectable(
        value=_detectable(found, spread, power, alpha),
        standard_error=spread / float(np.sqrt(found)) if varies else None,
        discordance=float((np.abs(known) > _ROUNDING).mean()) if len(known) else None,
        design_effect=spread**2 / found / alone if varies else None,
        n=len(known),
        clusters=found,
        power=power,
        alpha=alpha,
    )


def _detectable(clusters: int, spread: float, power: float, alpha: float) -> float | None:
    if clusters < 2 or spread <= _ROUNDING:
        return None
    multiplier = t.ppf(1 - alpha / 2, clusters - 1) + t.ppf(power, clusters - 1)
    return float(multiplier * spread / np.sqrt(clusters))
