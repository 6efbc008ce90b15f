"""Is it the spelling of an answer that is carried, or its content? Open questions, in two groups.

Where the right answer is spelled the same in both languages, copying the tokens that the
counterpart would write gives it; where it is not, they give a wrong one (docs/methods.md 1.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from crosslatent.analysis import any_donor
from crosslatent.analysis.data import Arm, Mask, RunData
from crosslatent.analysis.evidence import SpelledGroup, Spelling
from crosslatent.analysis.pilot import at_pairs, control_values, pairs_of_items
from crosslatent.analysis.results import ALL, PairTest, Picked
from crosslatent.core.normal import answer_keys
from crosslatent.stats import Floats, clustered_mean, group_difference, paired_difference


def spellings(data: RunData, picks: Sequence[Picked], seed: int) -> list[Spelling]:
    """The pooled pairs on every split, apart for answers that are spelled alike and others.

    Empty if the run has no open question with a gold answer.
    """
    pooled = [pick for pick in picks if pick.pooling == "pooled"]
    if data.items.has_options.all() or not pooled:
        return []
    alike = spelled_alike(data)
    found = []
    for pick in pooled:
        pairs = pairs_of_items(data, pick.choices)
        true = at_pairs(data.true_cube(pick.component), pairs)
        values = control_values(data, pick.component, pairs)
        plain = values.get(Arm(pick.component, "shuffled", None))
        donor = values.get(any_donor.blind_arm(pick.component), plain)
        judged = ~data.items.has_options & ~np.isnan(true) & ~np.isnan(data.items.vanilla)
        for test in pick.tests:
            mask = judged & data.items.in_group(test.split)
            if test.lang == ALL and mask.any():
                found.append(_spelling(data, pick, test, (true, donor, alike), mask, seed))
    return found


def spelled_alike(data: RunData) -> Floats:
    """Whether a gold answer is spelled the same in both languages, shape (items,).

    1 = yes, 0 = no, in the form in which answers are compared (`core.normal.answer_keys`); NaN for
    questions with options, and where the answer in either language is not known.
    """
    rows = data.con.execute(
        "SELECT item, answer, other_answers, aux_answer, other_aux_answers FROM items "
        "WHERE options IS NULL AND answer IS NOT NULL AND aux_answer IS NOT NULL"
    ).fetchall()
    found = {
        item: not set(_keys(main, more)).isdisjoint(_keys(aux, others))
        for item, main, more, aux, others in rows
    }
    return np.array([float(found.get(item, np.nan)) for item in data.items.ids])


def _keys(answer: str, more: Sequence[str | None] | None) -> tuple[str, ...]:
    return answer_keys([answer, *filter(None, more or ())])


def _spelling(
    data: RunData,
    pick: Picked,
    test: PairTest,
    values: tuple[Floats, Floats | None, Floats],
    mask: Mask,
    seed: int,
) -> Spelling:
    true, donor, alike = values
    known = mask & ~np.isnan(alike)
    change = true - data.items.vanilla
    return Spelling(
        component=pick.component,
        split=test.split,
        in_sample=test.in_sample,
        same=_group(data, true, donor, known & (alike == 1), seed),
        other=_group(data, true, donor, known & (alike == 0), seed),
        difference=group_difference(
            change[known], alike[known] == 1, data.items.clusters_of(known), seed=seed
        ),
        unknown=int((mask & ~known).sum()),
    )


def _group(
    data: RunData, true: Floats, donor: Floats | None, mask: Mask, seed: int
) -> SpelledGroup:
    clusters, vanilla = data.items.clusters_of(mask), data.items.vanilla[mask]
    return SpelledGroup(
        vanilla=clustered_mean(vanilla, clusters, seed=seed),
        gain=paired_difference(true[mask], vanilla, clusters, seed=seed),
        donor=None
        if donor is None
        else paired_difference(donor[mask], vanilla, clusters, seed=seed),
        over_donor=None
        if donor is None
        else paired_difference(true[mask], donor[mask], clusters, seed=seed),
        languages=dict(Counter(data.items.lang[mask].tolist()).most_common()),
    )
