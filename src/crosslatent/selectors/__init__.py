"""Choosing a layer pair for each question without its answer (docs/methods.md 6)."""

from crosslatent.selectors.base import (
    ABSTAIN,
    Candidates,
    FittedSelector,
    Labels,
    Selection,
    Selector,
    Steps,
)
from crosslatent.selectors.evaluate import evaluate_data, evaluate_run, evaluation_of
from crosslatent.selectors.registry import ALL, SELECTORS, register_selector, selectors_of
from crosslatent.selectors.results import Baseline, SelectorEvaluation, SelectorResult
from crosslatent.selectors.summary import Choosing, summarise_choosing

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
    "evaluate_data",
    "evaluate_run",
    "evaluation_of",
    "register_selector",
    "selectors_of",
    "summarise_choosing",
]
