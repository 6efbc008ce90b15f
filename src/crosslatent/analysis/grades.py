"""Results about answers beyond right and wrong, as plain frozen data.

``lang`` is a language or ``all``, ``split`` a split of the task or ``all``, as in `results`.
"""

from __future__ import annotations

from dataclasses import dataclass

from crosslatent.core.specs import Component
from crosslatent.stats import Estimate


@dataclass(frozen=True, slots=True)
class Score:
    """Mean of a graded score (0 to 1) over the questions that have it.

    Attributes:
        metric: as in the rows' `scores`: exact_match, f1, js_similarity.
        name: vanilla or translate_test.
    """

    metric: str
    name: str
    split: str
    lang: str
    score: Estimate


@dataclass(frozen=True, slots=True)
class ScoreAtPair:
    """A graded score at the picked pair against the unmodified run, on the same questions.

    Attributes:
        pooling: ``pooled`` = one pair for all languages; ``per_language`` = one for each.
        in_sample: the split is the one that the pair was picked on, so the gain is optimistic.
    """

    metric: str
    component: Component
    pooling: str
    split: str
    lang: str
    in_sample: bool
    vanilla: Estimate
    transplant: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How often the unmodified model answers in another language than the question's.

    Attributes:
        off_target: share of such outputs among those whose language could be identified (its n).
        outputs: all outputs to questions whose language is known.
    """

    split: str
    lang: str
    off_target: Estimate
    outputs: int


@dataclass(frozen=True, slots=True)
class FidelityAtPair:
    """The same at the picked pair, on questions whose two outputs both have a language.

    Attributes:
        vanilla, transplant: off-target rates; `difference` transplant minus vanilla.
        outputs: questions with both outputs, whether or not their languages could be identified.
        vanilla_identified, transplant_identified: outputs whose language could be identified.
    """

    component: Component
    pooling: str
    split: str
    lang: str
    in_sample: bool
    vanilla: Estimate
    transplant: Estimate
    difference: Estimate
    outputs: int
    vanilla_identified: int
    transplant_identified: int


@dataclass(frozen=True, slots=True)
class RuleAccuracy:
    """Share of the unmodified outputs that are right under one rule, all languages together."""

    rule: str
    split: str
    accuracy: Estimate
