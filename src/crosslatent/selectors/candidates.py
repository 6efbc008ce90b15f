"""The data that a selector may use, and its output.

Contract: `Candidates` holds what is known when a question is asked, and no gold answer; gold
answers come in `Labels`, for the tuning split alone (docs/methods.md 6).

Cost model: forward passes relative to one unmodified answer. Unmodified answer 1; run over aux 1;
each transplanted answer 1, though often its first step alone is looked at. It is an upper estimate:
rows that share a prefix cost far less than their number says (docs/methods.md 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.specs import TransplantSpec
from crosslatent.stats import Floats

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]

ABSTAIN = -1
"""The choice that leaves the answer unmodified."""

NOT_RUN = -2
"""The choice is not known, since what it takes was not run: the question is left out."""

OTHER = -3
"""The choice that answers with what the other prompt, aux, was answered."""

VANILLA_COST = AUX_COST = ROW_COST = 1.0
"""Each in unmodified answers; see the cost model above."""

FIXED_COST = AUX_COST + ROW_COST
"""A pair that is fixed beforehand: the run over aux and one transplanted answer."""


def looking_cost(rows: int) -> float:
    """Of an unmodified answer, the run over aux, and some transplanted answers."""
    return VANILLA_COST + AUX_COST + ROW_COST * rows


class Steps(NamedTuple):
    """First steps of some answers; NaN = not known. The leading shape is (items,) or (items, K).

    Attributes:
        options: probability of each option, renormalised over the options, shape (..., M); of whole
            options if they were scored, else of their first tokens. NaN past an item's last option.
        logprob: log-probability (nats) of the first generated token.
        entropy: of its distribution over the vocabulary, in nats.
        margin: gap between its two highest logits.
        answer: which of the item's answers the output gives, numbered from 0 within the item and
            the same number in every row; -1 = none.
    """

    options: Floats
    logprob: Floats
    entropy: Floats
    margin: Floats
    answer: Places

    def at(self, where: Any) -> Steps:
        """Those of some items, or of some candidates of them, as NumPy indexes arrays."""
        return Steps(*(values[where] for values in self))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Questions with their candidate pairs, as seen without gold answers.

    Attributes:
        ids, lang, cluster, split: of each item, shape (items,).
        pairs: the K candidates.
        n_layers: blocks of the model.
        vanilla: the unmodified first step, leading shape (items,).
        steps: every candidate's first step, leading shape (items, K).
        aux: the run over aux, leading shape (items,); NaN and -1 where there is none.
        ran: which candidates were run, shape (items, K).
        attribution: score of each candidate by its gradient (attribution patching), shape
            (items, K); None if it was not computed.
    """

    ids: tuple[str, ...]
    lang: NDArray[np.str_]
    cluster: NDArray[np.str_]
    split: NDArray[np.str_]
    pairs: tuple[TransplantSpec, ...]
    n_layers: int
    vanilla: Steps
    steps: Steps
    aux: Steps
    ran: Mask
    attribution: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, mask: Mask) -> Candidates:
        """The items in `mask`."""
        return replace(
            self,
            ids=tuple(name for name, kept in zip(self.ids, mask, strict=True) if kept),
            lang=self.lang[mask],
            cluster=self.cluster[mask],
            split=self.split[mask],
            vanilla=self.vanilla.at(mask),
            steps=self.steps.at(mask),
            aux=self.aux.at(mask),
            ran=self.ran[mask],
            attribution=None if self.attribution is None else self.attribution[mask],
        )

    def places(self, pairs: Sequence[TransplantSpec]) -> list[int]:
        """The index of each of some pairs among the candidates; -1 for one that is none of them."""
        known = {pair: place for place, pair in enumerate(self.pairs)}
        return [known.get(pair, ABSTAIN) for pair in pairs]

    def run_of(self, pairs: Sequence[TransplantSpec]) -> Mask:
        """Candidates that are among some pairs and were run, shape (items, K)."""
        wanted = set(pairs)
        return self.ran & np.array([pair in wanted for pair in self.pairs], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Labels:
    """What is right, on the split that a selector is fitted on.

    Attributes:
        correct: of every candidate, shape (items, K): 1, 0, or NaN = not run or not known.
        vanilla: of the unmodified answer, shape (items,): 1, 0, or NaN.
        gold_logprob: log-probability (nats) of the gold answer, shape (items, K); NaN = not known.
        aux: of the answer to aux, by the gold answer in its language, shape (items,): 1, 0, or NaN.
    """

    correct: Floats
    vanilla: Floats
    gold_logprob: Floats
    aux: Floats

    def take(self, mask: Mask) -> Labels:
        """Those of the items in `mask`."""
        parts = (self.correct, self.vanilla, self.gold_logprob, self.aux)
        return Labels(*(part[mask] for part in parts))


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selector chooses for every item.

    Attributes:
        choice: the candidate, `ABSTAIN`, `OTHER` or `NOT_RUN`, shape (items,). Where a vote is for
            an answer, it is the candidate that gives this answer with most weight.
        cost: forward passes spent, relative to one unmodified answer, shape (items,).
    """

    choice: Places
    cost: Floats

    @property
    def abstained(self) -> Mask:
        """Where the answer stays unmodified."""
        return np.asarray(self.choice == ABSTAIN)

    def outcome(self, labels: Labels) -> Floats:
        """Right or wrong of what was chosen, shape (items,); NaN where that was not run."""
        correct = labels.correct
        chosen = correct[np.arange(len(correct)), np.maximum(self.choice, 0)]
        chosen = np.where(self.choice == NOT_RUN, np.nan, chosen)
        chosen = np.where(self.choice == OTHER, labels.aux, chosen)
        return np.where(self.abstained, labels.vanilla, chosen)


def always(choice: Places | int, n: int, cost: float) -> Selection:
    """The same cost for all items, with a choice for each or one for all."""
    return Selection(
        np.broadcast_to(np.asarray(choice, dtype=np.int64), (n,)).copy(), np.full(n, cost)
    )
