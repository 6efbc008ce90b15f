"""Seeded statistics on arrays: intervals, tests, corrections, effect sizes and agreement.

Contract of every module: what is independent is the cluster (a fact asked in several languages), so
clusters are resampled, exchanged and counted, never single answers. Missing observations are NaN.
What cannot be estimated is None, never zero. Whatever is random takes a seed and names it.
"""

from crosslatent.stats.agreement import GridCorrelation, SplitHalf, grid_correlation, split_half
from crosslatent.stats.clusters import Floats
from crosslatent.stats.effect_sizes import (
    Detectable,
    EffectSizes,
    OddsRatio,
    cohens_h,
    detectable_difference,
    discordant_odds_ratio,
    effect_sizes,
    minimum_detectable_difference,
)
from crosslatent.stats.estimates import (
    CONFIDENCE,
    METHOD,
    METHODS,
    RESAMPLES,
    Estimate,
    clustered_mean,
    clustered_means,
    group_difference,
    paired_difference,
)
from crosslatent.stats.hypothesis_tests import (
    PERMUTATIONS,
    Correction,
    PairedMethod,
    PairedTest,
    PermutationTest,
    SignTest,
    benjamini_hochberg,
    cluster_permutation,
    cluster_permutations,
    cluster_sign_test,
    holm,
    mcnemar,
    paired_test,
)

__all__ = [
    "CONFIDENCE",
    "METHOD",
    "METHODS",
    "PERMUTATIONS",
    "RESAMPLES",
    "Correction",
    "Detectable",
    "EffectSizes",
    "Estimate",
    "Floats",
    "GridCorrelation",
    "OddsRatio",
    "PairedMethod",
    "PairedTest",
    "PermutationTest",
    "SignTest",
    "SplitHalf",
    "benjamini_hochberg",
    "cluster_permutation",
    "cluster_permutations",
    "cluster_sign_test",
    "clustered_mean",
    "clustered_means",
    "cohens_h",
    "detectable_difference",
    "discordant_odds_ratio",
    "effect_sizes",
    "grid_correlation",
    "group_difference",
    "holm",
    "mcnemar",
    "minimum_detectable_difference",
    "paired_difference",
    "paired_test",
    "split_half",
]
