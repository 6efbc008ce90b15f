"""An interval that is undefined is no sign that all clusters agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crosslatent.report import formatting
from crosslatent.stats import clustered_mean
from crosslatent.stats.estimates import ratio

CLUSTERS = [f"c{k}" for k in range(40)]


def test_clusters_that_agree_show_something_and_an_undefined_ratio_nothing():
    flat = clustered_mean(np.ones(40), CLUSTERS)
    assert (flat.low, flat.undefined, flat.above_zero) == (None, False, True)
    assert formatting.interval(flat, difference=False) == "no variation"
    assert not replace(flat, undefined=True).above_zero
    assert not replace(flat, value=-1.0, undefined=True).below_zero
    one = np.zeros(40)
    one[0] = 1
    rare = ratio(one, one, CLUSTERS, resamples=1_000)  # most resamples have no gap
    assert (rare.value, rare.low, rare.undefined, rare.above_zero) == (1.0, None, True, False)
    assert formatting.interval(rare, difference=False) == "no interval"
    whole = ratio(np.ones(40), np.ones(40), CLUSTERS, resamples=1_000)
    assert (whole.value, whole.undefined, whole.above_zero) == (1.0, False, True)
