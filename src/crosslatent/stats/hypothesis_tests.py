"""Tests of paired answers: permutations and signs over clusters, exact McNemar over items.

And their corrections where there are many: Holm, Benjamini-Hochberg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, false_discovery_control

from crosslatent.stats.clusters import Floats, by_item, check_lengths, cluster_sums

PERMUTATIONS = 9_999
"""Drawn at random; with the observed one they make 10,000."""

Statistic = Literal["mean", "union"]
PairedMethod = Literal["exact McNemar", "permutation by cluster"]

_ROUNDING = 1e-9
"""Sums closer than this are the same: 0.1 + 0.2 is not to count as further out than 0.3."""
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """True against control, exchanged by cluster.

    Attributes:
        value: mean of true - control over the items, on their scale; None without items.
        p_two_sided: chance of a difference at least as far from zero if the two sides' names mean
            nothing; None if no cluster differs, since then there is nothing to exchange.
        p_greater, p_less: chance of one at least as large, and at least as small.
        n: items with both sides.
        clusters: independent groups among them; `differing`: those whose sides differ.
        permutations: patterns looked at, the observed one included.
        exact: these are all patterns there are.
        seed: of the drawn patterns.
    """

    value: float | None
    p_two_sided: float | None
    p_greater: float | None
    p_less: float | None
    n: int
    clusters: int
    differing: int
    permutations: int
    exact: bool
    seed: int
    method: str = "permutation test, sides exchanged by cluster"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether answers change more often in one direction: two-sided; None if nothing changed."""

    p_value: float | None
    method: PairedMethod


@dataclass(frozen=True, slots=True)
class SignTest:
    """Clusters that point up against clusters that point down.

    Attributes:
        p_two_sided: None if no cluster points anywhere.
        positive, negative, level: clusters whose summed difference is above, below, at zero.
        n: observations that are not missing; `clusters`: groups among them.
    """

    p_two_sided: float | None
    positive: int
    negative: int
    level: int
    n: int
    clusters: int
    method: str = "exact sign test over clusters"


def mcnemar(repaired: int, broken: int) -> float | None:
    """P of the exact two-sided McNemar test that repairs and breakages are equally likely.

    It counts items as if they were independent: with several questions to a cluster it rejects far
    too often, and `paired_test` does not use it there. None if nothing changed.
    """
    changed = repaired + broken
    return float(binomtest(repaired, changed, 0.5).pvalue) if changed else None


def paired_test(
    new: ArrayLike,
    old: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    one_language: bool = False,
) -> PairedTest:
    """The one p-value of a claim that answers changed for better or worse, by clusters.

    Within one language, where no cluster holds two questions and answers are right or wrong,
    exchanging clusters is exchanging questions, and the exact test of that is McNemar's.
    Everywhere else it is `cluster_permutation`.

    Args:
        new: 0/1 by item, shape (n,); NaN = missing.
        old: the same before the change, shape (n,).
        clusters: the cluster of each item, length n.
        seed: of the drawn patterns.
        one_language: all items are in one language.

    Raises:
        ValueError: the lengths differ.
    """
    after, before = (np.asarray(side, dtype=np.float64) for side in (new, old))
    _check_shapes(after, before)
    check_lengths(len(after), clusters)
    there = ~np.isnan(after) & ~np.isnan(before)
    names = np.asarray(clusters, dtype=np.str_)[there]
    judged = np.isin(np.concatenate([after[there], before[there]]), (0, 1)).all()
    if one_language and judged and len(np.unique(names)) == len(names):
        repaired, broken = int((after > before).sum()), int((after < before).sum())
        return PairedTest(mcnemar(repaired, broken), "exact McNemar")
    test = cluster_permutation(after, before, clusters, seed=seed)
    return PairedTest(test.p_two_sided, "permutation by cluster")


def cluster_permutation(
    true: ArrayLike,
    control: ArrayLike,
    clusters: Sequence[str],
    *,
    statistic: Statistic = "mean",
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> PermutationTest:
    """Does true differ from control by more than an exchange of their names explains?

    If nothing but luck tells the sides apart, then in every cluster they may be exchanged, all
    items of it together. p is the share of such exchanges whose difference is at least as far out,
    the observed one included, so never zero: (b + 1) / (m + 1) for m drawn patterns (Phipson and
    Smyth 2010, Permutation P-values Should Never Be Zero). All patterns are enumerated if there are
    at most m + 1, counting only the clusters that differ: exchanging equal sides changes nothing.
    An item's union over its attempts travels with the item, so exchanging clusters of whole cubes
    and of their unions is the same.

    Args:
        true: values by item, shape (n,), or by item and attempt, shape (n, ...): 0/1. NaN =
            missing; an attempt counts if both sides have it.
        control: values under the control, same shape.
        clusters: the cluster of each item, length n.
        statistic: what an item's attempts become: their mean, or their union (1 if any is 1).
        seed: of the drawn patterns.
        permutations: how many to draw.

    Raises:
        ValueError: the shapes or lengths differ, or the statistic is unknown.
    """
    if statistic not in _BY_ITEM:
        raise ValueError(f"no statistic {statistic!r}; there are {', '.join(_BY_ITEM)}")
    sides = [np.asarray(side, dtype=np.float64) for side in (true, control)]
    _check_shapes(sides[0], sides[1])
    gap = np.isnan(sides[0]) | np.isnan(sides[1])
    items = [_BY_ITEM[statistic](np.where(gap, np.nan, side)) for side in sides]
    return cluster_permutations(
        items[0][:, None], items[1][:, None], clusters, seed=seed, permutations=permutations
    )[0]


def cluster_permutations(
    true: ArrayLike,
    control: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> list[PermutationTest]:
    """`cluster_permutation` of every column at once; columns share their exchanges.

    Both sides have shape (n, k), such as unions by layer; the other arguments are the same.

    Raises:
        ValueError: the shapes or lengths differ.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (true, control)]
    _check_shapes(sides[0], sides[1])
    difference = sides[0] - sides[1]
    check_lengths(len(difference), clusters)
    there = ~np.isnan(difference)
    sums = cluster_sums(np.where(there, difference, 0), clusters)
    sizes = cluster_sums(there.astype(np.float64), clusters)
    sums[np.abs(sums) < _ROUNDING] = 0
    drawn = _drawn_counts(sums, seed, permutations)
    return [
        _test(sums[:, k], sizes[:, k], drawn[:, k], seed, permutations)
        for k in range(sums.shape[1])
    ]


def cluster_sign_test(difference: ArrayLike, clusters: Sequence[str]) -> SignTest:
    """Exact two-sided sign test over clusters: are ups and downs equally likely?

    It asks less than `cluster_permutation`: sizes of the differences do not count, so a single
    large cluster cannot decide.

    Args:
        difference: paired differences, shape (n,); NaN = missing.
        clusters: the cluster of each, length n.

    Raises:
        ValueError: the lengths differ.
    """
    values = np.asarray(difference, dtype=np.float64)
    check_lengths(len(values), clusters)
    there = ~np.isnan(values)
    table = np.column_stack([np.where(there, values, 0), there])
    sums, sizes = cluster_sums(table, clusters).T
    positive, negative = int((sums > _ROUNDING).sum()), int((sums < -_ROUNDING).sum())
    found = int((sizes > 0).sum())
    return SignTest(
        p_two_sided=mcnemar(positive, negative),
        positive=positive,
        negative=negative,
        level=found - positive - negative,
        n=int(there.sum()),
        clusters=found,
    )


def _check_shapes(true: Floats, control: Floats) -> None:
    if true.shape != control.shape:
        raise ValueError(f"true has shape {true.shape} but control {control.shape}")


def _mean_by_item(values: Floats) -> Floats:
    flat = by_item(values)
    counts = (~np.isnan(flat)).sum(axis=1)
    return np.where(counts > 0, np.nansum(flat, axis=1) / np.maximum(counts, 1), np.nan)


def _union_by_item(values: Floats) -> Floats:
    flat = by_item(values)
    tried = (~np.isnan(flat)).any(axis=1)
    return np.where(tried, (flat == 1).any(axis=1), np.nan)


_BY_ITEM: Mapping[str, Callable[[Floats], Floats]] = {
    "mean": _mean_by_item,
    "union": _union_by_item,
}


def _test(
    sums: Floats, sizes: Floats, drawn: Floats, seed: int, permutations: int
) -> PermutationTest:
    """One column's test, from its sums and numbers of items by cluster."""
    differing = sums[sums != 0]
    exact = 2 ** len(differing) <= permutations + 1
    if exact:
        looked_at = 2 ** len(differing)
        counts = _further_out(_every_pattern(len(differing)), differing[:, None])[:, 0]
    else:  # The observed pattern is one of the possible ones, and as far out as itself.
        looked_at = permutations + 1
        counts = drawn + 1
    p_values = (counts / looked_at).tolist() if len(differing) else [None, None, None]
    return PermutationTest(
        value=float(sums.sum() / sizes.sum()) if sizes.any() else None,
        p_two_sided=p_values[0],
        p_greater=p_values[1],
        p_less=p_values[2],
        n=int(sizes.sum()),
        clusters=int((sizes > 0).sum()),
        differing=len(differing),
        permutations=looked_at,
        exact=exact,
        seed=seed,
    )


def _drawn_counts(sums: Floats, seed: int, permutations: int) -> Floats:
    """Drawn patterns at least as far out: two-sided, above, below; shape (3, k)."""
    # The same test as scipy.stats.permutation_test(permutation_type="samples") on the clusters'
    # sums, as one matrix product for all columns.
    patterns = _drawn_patterns(len(sums), seed, permutations)
    counts = np.zeros((3, sums.shape[1]))
    for start in range(0, permutations, _AT_ONCE):
        counts += _further_out(patterns[start : start + _AT_ONCE], sums)
    return counts


def _further_out(patterns: Floats, sums: Floats) -> Floats:
    """How many patterns of signs are at least as far out as the observed sums, shape (3, k)."""
    observed, found = sums.sum(axis=0), patterns @ sums
    sides = (
        np.abs(found) >= np.abs(observed) - _ROUNDING,
        found >= observed - _ROUNDING,
        found <= observed + _ROUNDING,
    )
    return np.array([side.sum(axis=0) for side in sides], dtype=np.float64)


@lru_cache(maxsize=4)
def _drawn_patterns(clusters: int, seed: int, permutations: int) -> Floats:
    """Signs drawn at random, shape (permutations, clusters): -1 = exchanged."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, 2, size=(permutations, clusters))
    return np.asarray(1 - 2 * drawn, dtype=np.float64)


def _every_pattern(clusters: int) -> Floats:
    """All patterns of signs, shape (2^clusters, clusters)."""
    bits = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1
    return np.asarray(1 - 2 * bits, dtype=np.float64)


ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Correction:
    """p-values of a family of tests, corrected, in their order; None = the test is undefined.

    Attributes:
        p_values: as given; `adjusted`: to be compared with `alpha`; `rejected`: adjusted <= alpha.
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
    which layers of one model on one set of questions usually are. Arguments and errors: `holm`.
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
    p_values: Sequence[float | None], alpha: float, adjust: Callable[[Floats], Floats], method: str
) -> Correction:
    defined = np.array([p for p in p_values if p is not None], dtype=np.float64)
    if not ((defined >= 0) & (defined <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, not {defined.tolist()}")
    corrected = iter(adjust(defined).tolist() if len(defined) else [])
    adjusted = tuple(None if p is None else float(next(corrected)) for p in p_values)
    return Correction(
        p_values=tuple(p_values),
        adjusted=adjusted,
        rejected=tuple(None if p is None else p <= alpha for p in adjusted),
        n=len(defined),
        alpha=alpha,
        method=method,
    )
