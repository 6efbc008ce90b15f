"""The interface of selectors, the selectors by name, and what several of them share.

A selector is one registered class in one file: a `Selector`, whose `fit` returns a `FittedSelector`
(docs/methods.md 6). Pairs are ranked by their right answers on the tuning split, by the rules of
`analysis.pair_choice`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.pair_choice import PairScore, Scope, Tie, best_pair
from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import Registry
from crosslatent.core.specs import TransplantSpec, check_component
from crosslatent.core.untrusted import nearest
from crosslatent.selectors.candidates import (
    FIXED_COST,
    NOT_RUN,
    Candidates,
    Labels,
    Mask,
    Selection,
    always,
)
from crosslatent.stats import Floats

ALL = "all"
FIXED = "fixed"
"""Kind of the state of `FixedPairs`, which any selector may fit."""
ORACLE = "oracle"
"""Not a selector: it looks at the gold answer. Every evaluation has it as the upper bound."""

Reads = Literal["nothing", "steps", "answers"]
"""What a choice depends on: on no row at all, on first steps, or on what candidates answer."""


class SelectorState(NamedTuple):
    """A fitted selector as plain data, for `saved`.

    Attributes:
        kind: the registered name of the selector that restores it; or `FIXED`.
        plain: what turns into JSON.
        arrays: what goes into safetensors.
    """

    kind: str
    plain: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


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


_Kind = TypeVar("_Kind", bound=type[Selector])
_FittedDataclass = TypeVar("_FittedDataclass", bound=Any)

SELECTORS: Registry[type[Selector]] = Registry(
    "selector", "selectors.kinds", "selectors.base:Selector", reserved=(ALL, ORACLE, FIXED)
)
"""Classes of selectors; other packages name theirs as entry points of the group
``crosslatent.selectors``."""


def register_selector(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a selector known under a name, its strategy.

    Raises:
        UsageError: the name is another selector's.
    """
    return SELECTORS.register(name)


def selectors_of(strategy: str) -> list[Selector]:
    """The selectors of a strategy, or of all of them; also a single selector by its own name.

    Raises:
        UsageError: there is no such strategy, or one that is asked for cannot be loaded.
    """
    if strategy == ORACLE:
        return []
    variants = {name: list(SELECTORS[name].variants()) for name in SELECTORS.names()}
    # What has no variants is a baseline of every evaluation, and no strategy.
    known = {name: own for name, own in variants.items() if own}
    if strategy in known:
        return known[strategy]
    every = [selector for own in known.values() for selector in own]
    named = [selector for selector in every if strategy in (ALL, selector.name)]
    if not named:
        names = ", ".join([*known, ORACLE, ALL])
        meant = nearest(strategy, SELECTORS.names())
        raise UsageError(
            f"Unknown strategy {strategy!r}{meant}: use {names}, or one selector's name."
        )
    return named


@dataclass(frozen=True, slots=True)
class FixedPairs:
    """One pair for every question, or one for each language.

    Attributes:
        pooled: for languages without their own.
        by_language: a language's own pair.
        report: what fitting measured beside.
    """

    pooled: TransplantSpec
    by_language: Mapping[str, TransplantSpec] = field(default_factory=dict)
    report: Mapping[str, float] = field(default_factory=dict)

    reads: Reads = field(default="nothing", init=False)
    cost: float = field(default=FIXED_COST, init=False)

    @property
    def pairs(self) -> tuple[TransplantSpec, ...]:
        """Every pair that some language gets."""
        return tuple(dict.fromkeys([self.pooled, *self.by_language.values()]))

    def choose(self, seen: Candidates) -> Selection:
        """Its pair for every item; `NOT_RUN` where it was not run."""
        wanted = [self.by_language.get(str(lang), self.pooled) for lang in seen.lang]
        choice = np.array(seen.places(wanted), dtype=np.int64)
        ran = (choice >= 0) & seen.ran[np.arange(len(choice)), np.maximum(choice, 0)]
        return always(np.where(ran, choice, NOT_RUN), len(seen), self.cost)

    def state(self) -> SelectorState:
        """Pairs alone: there are no arrays."""
        own = {lang: asdict(pair) for lang, pair in self.by_language.items()}
        plain = {"pooled": asdict(self.pooled), "by_language": own, "report": dict(self.report)}
        return SelectorState(FIXED, plain, {})

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FixedPairs:
        """The opposite of `state`."""
        del arrays
        own = {lang: pair_of(data) for lang, data in plain["by_language"].items()}
        return cls(pair_of(plain["pooled"]), own, dict(plain["report"]))


def pair_of(data: Mapping[str, Any]) -> TransplantSpec:
    """A pair from its JSON.

    Raises:
        PairError: its component is none.
    """
    source, target = int(data["source"]), int(data["target"])
    return TransplantSpec(check_component(data["component"]), source, target)


def stored(fitted: FittedSelector, **own: Any) -> dict[str, Any]:
    """What JSON holds of a fitted selector: its pairs and report, and values of its own."""
    return {"pairs": [asdict(pair) for pair in fitted.pairs], "report": dict(fitted.report), **own}


def restored_parts(
    plain: Mapping[str, Any], weights: Sequence[Any] | None = None, count: int = 0, of: str = ""
) -> tuple[tuple[TransplantSpec, ...], dict[str, float]]:
    """The opposite of `stored`: pairs and report.

    Args:
        plain: what JSON holds.
        weights: numbers from the file of arrays; None = there are none to check.
        count: how many belong there.
        of: what they are of, for the message.

    Raises:
        ValueError: there are more or fewer weights.
    """
    if weights is not None and np.shape(weights) != (count,):
        raise ValueError(f"{np.shape(weights)} weights for {count} {of}")
    return tuple(map(pair_of, plain["pairs"])), dict(plain["report"])


def ranked(
    seen: Candidates,
    labels: Labels,
    most: int | None,
    *,
    scope: Scope = "all",
    tie: Tie = "logprob",
    items: Mask | None = None,
) -> list[int]:
    """The best candidates, best first.

    Args:
        seen: the tuning split.
        labels: what is right there.
        most: how many at most; None = all of them.
        scope: ``all`` candidates, or ``target-first`` ones only.
        tie: see `analysis.pair_choice.pilot_pair`.
        items: the items that count, shape (items,); None = all.

    Raises:
        UsageError: no candidate was run there with a gold answer.
    """
    scores = pair_scores(seen, labels, scope, items)
    if not scores:
        raise UsageError(
            f"The tuning split has no {scope} rows with gold answers: sweep it first, or name "
            "another one."
        )
    places: list[int] = []
    while scores and (most is None or len(places) < most):
        best, _ = best_pair(scores.values(), tie)
        # Several components may have the same layers and scores: only identity tells them apart.
        places.append(next(place for place, score in scores.items() if score is best))
        del scores[places[-1]]
    return places


def pair_scores(
    seen: Candidates, labels: Labels, scope: Scope = "all", items: Mask | None = None
) -> dict[int, PairScore]:
    """Right answers and mean gold log-probability of every candidate that was run."""
    rows = slice(None) if items is None else items
    correct, logprob = labels.correct[rows], labels.gold_logprob[rows]
    known = ~np.isnan(correct)
    usable = known & np.isfinite(logprob)
    right = np.where(known, correct, 0).sum(axis=0)
    total = np.where(usable, logprob, 0).sum(axis=0)
    counts = usable.sum(axis=0)
    return {
        place: PairScore(
            pair.source,
            pair.target,
            int(right[place]),
            int(known[:, place].sum()),
            round(float(total[place] / counts[place]), 9) if counts[place] else None,
        )
        for place, pair in enumerate(seen.pairs)
        if known[:, place].any() and (scope == "all" or pair.target == 0)
    }


def named(seen: Candidates, places: Iterable[int]) -> tuple[TransplantSpec, ...]:
    """The candidates at some places."""
    return tuple(seen.pairs[place] for place in places)


def among(most: int | None) -> str:
    """Which pairs a selector looks at, for `Selector.about`."""
    return "all pairs" if most is None else f"the {most} best pilot pairs"


def mean_known(right: Floats) -> float | None:
    """Share of what is known to be right or wrong; None if nothing is."""
    known = right[~np.isnan(right)]
    return float(known.mean()) if len(known) else None


def measured(right: Floats) -> dict[str, float]:
    """Accuracy on the tuning split for `FittedSelector.report`; nothing if none could be judged."""
    accuracy = mean_known(right)
    return {} if accuracy is None else {"pilot_accuracy": accuracy}


def with_report(fitted: _FittedDataclass, seen: Candidates, labels: Labels) -> _FittedDataclass:
    """The same with its accuracy on the split that it was fitted on (in sample)."""
    changed: _FittedDataclass = replace(
        fitted, report=measured(fitted.choose(seen).outcome(labels))
    )
    return changed
