"""pass@K: what the unmodified model solves when it is sampled as often as pairs are tried.

K is the number of pairs (docs/methods.md 1.3). pass@K is reported beside the upper bound, but is
none of the controls that it is tested against: with K = 1,024 it nears 100 % on any question with
options.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crosslatent.analysis.bounds import Versus, languages, true_cube, versus
from crosslatent.analysis.data import RunData, solved_by_any
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, Floats


@dataclass(frozen=True, slots=True)
class PassAtK:
    """The unmodified model sampled at temperature 1 as often as there are pairs.

    It has a comparison of its own, and is none of the controls that decide about an upper bound.

    Attributes:
        name: ``pass@64``; where there are fewer samples than pairs, ``pass@n`` of that number.
        attempts: pairs tried per question, fewest and most.
        by_probability: questions with options, of which it is 1 - (1 - p)^K with the probability p
            of the whole gold option: a lower bound where the rule accepts other wordings.
        by_samples: open questions, of which it is the unbiased estimate from samples.
        samples: sampled answers of those, the fewest; None without them.
        share: chance that at least one of so many answers is right.
        versus: the upper bound (`true`) beside it (`control`), on the same questions; None where
            there are fewer samples than pairs.
        by_language: the same by language; empty where there are fewer samples than pairs.
    """

    component: Component
    name: str
    attempts: tuple[int, int]
    by_probability: int
    by_samples: int
    samples: int | None
    share: Estimate
    versus: Versus | None
    by_language: dict[str, Versus]


@dataclass(frozen=True, slots=True)
class Draws:
    """What is known of the unmodified model's answers when it is sampled at temperature 1.

    Attributes:
        chance: of questions with options, the probability of the whole gold option, the likelier of
            its spellings, shape (items,); NaN where it is not known.
        samples, right: of open questions, how many answers were sampled and how many are right.
    """

    chance: Floats
    samples: Floats
    right: Floats


def pass_at_k(data: RunData, component: Component) -> PassAtK | None:
    """pass@K of one component, beside its upper bound on the same questions.

    Returns:
        None if no pair was run, or nothing is known of what the unmodified model would sample.
        Where no question has as many samples as pairs, what fewer give (pass@n), compared with
        nothing.
    """
    union, tries = _union(data, component)
    draws = draws_of(data)
    luck = passed(draws, tries)
    known = ~np.isnan(luck) & ~np.isnan(union)
    if not known.any():
        return _of_fewer(data, component, draws, tries)
    sides = np.where(known, union, np.nan)[:, None], np.where(known, luck, np.nan)[:, None]
    by_chance = known & ~np.isnan(draws.chance)
    by_samples = known & np.isnan(draws.chance)
    (overall,) = versus(data, *sides, None)
    return PassAtK(
        component=component,
        name=_name(tries[known]),
        attempts=(int(tries[known].min()), int(tries[known].max())),
        by_probability=int(by_chance.sum()),
        by_samples=int(by_samples.sum()),
        samples=int(draws.samples[by_samples].min()) if by_samples.any() else None,
        share=overall.control,
        versus=overall,
        by_language={lang: versus(data, *sides, mask)[0] for lang, mask in languages(data)},
    )


def _union(data: RunData, component: Component) -> tuple[Floats, Floats]:
    """Solved by any pair, and how many pairs were tried: on the questions of the upper bound."""
    cube = true_cube(data, component)
    return solved_by_any(cube, (1, 2)), (~np.isnan(cube)).sum(axis=(1, 2)).astype(np.float64)


def _of_fewer(data: RunData, component: Component, draws: Draws, tries: Floats) -> PassAtK | None:
    """What fewer samples than pairs give: no more than the samples show, and compared with none."""
    there = (tries > 0) & (draws.samples > 0)
    if not there.any():
        return None
    fewest = draws.samples[there].min()
    share = np.full(len(tries), np.nan)
    share[there] = [
        unbiased(int(n), int(c), int(fewest))
        for n, c in zip(draws.samples[there], draws.right[there], strict=True)
    ]
    return PassAtK(
        component=component,
        name=f"pass@{fewest:.0f}",
        attempts=(int(tries[there].min()), int(tries[there].max())),
        by_probability=0,
        by_samples=int(there.sum()),
        samples=int(fewest),
        share=data.mean(share),
        versus=None,
        by_language={},
    )


def _name(tries: Floats) -> str:
    low, high = int(tries.min()), int(tries.max())
    return f"pass@{low}" if low == high else f"pass@{low}-{high}"


def passed(draws: Draws, tries: Floats) -> Floats:
    """Chance that at least one of K sampled answers is right, shape (items,).

    Args:
        draws: what is known of them.
        tries: K of each question; 0 = none was tried.

    Returns:
        1 - (1 - p)^K where the gold option's probability p is known; else the unbiased estimate
        from at least K samples (`unbiased`); NaN where neither is there.
    """
    found = np.full(len(tries), np.nan)
    known = (tries > 0) & ~np.isnan(draws.chance)
    with np.errstate(divide="ignore"):
        found[known] = -np.expm1(tries[known] * np.log1p(-draws.chance[known]))
    enough = (tries > 0) & np.isnan(draws.chance) & (draws.samples >= tries)
    for place in np.flatnonzero(enough):
        counts = (draws.samples[place], draws.right[place], tries[place])
        found[place] = unbiased(*map(int, counts))
    return found


def unbiased(samples: int, right: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the unbiased estimate of pass@k (Chen et al. 2021, 2107.03374).

    Args:
        samples: n, at least k.
        right: c, how many of them are right.
        k: samples that one counts.
    """
    if k > samples:
        raise ValueError(f"pass@{k} cannot be estimated from {samples} samples: draw {k} or more.")
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def draws_of(data: RunData) -> Draws:
    """What a run folder knows of sampled answers; NaN and 0 where it knows nothing."""
    n = len(data.items.ids)
    chance, samples, right = np.full(n, np.nan), np.zeros(n), np.zeros(n)
    for row_index, logprob in _gold_logprobs(data):
        chance[row_index] = min(1.0, math.exp(logprob))
    rows = {item: row_index for row_index, item in enumerate(data.items.ids)}
    for item, drawn, good in _sampled(data):
        if item in rows and not data.items.has_options[rows[item]]:
            samples[rows[item]], right[rows[item]] = drawn, good
    return Draws(chance, samples, right)


def _gold_logprobs(data: RunData) -> list[tuple[int, float]]:
    """(place, log-probability of the whole gold option), of questions with options."""
    if "gold_score" not in data.columns:
        return []
    return data.con.execute(
        """
        SELECT p.place, r.gold_score
        FROM rows r JOIN items i USING (item) JOIN places p USING (item)
        WHERE r.control = 'vanilla' AND i.options IS NOT NULL AND NOT isnan(r.gold_score)
        """
    ).fetchall()


def _sampled(data: RunData) -> list[tuple[str, int, int]]:
    """(item, answers that were sampled and judged, how many of them are right)."""
    table = data.reader.samples()
    if table is None:
        return []
    data.con.register("drawn_answers", table)
    found = data.con.execute(
        "SELECT item, count(correct), count(*) FILTER (correct) FROM drawn_answers GROUP BY item"
    ).fetchall()
    data.con.unregister("drawn_answers")
    return found


def missing(data: RunData) -> Iterator[str]:
    """Sentences on questions whose pass@K is not known, and what to run for it."""
    draws, components = draws_of(data), data.components
    tries = np.max([_union(data, c)[1] for c in components], axis=0) if components else np.zeros(1)
    if not tries.any() or np.isnan(data.items.vanilla).all():
        return
    asked = (tries > 0) & ~np.isnan(data.items.vanilla)
    unknown = asked & np.isnan(passed(draws, tries))
    options, open_ = unknown & data.items.has_options, unknown & ~data.items.has_options
    if options.any():
        yield (
            f"No pass@K of {options.sum():,} of {asked.sum():,} questions: their rows do not say "
            "how likely the unmodified model is to give the whole gold option. Sweep again into "
            "another folder (with --score-options where options are longer than an answer may be)."
        )
    if open_.any():
        least, most = int(draws.samples[open_].min()), int(tries[open_].max())
        yield (
            f"No pass@K of {open_.sum():,} of {asked.sum():,} questions: they are open, and it "
            f"takes as many sampled answers as pairs (the run has {least}). Sweep again into "
            f"another folder with --samples {most}."
        )
