"""Is it an answer that is carried, and is it its spelling or its content?

Two questions of docs/methods.md 1.3. Does the output take up the answer of a donor with a different
answer? And do open questions gain as much where the right answer is spelled differently in the two
languages, so that the tokens of the counterpart's answer are wrong?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crosslatent.analysis.data import Arm, RunData, blind_arm, known_mean
from crosslatent.analysis.items import ALL, Mask, gives_answer
from crosslatent.analysis.picked import PairTest, Picked, at_pairs, control_values, pairs_of_items
from crosslatent.core.normal import answer_keys
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, Floats, group_difference


@dataclass(frozen=True, slots=True)
class Follow:
    """How often the output takes up the answer of a donor whose answer is a different one.

    Attributes:
        pair: (source, target); None = mean over all pairs run.
        share: outputs that give the donor's answer.
        vanilla_share: unmodified outputs that would have given it anyway.
    """

    component: Component
    split: str
    pair: tuple[int, int] | None
    share: Estimate
    vanilla_share: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class SpelledGroup:
    """Open questions whose right answer is spelled alike in both languages, or those where not.

    Attributes:
        gain: the picked pair minus the unmodified run.
        donor: the same with the vector of another question, drawn blindly; `over_donor`: the true
            counterpart minus that. None where no such donor was run.
        languages: how many of the questions are in each.
    """

    vanilla: Estimate
    gain: Estimate
    donor: Estimate | None
    over_donor: Estimate | None
    languages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Spelling:
    """What the pair picked over all languages gains, by how the right answer is spelled.

    Attributes:
        same: a gold answer in the language of main is one in the language of aux, too.
        other: none is.
        difference: gain of `same` minus gain of `other`.
        unknown: open questions left out, as the answer in the language of aux is not known.
    """

    component: Component
    split: str
    in_sample: bool
    same: SpelledGroup
    other: SpelledGroup
    difference: Estimate
    unknown: int


DIFFERENT = "different_answer"


def follows(data: RunData, component: Component, picks: list[Picked]) -> list[Follow]:
    """How often the donor's answer comes out: mean over all pairs, and at the pooled pair.

    Empty if the run has no shuffled rows with a different-answer donor.
    """
    arm = Arm(component, "shuffled", DIFFERENT)
    if arm not in data.arms:
        return []
    before = _vanilla_gives_donor_answer(data, arm)
    return [
        Follow(
            component=component,
            split=split,
            pair=pair,
            share=data.mean(values, mask),
            vanilla_share=data.mean(before, mask),
            difference=data.difference(values, before, mask),
        )
        for pair, values in _views(data, data.cube(arm, "follows"), picks)
        for known in [~np.isnan(values) & ~np.isnan(before)]
        for split in (ALL, *data.items.splits)
        if (mask := known & data.items.in_group(None if split == ALL else split)).any()
    ]


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
    yield None, known_mean(cube, (1, 2))
    for pick in picks:
        if pick.is_pooled:
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


def spellings(data: RunData, picks: Sequence[Picked]) -> list[Spelling]:
    """The pooled pairs on every split, apart for answers that are spelled alike and others.

    Empty if the run has no open question with a gold answer.
    """
    pooled = [pick for pick in picks if pick.is_pooled]
    if data.items.has_options.all() or not pooled:
        return []
    alike = spelled_alike(data)
    found = []
    for pick in pooled:
        pairs = pairs_of_items(data, pick.choices)
        true = at_pairs(data.true_cube(pick.component), pairs)
        values = control_values(data, pick.component, pairs)
        plain = values.get(Arm(pick.component, "shuffled", None))
        donor = values.get(blind_arm(pick.component), plain)
        judged = ~data.items.has_options & ~np.isnan(true) & ~np.isnan(data.items.vanilla)
        for test in pick.tests:
            mask = judged & data.items.in_group(test.split)
            if test.lang == ALL and mask.any():
                found.append(_spelling(data, pick, test, (true, donor, alike), mask))
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
) -> Spelling:
    true, donor, alike = values
    known = mask & ~np.isnan(alike)
    change = true - data.items.vanilla
    return Spelling(
        component=pick.component,
        split=test.split,
        in_sample=test.in_sample,
        same=_spelled_group(data, true, donor, known & (alike == 1)),
        other=_spelled_group(data, true, donor, known & (alike == 0)),
        difference=group_difference(
            change[known], alike[known] == 1, data.items.clusters_of(known)
        ),
        unknown=int((mask & ~known).sum()),
    )


def _spelled_group(data: RunData, true: Floats, donor: Floats | None, mask: Mask) -> SpelledGroup:
    vanilla = data.items.vanilla
    return SpelledGroup(
        vanilla=data.mean(vanilla, mask),
        gain=data.difference(true, vanilla, mask),
        donor=None if donor is None else data.difference(donor, vanilla, mask),
        over_donor=None if donor is None else data.difference(true, donor, mask),
        languages=dict(Counter(data.items.lang[mask].tolist()).most_common()),
    )
