"""Upper bounds and their controls, as plain frozen data: docs/methods.md 1.3."""

from __future__ import annotations

from dataclasses import dataclass

from crosslatent.core.specs import Component
from crosslatent.stats import Estimate


@dataclass(frozen=True, slots=True)
class Versus:
    """True transplants, a control, and true minus control, on the same questions and attempts."""

    true: Estimate
    control: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class UpperBound:
    """Share of questions that any pair solves, for true transplants (XTransplant, upper bound).

    Attributes:
        splits: those that it covers: all of the run, or those that controls were run on.
        by_source: union over the targets of each source layer; `by_target` the other way round.
        vanilla: accuracy of the unmodified run on the same questions.
        attempts: pairs tried per question, fewest and most.
    """

    component: Component
    splits: list[str]
    vanilla: Estimate
    overall: Estimate
    by_source: list[Estimate]
    by_target: list[Estimate]
    by_language: dict[str, Estimate]
    attempts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class BoundVersus:
    """The upper bound beside one control: same questions, same pairs, same number of attempts."""

    component: Component
    control: str
    stratum: str | None
    attempts: tuple[int, int]
    overall: Versus
    by_source: list[Versus]
    by_target: list[Versus]
    by_language: dict[str, Versus]


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
