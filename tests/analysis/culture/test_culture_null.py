"""Coverage, nulls and power in few repetitions: `scripts.culture_null` has the thousand.

The bounds are those that a right statistic leaves in fewer than one of a thousand runs.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import binom

from scripts import culture_null

FEW = range(120)
RARE = 0.001


def test_intervals_hold_the_truth():
    lowest = binom.ppf(RARE, len(FEW), 0.93) / len(FEW)
    for share in culture_null.coverage(culture_null.SHIFTED, FEW).values():
        assert lowest <= share < 1


@pytest.mark.parametrize("name", culture_null.NULLS)
def test_what_is_not_there_is_not_claimed(name):
    world = replace(culture_null.NULLS[name], questions=60)
    steps, alone = culture_null.claimed(world, FEW)
    most = binom.isf(RARE, len(FEW), 0.05) / len(FEW)
    true = {"who is who drawn anew": 1, "nothing planted": 0, "any donor towards the country": 2}
    for share in steps[true.get(name, 1) :]:
        assert share <= most
    if name != "temperature alone":  # the difference between countries is real there
        for share in alone[true.get(name, 1) :]:
            assert share <= most


@pytest.mark.parametrize("world", [culture_null.SHIFTED, culture_null.ONE_SHIFTED])
def test_a_planted_shift_is_found(world):
    needed = culture_null.questions_needed(world)
    share = culture_null.power(replace(world, questions=needed), FEW)
    assert share >= binom.ppf(RARE, len(FEW), 0.8) / len(FEW)
