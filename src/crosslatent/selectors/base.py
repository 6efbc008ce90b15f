"""The interface of selectors: the data that a selector may use, and its output.

Contract: `Candidates` holds what is known when a question is asked, and no gold answer; gold
answers come in `Labels`, for the tuning split alone. A selector is one registered class in one
file: a `Selector`, whose `fit` returns a `FittedSelector` (docs/methods.md 6).

Cost model: forward passes relative to one unmodified answer. Unmodified answer 1; run over aux 1;
each transplanted answer 1, though often its first step alone is looked at. It is an upper estimate:
rows that share a prefix cost far less than their number says (docs/methods.md 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, Self

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

VANILLA_COST = 1.0
AUX_COST = 1.0
ROW_COST = 1.0
"""Each in unmodified answers; see the cost model above."""

FIXED_COST = AUX_COST + ROW_COST
"""A pair that is fixed beforehand: the run over aux and one transplanted answer."""


def looking_cost(rows: int) -> float:
    """Of an unmodified answer, the run over aux, and some transplanted answers."""
    return VANILLA_COST + AUX_COST + ROW_COST * rows


@dataclass(frozen=True, slots=True)
class Steps:
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

    def take(self, items: NDArray[Any]) -> Steps:
        """Those of some items, by place or mask."""
        return Steps(
            self.options[items],
            self.logprob[items],
            self.entropy[items],
            self.margin[items],
            self.answer[items],
        )

    def pick(self, columns: Sequence[int]) -> Steps:
        """Those of some candidates; of steps with shape (items, K)."""
        at = list(columns)
        return Steps(
            self.options[:, at],
            self.logprob[:, at],
            self.entropy[:, at],
            self.margin[:, at],
            self.answer[:, at],
        )


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
            vanilla=self.vanilla.take(mask),
            steps=self.steps.take(mask),
            aux=self.aux.take(mask),
            ran=self.ran[mask],
            attribution=None if self.attribution is None else self.attribution[mask],
        )

    def places(self, pairs: Sequence[TransplantSpec]) -> list[int]:
        """Where some pairs stand among the candidates; -1 for one that is none of them."""
        at = {pair: place for place, pair in enumerate(self.pairs)}
        return [at.get(pair, ABSTAIN) for pair in pairs]

    def without_aux(self) -> Candidates:
        """The same without the answer to aux."""
        blank = np.full(len(self), np.nan)
        nothing = np.full(len(self), -1, dtype=np.int64)
        options = np.full_like(self.aux.options, np.nan)
        return replace(self, aux=Steps(options, blank, blank, blank, nothing))


@dataclass(frozen=True, slots=True)
class Labels:
    """What is right, on the split that a selector is fitted on.

    Attributes:
        correct: of every candidate, shape (items, K): 1, 0, or NaN = not run or not known.
        vanilla: of the unmodified answer, shape (items,): 1, 0, or NaN.
        gold_logprob: log-probability (nats) of the gold answer, shape (items, K); NaN = not known.
    """

    correct: Floats
    vanilla: Floats
    gold_logprob: Floats

    def take(self, mask: Mask) -> Labels:
        """Those of the items in `mask`."""
        return Labels(self.correct[mask], self.vanilla[mask], self.gold_logprob[mask])


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selector says of every item.

    Attributes:
        choice: the candidate, `ABSTAIN` or `NOT_RUN`, shape (items,). Where a selector votes for
            an answer, the candidate that gives this answer with most weight.
        cost: forward passes spent, relative to one unmodified answer, shape (items,).
    """

    choice: Places
    cost: Floats

    @property
    def abstained(self) -> Mask:
        """Where the answer stays unmodified."""
        left: Mask = self.choice == ABSTAIN
        return left

    def outcome(self, correct: Floats, vanilla: Floats) -> Floats:
        """Right or wrong of what was chosen, shape (items,); NaN where that was not run.

        Args:
            correct: of every candidate, shape (items, K).
            vanilla: of the unmodified answer, shape (items,).
        """
        chosen = correct[np.arange(len(correct)), np.maximum(self.choice, 0)]
        chosen = np.where(self.choice == NOT_RUN, np.nan, chosen)
        return np.where(self.abstained, vanilla, chosen)


class SelectorState(NamedTuple):
    """A fitted selector as plain data, for `saved`.

    Attributes:
        kind: the registered name of the selector that restores it; or `fixed.FIXED`.
        plain: what turns into JSON.
        arrays: what goes into safetensors.
    """

    kind: str
    plain: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


Reads = Literal["nothing", "steps", "answers"]
"""What a choice depends on: on no row at all, on first steps, or on what candidates answer."""


class FittedSelector(Protocol):
    """A selector that is ready to choose."""

    @property
    def pairs(self) -> tuple[TransplantSpec, ...]:
        """The candidates that it looks at."""
        ...

    @property
    def reads(self) -> Reads:
        """What it must see of the candidates."""
        ...

    @property
    def cost(self) -> float:
        """Forward passes for one question, relative to one unmodified answer."""
        ...

    @property
    def report(self) -> Mapping[str, float]:
        """What fitting measured beside, such as accuracy in nested cross-validation."""
        ...

    def choose(self, seen: Candidates) -> Selection:
        """A candidate for every item, or `ABSTAIN`, or `NOT_RUN`."""
        ...

    def state(self) -> SelectorState | None:
        """Plain data to save; None if it cannot be saved without pickle."""
        ...


class Selector(ABC):
    """A way to choose, before it has seen anything."""

    __slots__ = ()

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """Its settings that are compared under its registered name, the first for ``--save``."""
        yield cls()

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedSelector:
        """A fitted one from its `SelectorState`, whose kind is the registered name.

        Raises:
            ValueError: the data is damaged, or what this selector fits is never saved.
        """
        del plain, arrays
        raise ValueError(f"what {cls.__name__} fits is not saved")

    @property
    @abstractmethod
    def name(self) -> str:
        """Short and unique, such as ``confidence-entropy-8``."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What it does, as a clause for a table."""

    @abstractmethod
    def fit(self, seen: Candidates, labels: Labels) -> FittedSelector:
        """Learn from the tuning split.

        Raises:
            UsageError: the split does not hold what the selector needs.
        """


def always(choice: Places | int, n: int, cost: float) -> Selection:
    """The same cost for all items, with a choice for each or one for all."""
    return Selection(
        np.broadcast_to(np.asarray(choice, dtype=np.int64), (n,)).copy(), np.full(n, cost)
    )


def measured(right: Floats) -> dict[str, float]:
    """Accuracy on the tuning split for `FittedSelector.report`; nothing if none could be judged."""
    known = right[~np.isnan(right)]
    return {"pilot_accuracy": float(known.mean())} if len(known) else {}
