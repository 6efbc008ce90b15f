"""Results of the analysis as data frames, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crosslatent.analysis.bounds import bound_versus, controls, upper_bound
from crosslatent.analysis.data import RunData
from crosslatent.core.specs import Component
from crosslatent.runs.contents import readable
from crosslatent.runs.reader import RunReader
from crosslatent.stats import Estimate

if TYPE_CHECKING:
    import pandas as pd


@readable()
def upper_bounds(reader: RunReader, *, seed: int = 0) -> pd.DataFrame:
    """Upper bounds of a run, true transplants and controls, one row each.

    Columns: `component`; `control` ("none" for true transplants) and `stratum`; `value` with its
    interval `low` to `high`; `minus_control` with `minus_low` to `minus_high`, true minus control
    on the same questions and attempts; `n` questions in `clusters`; `attempts` per question.

    Args:
        reader: the run folder.
        seed: of the intervals.
    """
    import pandas as pd

    data = RunData(reader)
    return pd.DataFrame([row for kind in data.components for row in _rows(data, kind, seed)])


def _rows(data: RunData, component: Component, seed: int) -> Iterator[dict[str, Any]]:
    bound = upper_bound(data, component, seed)
    if bound is not None:
        yield _row(component, "none", None, bound.attempts, bound.overall)
    for arm in controls(data, component):
        versus = bound_versus(data, arm, seed)
        if versus is not None:
            pair = versus.overall
            row = _row(component, arm.control, arm.stratum, versus.attempts, pair.control)
            yield {
                **row,
                "minus_control": pair.difference.value,
                "minus_low": pair.difference.low,
                "minus_high": pair.difference.high,
            }


def _row(
    component: Component,
    control: str,
    stratum: str | None,
    attempts: tuple[int, int],
    estimate: Estimate,
) -> dict[str, Any]:
    return {
        "component": component,
        "control": control,
        "stratum": stratum,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "clusters": estimate.clusters,
        "attempts": attempts[1],
    }
