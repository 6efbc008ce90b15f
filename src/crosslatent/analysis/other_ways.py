"""Other ways to answer, beside every pair of layers on the same questions (docs/methods.md 1.3).

One of them is the surer of both prompts: main and aux are both answered, and the answer is kept to
which the model gives the higher probability: of the option that it names, among the options; of an
open answer, the mean over its tokens (docs/methods.md 4.3). Where a fact is known in at least one
of the two languages, this alone can be right nearly always.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import ALL, Mask
from crosslatent.core.normal import normalised
from crosslatent.core.specs import PRESETS, Component, TransplantSpec, resolve_layer
from crosslatent.stats import Estimate, Floats


@dataclass(frozen=True, slots=True)
class OtherWay:
    """One way to answer against the best pair of layers, chosen in hindsight on the same questions.

    Attributes:
        name: translate_test, surer, surer_calibrated, or preset: the paper's pair for the type of
            the task.
        split: the questions looked at.
        pair: of a preset, (component, source, target); else None.
        accuracy: share of right answers; `gain`: minus that of the unmodified model.
        best: the pair that is right most often of all that were run on all of these questions;
            None if there is none. `best_accuracy`: its share; `over_best`: this way minus that.
        measured_by: of the surer of both prompts, by what it is known how likely answers were, and
            in how many questions (`surer.OF_OPTIONS`, `surer.OF_TEXTS`); empty for other ways.
    """

    name: str
    split: str
    pair: tuple[Component, int, int] | None
    accuracy: Estimate
    gain: Estimate
    best: tuple[Component, int, int] | None
    best_accuracy: Estimate | None
    over_best: Estimate | None
    measured_by: dict[str, int] = field(default_factory=dict)


OF_OPTIONS = ("whole options", "first tokens of options")

OF_TEXTS = ("all tokens", "first token")
"""By what it is known how likely an answer was, that of an option or an open one. The second of
each is all that rows of earlier releases know."""

_COLUMNS = ("answer_share", "option_scores", "option_logprobs", "answer_logprob", "first_logprob")


class Certainties(NamedTuple):
    """How likely the answers to main and to aux were.

    Attributes:
        main, aux: from 0 to 1, shape (items,); an output that names no option, or says nothing,
            has 0; NaN where it is not known of both.
        rule: which of `OF_OPTIONS` or `OF_TEXTS` both were measured by; empty where not known.
    """

    main: Floats
    aux: Floats
    rule: NDArray[np.str_]


def certainties(data: RunData) -> Certainties:
    """Of the answers to main and to aux, how likely each was, both by the same rule."""
    columns = (f"r.{name}" if name in data.columns else "NULL" for name in _COLUMNS)
    rows = data.con.execute(
        f"""
        SELECT p.place, r.control, i.options IS NOT NULL, len(r.output_ids),
               coalesce(list_position(i.options, r.prediction), 0) - 1, {", ".join(columns)}
        FROM rows r JOIN items i USING (item) JOIN places p USING (item)
        WHERE r.control IN ('vanilla', 'translate_test')
        """
    ).fetchall()
    n = len(data.items.ids)
    found = {name: np.full((n, 2), np.nan) for name in ("vanilla", "translate_test")}
    for place, control, options, length, named, *known in rows:
        if options:
            found[control][place] = _of_option(named, *known[:3])
        else:
            # An answer without tokens says nothing, where it is known how likely answers were.
            empty = "answer_logprob" in data.columns and length == 0
            found[control][place] = _of_text(empty, *known[3:])
    both = np.stack([found["vanilla"], found["translate_test"]])
    # A mean over tokens does not compare with a first token, so both sides are measured alike.
    which = np.isnan(both).any(axis=0).argmin(axis=1)
    main, aux = both[:, np.arange(n), which]
    names = np.where(data.items.has_options[:, None], OF_OPTIONS, OF_TEXTS)[np.arange(n), which]
    return Certainties(main, aux, np.where(np.isnan(main + aux), "", names))


def _of_option(
    named: int,
    share: float | None,
    scores: list[float | None] | None,
    logprobs: list[float | None] | None,
) -> tuple[float, float]:
    """Probability of the option that was named: out of whole options, and out of first tokens."""
    whole = _share(named, scores) if share is None else share
    return whole, _share(named, logprobs)


def _share(named: int, logprobs: list[float | None] | None) -> float:
    shares = normalised(logprobs) if logprobs else None
    if shares is None:
        return np.nan
    return shares[named] if named >= 0 else 0.0


def _of_text(empty: bool, mean: float | None, start: float | None) -> tuple[float, float]:
    """Probability of an open answer, by the mean over its tokens, and by its first token."""
    whole, first = (np.nan if one is None else float(np.exp(one)) for one in (mean, start))
    return 0.0 if empty else whole, first


def surer(data: RunData, least: float = 0.0) -> Floats:
    """Right or wrong of keeping the surer answer, shape (items,); NaN where one is not known.

    Args:
        data: the run.
        least: the answer to aux is kept if it is the surer one by more than this.
    """
    return _kept(data, certainties(data), least)


def _kept(data: RunData, known: Certainties, least: float) -> Floats:
    """Right or wrong of the answer that is kept; NaN where one is not known."""
    items = data.items
    right = np.where(known.aux - known.main > least, items.translate_test, items.vanilla)
    there = known.main + known.aux + items.translate_test + items.vanilla
    return np.where(np.isnan(there), np.nan, right)


def measured_by(data: RunData, mask: Mask) -> dict[str, int]:
    """By what the surer answer was found, and for how many of the questions in `mask`."""
    known = certainties(data)
    rule = known.rule[mask & ~np.isnan(_kept(data, known, 0.0))]
    counts = {name: int((rule == name).sum()) for name in (*OF_OPTIONS, *OF_TEXTS)}
    return {name: count for name, count in counts.items() if count}


def missing(data: RunData) -> Iterator[str]:
    """A sentence on questions whose answers are known by their first token alone."""
    everyone = np.ones(len(data.items.ids), dtype=np.bool_)
    counts = measured_by(data, everyone)
    for name in (OF_OPTIONS[1], OF_TEXTS[1]):
        if name in counts:
            yield (
                f"The surer of both prompts goes by the {name} in {counts[name]:,} of "
                f"{sum(counts.values()):,} questions: their rows do not say how likely the whole "
                "answers were. Sweep again into another folder."
            )


def best_margin(data: RunData, mask: Mask) -> float | None:
    """The `least` of `surer` that is right most often on the questions in `mask`.

    Of those that are right equally often, the one next to 0. None if no question has both answers.
    """
    known = certainties(data)
    mask = mask & ~np.isnan(_kept(data, known, 0.0))
    if not mask.any():
        return None
    main, aux = data.items.vanilla[mask], data.items.translate_test[mask]
    return fitted_margin((known.aux - known.main)[mask], main, aux)


ALWAYS, NEVER = -2.0, 2.0
"""Margins that every answer to aux exceeds, and none: certainties differ by 1 at most."""


def fitted_margin(gaps: Floats, main: Floats, aux: Floats) -> float:
    """By how much aux must be surer than main, so that most answers are right.

    Args:
        gaps: how much surer aux is, shape (items,), without gaps.
        main: right or wrong of the answers to main, the same shape.
        aux: of those to aux.
    """
    steps = np.unique(gaps)
    margins = [ALWAYS, *((steps[1:] + steps[:-1]) / 2).tolist(), NEVER, 0.0]

    def right(least: float) -> float:
        return float(np.where(gaps > least, aux, main).mean())

    best: float = max(margins, key=lambda one: (right(one), -abs(one)))
    return best


def other_ways(data: RunData, tune: str, split: str | None, kind: str) -> list[OtherWay]:
    """Every other way that the run has answers of.

    Args:
        data: the run.
        tune: the split that what is calibrated is calibrated on.
        split: the split to look at; None = all questions.
        kind: type of the task, which the paper's presets are for.
    """
    mask = data.items.in_group(split) & ~np.isnan(data.items.vanilla)
    found = [
        _other(data, (name, pair), right, mask & ~np.isnan(right), split or ALL)
        for name, pair, right in _ways(data, tune, split, kind)
    ]
    return [one for one in found if one is not None]


def _ways(
    data: RunData, tune: str, split: str | None, kind: str
) -> Iterator[tuple[str, tuple[Component, int, int] | None, Floats]]:
    yield "translate_test", None, data.items.translate_test
    yield "surer", None, surer(data)
    margin = best_margin(data, data.items.in_group(tune)) if split not in (None, tune) else None
    if margin is not None:
        yield "surer_calibrated", None, surer(data, margin)
    pair = preset_of(kind, data.n_layers)
    if pair is not None:
        cube = data.true_cube(pair.component)
        place = pair.component, pair.source, pair.target
        yield "preset", place, cube[:, pair.source, pair.target]


def preset_of(kind: str, n_layers: int) -> TransplantSpec | None:
    """The paper's pair for a type of task; None if it recommends none."""
    pair = PRESETS.get(kind)
    if pair is None or n_layers < 1:
        return None
    source = resolve_layer(pair.source, n_layers, "source")
    return TransplantSpec(pair.component, source, resolve_layer(pair.target, n_layers, "target"))


def _other(
    data: RunData,
    way: tuple[str, tuple[Component, int, int] | None],
    right: Floats,
    mask: Mask,
    split: str,
) -> OtherWay | None:
    if not mask.any():
        return None
    best = _best_pair(data, mask)
    true = None if best is None else data.true_cube(best[0])[:, best[1], best[2]]
    return OtherWay(
        *(way[0], split, way[1]),
        accuracy=data.mean(right, mask),
        gain=data.difference(right, data.items.vanilla, mask),
        best=best,
        best_accuracy=None if true is None else data.mean(true, mask),
        over_best=None if true is None else data.difference(right, true, mask),
        measured_by=measured_by(data, mask) if way[0].startswith("surer") else {},
    )


def _best_pair(data: RunData, mask: Mask) -> tuple[Component, int, int] | None:
    """The first of the pairs that are right most often, of those run on all of the questions."""
    found: list[tuple[float, tuple[Component, int, int]]] = []
    for component in data.components:
        cube = data.true_cube(component)[mask]
        means = cube.mean(axis=0)
        if not np.isnan(means).all():
            source, target = np.unravel_index(int(np.nanargmax(means)), means.shape)
            place = component, int(source), int(target)
            found.append((float(means[source, target]), place))
    return max(found, key=lambda one: one[0])[1] if found else None
