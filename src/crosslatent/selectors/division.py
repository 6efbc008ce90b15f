"""Which questions a choice is made on, and which it is tested on.

A task or a run may name its splits. Otherwise whole clusters are dealt by a seed: from `ENOUGH`
questions on once, into `PILOT` and `UNSEEN`; below that into `FOLDS` folds, each of which is tested
on with what was chosen on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.selectors.candidates import Mask, Places

ENOUGH = 50
"""Questions from which on one division is enough."""
FEWEST = 12
"""With fewer questions than this nothing can be shown."""
FEWEST_FACTS = 6
"""With fewer clusters no test can show anything: 2 * 0.5 ** 5 is above 5 %."""
FOLDS = 5
PILOT, UNSEEN = "pilot", "unseen"
_SHARES = (1 / 3, 2 / 3)
"""Of the questions, to choose on and to test on: a test needs more of them than a choice."""


@dataclass(frozen=True, slots=True)
class Division:
    """Questions by their ids.

    Attributes:
        kind: ``given`` = the splits were named, ``dealt`` = made here, ``folds`` = made here, too
            few for one division.
        names: of what is chosen on, and tested on.
        parts: of each, the questions to choose on and those to test on; one part, or `FOLDS`.
        seed: by which questions were dealt.
    """

    kind: Literal["given", "dealt", "folds"]
    names: tuple[str, str]
    parts: tuple[tuple[frozenset[str], frozenset[str]], ...]
    seed: int

    @property
    def chosen_on(self) -> frozenset[str]:
        """All questions that some choice is made on."""
        return frozenset().union(*(tune for tune, _ in self.parts))

    @property
    def tested_on(self) -> frozenset[str]:
        """All questions that are tested on."""
        return frozenset().union(*(test for _, test in self.parts))

    @property
    def sentence(self) -> str:
        """What was done."""
        tune, test = len(self.parts[0][0]), len(self.tested_on)
        if self.kind == "folds":
            return (
                f"{test} questions are too few for one division: cross-validation in "
                f"{len(self.parts)} folds by fact (seed {self.seed}); what is chosen on the others "
                "is tested on each."
            )
        made = "as given" if self.kind == "given" else f"by fact, seed {self.seed}"
        return (
            f"{tune + test} questions, split {made}: {tune} to choose on ({self.names[0]}), "
            f"{test} to test on ({self.names[1]})."
        )


def among(ids: Sequence[str], wanted: frozenset[str]) -> Mask:
    """Which ids are wanted, shape (ids,)."""
    return np.array([one in wanted for one in ids], dtype=np.bool_)


def deal(clusters: Sequence[str], shares: Sequence[float], seed: int) -> Places:
    """Deal whole clusters, in a seeded order, to the part that lacks the largest part of its share.

    So no part stays empty where there are as many clusters as parts.

    Args:
        clusters: of each question.
        shares: of the questions, for each part; they add up to 1.
        seed: of the order.

    Returns:
        The part of each question, shape (questions,).
    """
    names, places, sizes = np.unique(
        np.asarray(clusters, dtype=np.str_), return_inverse=True, return_counts=True
    )
    wanted = np.asarray(shares, dtype=np.float64) * len(clusters)
    dealt = np.zeros(len(wanted))
    part_of = np.zeros(len(names), dtype=np.int64)
    for one in np.random.default_rng(seed).permutation(len(names)):
        part_of[one] = int((dealt / wanted).argmin())
        dealt[part_of[one]] += sizes[one]
    return np.asarray(part_of[places], dtype=np.int64)


def fold_masks(clusters: Sequence[str], seed: int) -> list[Mask]:
    """`FOLDS` folds of whole clusters, at most one for each cluster; shape (questions,) each."""
    folds = min(FOLDS, len(set(clusters)))
    dealt = deal(clusters, [1 / folds] * folds, seed)
    return [dealt == fold for fold in range(folds)]


def divide(
    ids: Sequence[str],
    clusters: Sequence[str],
    splits: Sequence[str],
    *,
    tune: str = PILOT,
    test: str | None = None,
    seed: int = 0,
) -> Division:
    """Divide questions as their splits say, or deal them where none has any.

    Args:
        ids: of the questions that have gold answers.
        clusters: what is independent.
        splits: of each question, empty where it has none.
        tune: the split to choose on, if there are splits.
        test: the split to test on; None = the first of the others.
        seed: by which questions are dealt.

    Raises:
        UsageError: too few questions or facts, or no split to choose on or to test on.
    """
    if len(ids) < FEWEST:
        raise UsageError(
            f"There are {len(ids)} questions with a gold answer, and {FEWEST} are the fewest of "
            "which anything can be said: add more."
        )
    if (facts := len(set(clusters))) < FEWEST_FACTS:
        raise UsageError(
            f"The {len(ids)} questions with a gold answer are about {facts} facts (clusters), and "
            f"{FEWEST_FACTS} are the fewest of which anything can be shown: add others."
        )
    if any(splits):
        return _given(ids, clusters, splits, (tune, test), seed)
    names = np.array(ids, dtype=object)
    if len(ids) < ENOUGH:
        folds = fold_masks(clusters, seed)
        parts = tuple((frozenset(names[~fold]), frozenset(names[fold])) for fold in folds)
        return Division("folds", ("the other folds", "held-out"), parts, seed)
    dealt = deal(clusters, _SHARES, seed)
    part = frozenset(names[dealt == 0]), frozenset(names[dealt == 1])
    return Division("dealt", (PILOT, UNSEEN), (part,), seed)


def _given(
    ids: Sequence[str],
    clusters: Sequence[str],
    splits: Sequence[str],
    names: tuple[str, str | None],
    seed: int,
) -> Division:
    tune, test = names
    others = sorted(set(splits) - {tune, ""}, key=lambda name: (name != UNSEEN, name))
    test = test or next(iter(others), None)
    rows = list(zip(ids, clusters, splits, strict=True))
    chosen = {one for one, _, split in rows if split == tune}
    known = {cluster for _, cluster, split in rows if split == tune}
    tested = {one for one, cluster, split in rows if split == test and cluster not in known}
    if not chosen or not tested or test is None:
        raise UsageError(
            f"The questions have the splits {', '.join(sorted({*splits} - {''}))}, but none with a "
            f"gold answer is left of {tune if not chosen else test or 'another one'!r}: name a "
            f"split to choose on {PILOT!r} and another one to test on, or leave the field out, and "
            "questions are split here."
        )
    return Division("given", (tune, test), ((frozenset(chosen), frozenset(tested)),), seed)
