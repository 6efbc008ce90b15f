"""Why a pair gains: its change of the right answer's lead, split into four parts that add up.

A transplant does three things at once: the module's own output is lost, something of another
layer's size is written, and it carries the counterpart's content. `skip`, `mean-main` and `mean`
take these steps one by one (docs/methods.md 1.8), so that the parts of each question telescope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from crosslatent.analysis.data import RunData, weigh
from crosslatent.analysis.items import Mask
from crosslatent.analysis.method_rows import MethodRecord
from crosslatent.analysis.picked import PairTest, Picked
from crosslatent.core.specs import (
    PART_CONTROLS,
    STRATA,
    Component,
    TransplantSpec,
    check_component,
)
from crosslatent.runs.schema import RowKey
from crosslatent.stats import Estimate, Floats
from crosslatent.stats.estimates import ratio

EPS = 0.1
"""Nats: where the aux prompt leads the main one by no more, nothing is divided by that."""

ROUNDING = 1e-3
"""Nats: a mean change within as much of zero is what batches round, and no change."""

WHOLE = "whole"
STEPS = (
    ("loss", "skip", "vanilla"),
    ("size", "mean-main", "skip"),
    ("language", "mean", "mean-main"),
    ("content", "none", "mean"),
    (WHOLE, "none", "vanilla"),
)
"""Each part: its name, the control after the step and the one before it. `WHOLE` is their sum."""

_FIVE = ("vanilla", "skip", "mean-main", "mean", "none")
_NEEDED = ("mean", *PART_CONTROLS)


@dataclass(frozen=True, slots=True)
class GainPart:
    """One part of a gain.

    Attributes:
        name: of `STEPS`.
        gap: mean change of the own option gap, in nats.
        correct: the same step as change of the share of right answers.
    """

    name: str
    gap: Estimate
    correct: Estimate

    @property
    def raises(self) -> bool:
        """The interval of the gap lies above zero, by more than rounding."""
        end = self.gap.value if self.gap.low is None else self.gap.low
        return self.gap.above_zero and end is not None and end > ROUNDING

    @property
    def lowers(self) -> bool:
        """The interval of the gap lies below zero, by more than rounding."""
        end = self.gap.value if self.gap.high is None else self.gap.high
        return self.gap.below_zero and end is not None and end < -ROUNDING


@dataclass(frozen=True, slots=True)
class SplitBeside:
    """Another control at the same pair, on those of the same questions that have it.

    Attributes:
        gap, correct: control minus the unmodified run.
        over_gap, over_correct: true transplant minus control.
    """

    control: str
    stratum: str | None
    gap: Estimate
    correct: Estimate
    over_gap: Estimate
    over_correct: Estimate


@dataclass(frozen=True, slots=True)
class GainSplit:
    """The gain of a picked pair on one split and language, in parts.

    The own option gap of a row is the log-probability of the gold option's first token minus the
    largest of the other options', which is the difference of their logits; where options share
    their first token, that of whole options, if they were scored; for open questions the
    log-probability of the gold answer's first token.

    Attributes:
        parts: those of `STEPS`; the first four add up to the last, question by question.
        beside: the same pair with vectors of the question itself, and of others.
        left_out: questions with a row at the pair whose gap is not known in all five kinds of rows.
        recovery: mean of (gap of the pair - gap of main) / (gap of aux - gap of main), where aux is
            answered by its own prompt, over the questions whose divisor is beyond `EPS` nats.
        recovery_of_means: both means over the same questions, divided.
        apart: change of the gap of the questions whose divisor is not: they are never divided.
        no_aux: questions whose gap of aux is not known.
    """

    component: Component
    split: str
    lang: str
    in_sample: bool
    source: int
    target: int
    parts: list[GainPart]
    beside: list[SplitBeside]
    left_out: int
    recovery: Estimate
    recovery_of_means: Estimate
    apart: Estimate
    no_aux: int

    @property
    def whole(self) -> GainPart:
        """The whole gain."""
        return self.parts[-1]


class Values(NamedTuple):
    """What is known of one kind of rows at a pair, arrays of shape (items,); NaN = unknown.

    Attributes:
        gap: own option gap, in nats.
        correct: right (1) or wrong (0).
        ran: whether there is a row.
    """

    gap: Floats
    correct: Floats
    ran: Mask


def gain_splits(data: RunData, picks: Sequence[Picked]) -> list[GainSplit]:
    """The pairs picked over all languages, on every split and language that has all rows needed."""
    found = []
    for pick in picks:
        if pick.is_pooled and not _lacking(data, pick.component):
            values = values_at(data, pick)
            found += [_split(data, pick, test, values) for test in pick.tests]
    return [one for one in found if one.whole.gap.n or one.whole.correct.n]


def missing(data: RunData) -> Iterator[str]:
    """Sentences on parts that cannot be computed, of components of which some were asked for."""
    for component in data.components:
        lacking = _lacking(data, component)
        if lacking and not set(PART_CONTROLS) <= set(lacking):
            yield (
                f"No parts of the gain of {component}: they need the controls "
                f"{', '.join(_NEEDED)}, and {', '.join(lacking)} was not run."
            )


def _lacking(data: RunData, component: Component) -> list[str]:
    there = {arm.control for arm in data.arms if arm.component == component}
    return [name for name in _NEEDED if name not in there]


def parts_of(values: Mapping[str, Values], field: str) -> Floats:
    """Every step of every question.

    Args:
        values: by control, what its rows say.
        field: ``gap`` or ``correct``.

    Returns:
        Shape (items, steps), in the order of `STEPS`; NaN where any of the five rows is missing.
    """
    of: dict[str, Floats] = {name: getattr(values[name], field) for name in _FIVE}
    five = np.column_stack([of[name] for name in _FIVE])
    known = np.asarray(~np.isnan(five).any(axis=1))
    steps = np.column_stack([of[after] - of[before] for _, after, before in STEPS])
    return np.where(known[:, None], steps, np.nan)


def _split(data: RunData, pick: Picked, test: PairTest, values: Mapping[str, Values]) -> GainSplit:
    asked = data.items.in_group(test.split, test.lang) & values["none"].ran
    gaps, right = parts_of(values, "gap"), parts_of(values, "correct")
    (choice,) = pick.choices.values()
    estimates = [data.means(steps, asked, difference=True) for steps in (gaps, right)]
    return GainSplit(
        component=pick.component,
        split=test.split,
        lang=test.lang,
        in_sample=test.in_sample,
        source=choice.source,
        target=choice.target,
        parts=[GainPart(name, *both) for (name, *_), *both in zip(STEPS, *estimates, strict=True)],
        beside=list(_beside(data, values, asked, (gaps, right))),
        left_out=int((asked & np.isnan(gaps[:, -1])).sum()),
        **_recovery(data, values, asked & ~np.isnan(gaps[:, -1])),
    )


def _beside(
    data: RunData, values: Mapping[str, Values], asked: Mask, steps: tuple[Floats, Floats]
) -> Iterator[SplitBeside]:
    """`self` and the donors, on the questions that the parts are of."""
    before, true = values["vanilla"], values["none"]
    kept = [~np.isnan(one[:, -1]) for one in steps]
    for name in values:
        control, _, stratum = name.partition("/")
        if control in ("self", "shuffled"):
            fields = [(kept[0], "gap"), (kept[1], "correct")]
            own = [(np.where(k, getattr(values[name], f), np.nan), f) for k, f in fields]
            gains = [data.difference(one, getattr(before, f), asked) for one, f in own]
            over = [data.difference(getattr(true, f), one, asked) for one, f in own]
            if gains[0].n or gains[1].n:
                yield SplitBeside(control, stratum or None, *gains, *over)


def _recovery(data: RunData, values: Mapping[str, Values], mask: Mask) -> dict[str, Any]:
    """The fields of `GainSplit` that compare with the aux prompt's own answer."""
    gain = values["none"].gap - values["vanilla"].gap
    lead = values["translate_test"].gap - values["vanilla"].gap
    far = np.asarray(np.abs(lead) > EPS)
    divided = np.divide(gain, lead, out=np.full(len(gain), np.nan), where=far)
    apart = np.where(np.abs(lead) <= EPS, gain, np.nan)
    # Where aux is worse than main, both sides are negative: the ratio of their losses.
    sign = -1.0 if np.nansum(lead[mask & far]) < 0 else 1.0
    top, below = (sign * np.where(far, side, np.nan)[mask] for side in (gain, lead))
    return {
        "recovery": data.mean(divided, mask, difference=True),
        "recovery_of_means": ratio(top, below, data.items.clusters_of(mask), seed=data.seed),
        "apart": data.mean(apart, mask, difference=True),
        "no_aux": int((mask & np.isnan(lead)).sum()),
    }


# What follows reads the rows: a handful for each question, so that no cube is loaded.

_ROWS = """
SELECT p.place, r.control, r.stratum, r.correct, r.option_logprobs, {scores}, r.gold_logprob,
       i.options, i.answer, i.other_answers, i.aux_answer, i.other_aux_answers
FROM rows r JOIN places p USING (item) JOIN items i USING (item)
WHERE r.control IN ('vanilla', 'translate_test') OR (
    r.component = $component AND r.target = $target
    AND (r.source = $source OR r.control = 'skip'))
"""


class _Row(NamedTuple):
    place: int
    control: str
    stratum: str | None
    correct: bool | None
    starts: list[float | None] | None
    wholes: list[float | None] | None
    gold: float | None
    options: list[str] | None
    answer: str | None
    others: list[str | None] | None
    aux_answer: str | None
    aux_others: list[str | None] | None

    @property
    def name(self) -> str:
        """The control with its stratum."""
        return f"{self.control}/{self.stratum}" if self.stratum else self.control

    @property
    def golds(self) -> set[str | None]:
        """Gold options of the prompt that is answered."""
        if self.control == "translate_test" and self.aux_answer is not None:
            return {self.aux_answer, *(self.aux_others or ())}
        return {self.answer, *(self.others or ())}

    def gap(self, *, whole: bool) -> float:
        """Own option gap, by first tokens or whole options; NaN if unknown."""
        if self.options is None:
            return np.nan if whole or self.gold is None else self.gold
        known = self.wholes if whole else self.starts
        if known is None or any(one is None for one in known):
            return np.nan
        both = list(zip(self.options, known, strict=True))
        right = [float(one) for option, one in both if one is not None and option in self.golds]
        wrong = [float(one) for option, one in both if one is not None and option not in self.golds]
        return max(right) - max(wrong) if right and wrong else np.nan


def values_at(data: RunData, pick: Picked) -> dict[str, Values]:
    """By control and stratum, what the rows at a pooled pair say, in float64.

    ``shuffled/any``, the donor that is drawn blindly, is computed where strata were run.
    """
    (choice,) = pick.choices.values()
    return values_of(data, TransplantSpec(pick.component, choice.source, choice.target))


def values_of(data: RunData, pair: TransplantSpec) -> dict[str, Values]:
    """The same at any pair."""
    rows = list(_rows(data, pair))
    shape = len(data.items.ids)
    names = dict.fromkeys([*_FIVE, "translate_test", *sorted({row.name for row in rows})])
    found = {
        name: (np.full((2, shape), np.nan), np.full(shape, np.nan), np.zeros(shape, np.bool_))
        for name in names
    }
    for row in rows:
        gaps, correct, ran = found[row.name]
        gaps[:, row.place] = row.gap(whole=False), row.gap(whole=True)
        correct[row.place] = np.nan if row.correct is None else row.correct
        ran[row.place] = True
    # One kind of gap for all rows of a question: of first tokens, where these tell options apart.
    first = ~np.isnan([found[name][0][0] for name in _FIVE]).any(axis=0)
    values = {
        name: Values(_finite(np.where(first, *gaps)), correct, ran)
        for name, (gaps, correct, ran) in found.items()
    }
    return values | _blind(data, values)


def _finite(gaps: Floats) -> Floats:
    return np.where(np.isfinite(gaps), gaps, np.nan)


def _blind(data: RunData, values: Mapping[str, Values]) -> dict[str, Values]:
    """The donor that is drawn without a look at its answer, where it is computed."""
    strata = {name: values[f"shuffled/{name}"] for name in STRATA if f"shuffled/{name}" in values}
    if not strata or "shuffled/any" in values:
        return {}
    gap, correct = (
        weigh(data.donor_shares, {name: getattr(one, field) for name, one in strata.items()})
        for field in ("gap", "correct")
    )
    return {"shuffled/any": Values(gap, correct, ~np.isnan(correct))}


def _rows(data: RunData, pair: TransplantSpec) -> Iterator[_Row]:
    scores = "r.option_scores" if "option_scores" in data.columns else "NULL"
    rows = data.con.execute(_ROWS.format(scores=scores), asdict(pair)).fetchall()
    return (_Row(*row) for row in rows)


def parts_of_methods(
    data: RunData, records: Mapping[str, MethodRecord]
) -> dict[str, list[GainPart]]:
    """The parts of the gain of each transplant of a comparison, with the pair of each language.

    Args:
        data: the run folder.
        records: what is kept of each method.
    """
    found = {}
    for name, record in records.items():
        keys = [(row["langs"], RowKey(*row["key"])) for row in record.rows]
        if keys and all(key.control == "none" for _, key in keys):
            found[name] = _pooled(data, keys)
    return {name: parts for name, parts in found.items() if parts[-1].gap.n}


def _pooled(data: RunData, keys: Sequence[tuple[Sequence[str], RowKey]]) -> list[GainPart]:
    """Parts over languages, each with its own pair."""
    shape = (len(data.items.ids), len(STEPS))
    gaps, right = np.full(shape, np.nan), np.full(shape, np.nan)
    for langs, key in keys:
        assert key.component is not None
        assert key.source is not None
        assert key.target is not None
        pair = TransplantSpec(check_component(key.component), key.source, key.target)
        values = values_of(data, pair)
        mine = np.isin(data.items.lang, list(langs))
        gaps[mine], right[mine] = (parts_of(values, one)[mine] for one in ("gap", "correct"))
    every = np.ones(shape[0], dtype=np.bool_)
    both = [data.means(steps, every, difference=True) for steps in (gaps, right)]
    return [GainPart(name, *each) for (name, *_), *each in zip(STEPS, *both, strict=True)]
