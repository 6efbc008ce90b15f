"""Does the output take up the answer of the donor? Asked of donors with a different answer.

If it does, the transplanted vector carries an answer; if it does not, something less specific.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crosslatent.analysis.data import Arm, RunData
from crosslatent.analysis.pilot import at_pairs, pairs_of_items
from crosslatent.analysis.results import ALL, Follow, Picked
from crosslatent.analysis.texts import gives_answer
from crosslatent.core.specs import Component
from crosslatent.stats import Floats, clustered_mean, paired_difference

DIFFERENT = "different_answer"


def follows(data: RunData, component: Component, picks: list[Picked], seed: int) -> list[Follow]:
    """How often the donor's answer comes out: mean over all pairs, and at the pooled pair.

    Empty if the run has no shuffled rows with a different-answer donor.
    """
    arm = Arm(component, "shuffled", DIFFERENT)
    if arm not in data.arms:
        return []
    cube = data.cube(arm, "follows")
    before = _vanilla_gives_donor_answer(data, arm)
    found = []
    for pair, values in _views(data, cube, picks):
        for split in (ALL, *data.items.splits):
            mask = data.items.in_group(None if split == ALL else split)
            mask &= ~np.isnan(values) & ~np.isnan(before)
            if mask.any():
                clusters = data.items.clusters_of(mask)
                found.append(
                    Follow(
                        component=component,
                        split=split,
                        pair=pair,
                        share=clustered_mean(values[mask], clusters, seed=seed),
                        vanilla_share=clustered_mean(before[mask], clusters, seed=seed),
                        difference=paired_difference(
                            values[mask], before[mask], clusters, seed=seed
                        ),
                    )
                )
    return found


def without_donor(data: RunData) -> dict[str, int]:
    """Questions with true rows but no shuffled ones, by stratum, where that stratum was run."""
    missing: dict[str, int] = {}
    for arm in data.arms:
        if arm.control == "shuffled" and arm.stratum is not None:
            true = data.has_rows([Arm(arm.component, "none", None)])
            given = data.has_rows([arm])
            true &= np.isin(data.items.split, data.splits_of([arm]))
            missing[arm.stratum] = max(missing.get(arm.stratum, 0), int((true & ~given).sum()))
    return missing


def _views(
    data: RunData, cube: Floats, picks: list[Picked]
) -> Iterator[tuple[tuple[int, int] | None, Floats]]:
    counts = (~np.isnan(cube)).sum(axis=(1, 2))
    sums = np.nansum(cube, axis=(1, 2))
    yield None, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    for pick in picks:
        if pick.pooling == "pooled":
            pairs = pairs_of_items(data, pick.choices)
            yield pick.choices[ALL].pair, at_pairs(cube, pairs)


def _vanilla_gives_donor_answer(data: RunData, arm: Arm) -> Floats:
    """Whether the unmodified output already gives the donor's answer; NaN if unknown.

    One donor serves all pairs of a question (docs/methods.md 1.3); of several, the mean.
    """
    data.fold_outputs()
    rows = data.con.execute(
        f"""
        SELECT r.item, avg(({gives_answer("v", "d")})::DOUBLE)
        FROM (SELECT DISTINCT item, donor FROM rows
              WHERE component = $component AND control = $control AND stratum = $stratum) r
        JOIN items i USING (item) JOIN golds d ON d.item = r.donor
        JOIN plain v ON v.item = r.item AND v.control = 'vanilla'
        LEFT JOIN texts t ON t.output = v.output
        GROUP BY r.item
        """,
        arm._asdict(),
    ).fetchall()
    shares = {item: share for item, share in rows if share is not None}
    return np.array([shares.get(item, np.nan) for item in data.items.ids])
