"""Choosing a layer pair for each question without its answer (docs/methods.md 6)."""

from crosslatent.selectors.base import (
    ALL,
    SELECTORS,
    FittedSelector,
    Selector,
    register_selector,
    selectors_of,
)
from crosslatent.selectors.candidates import ABSTAIN, Candidates, Labels, Selection, Steps
from crosslatent.selectors.evaluating import (
    Choosing,
    evaluate_run,
    evaluation_of,
    summarise_choosing,
)
from crosslatent.selectors.selector_results import Baseline, SelectorEvaluation, SelectorResult

__all__ = [
    "ABSTAIN",
    "ALL",
    "SELECTORS",
    "Baseline",
    "Candidates",
    "Choosing",
    "FittedSelector",
    "Labels",
    "Selection",
    "Selector",
    "SelectorEvaluation",
    "SelectorResult",
    "Steps",
    "evaluate_run",
    "evaluation_of",
    "register_selector",
    "selectors_of",
    "summarise_choosing",
]
