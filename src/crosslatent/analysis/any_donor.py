"""A donor drawn without a look at its answer: the strata, weighted by how many donors each holds.

A stratum knows the gold answer, so it says what is carried and not what luck does (docs/methods.md
1.3). The expectation over all strata is the control that knows nothing. It is computed, not run,
and named ``shuffled/any``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crosslatent.analysis.data import Arm, RunData
from crosslatent.core.specs import STRATA, Component
from crosslatent.stats import Floats


def blind_arm(component: Component) -> Arm:
    """The name of the computed control."""
    return Arm(component, "shuffled", "any")


def strata_arms(data: RunData, component: Component) -> dict[str, Arm]:
    """Stratum -> arm, of the strata that it is computed from; empty if it is not computed."""
    if blind_arm(component) in data.arms:
        return {}
    arms = {stratum: Arm(component, "shuffled", stratum) for stratum in STRATA}
    return {stratum: arm for stratum, arm in arms.items() if arm in data.arms}


def weigh(shares: Mapping[str, Floats], values: Mapping[str, Floats]) -> Floats:
    """Expectation over the strata.

    Args:
        shares: by stratum, the share of each question's donors that it holds, shape (items,); NaN
            where there is no donor.
        values: by stratum, what its donors give, shape (items, ...); a stratum without donors has
            no values and no weight.

    Returns:
        Shape (items, ...); NaN where a stratum that has donors has no value.
    """
    shape = next(iter(values.values())).shape
    total = np.zeros(shape)
    for stratum, share in shares.items():
        weight = share.reshape(-1, *[1] * (len(shape) - 1))
        given = values.get(stratum, np.full(shape, np.nan))
        total = total + np.where(weight == 0, 0.0, weight * given)
    return total
