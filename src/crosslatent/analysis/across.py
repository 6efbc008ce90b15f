"""Results over several runs, as plain frozen data: docs/methods.md 5.3 and 5.5."""

from __future__ import annotations

from dataclasses import dataclass

from crosslatent.analysis.evidence import Corrected
from crosslatent.core.specs import Component
from crosslatent.stats import Estimate, GridCorrelation


@dataclass(frozen=True, slots=True)
class ModuleMeasure:
    """Attention minus feed-forward, by one measure.

    Attributes:
        measure: ``all_pairs`` = mean gain over the pairs that both were run at; ``picked_pair`` =
            gain at each one's own picked pair, on the splits that it was not picked on.
        margin: a difference below it, either way, is called none.
        test: permutation test by cluster, adjusted for all measures of the claim.
        outcome: for, against, equal or unclear: what it says of the component that is predicted.
    """

    measure: str
    attn: Estimate
    ffn: Estimate
    difference: Estimate
    margin: float
    test: Corrected
    outcome: str


@dataclass(frozen=True, slots=True)
class ModuleHalf:
    """The part of the claim about one type of task.

    Attributes:
        predicted: the component that is claimed to be the better one.
        runs: names of the runs it is judged on.
        verdict: confirmed, refuted or undecided.
    """

    type: str
    predicted: Component
    runs: list[str]
    measures: list[ModuleMeasure]
    verdict: str


@dataclass(frozen=True, slots=True)
class ModuleClaim:
    """The claim "attention for understanding, feed-forward for culture" on these runs.

    Attributes:
        verdict: confirmed, refuted or undecided for this model.
        missing: what it would take to judge the rest, in sentences.
    """

    claim: str
    models: list[str]
    halves: list[ModuleHalf]
    verdict: str
    missing: list[str]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Two runs of one task on one model, pair by pair.

    Attributes:
        differs: what is not the same in their settings, such as ``seed 0, 1``; empty = nothing.
        agreement: rank correlation of their grids of gains, on the questions of both.
        largest: largest difference between two cells of these grids.
        picked: the pairs picked in either run; None where none was.
    """

    task: str
    runs: tuple[str, str]
    component: Component
    differs: str
    agreement: GridCorrelation
    largest: float | None
    picked: tuple[tuple[int, int], tuple[int, int]] | None
