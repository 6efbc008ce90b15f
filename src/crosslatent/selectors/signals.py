"""How sure a first step is, as one number: larger is surer.

Over the options of a question where their probabilities are known; else over the vocabulary, from
the columns ``first_*`` of the rows. Which of the two it is must not depend on the row, or numbers
of one item would not compare.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.selectors.base import Candidates, Mask, Steps
from crosslatent.stats import Floats

Measure = Literal["probability", "entropy", "margin"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

_LEAST = 1e-12
"""Below this a probability is rounding; its logarithm is not looked at."""


def check_measure(name: str) -> Measure:
    """Return `name` as a measure.

    Raises:
        UsageError: it is none.
    """
    for measure in MEASURES:
        if name == measure:
            return measure
    raise UsageError(f"Unknown measure of confidence {name!r}: use {', '.join(MEASURES)}.")


def signals(seen: Candidates, measure: Measure) -> tuple[Floats, Floats]:
    """How sure the unmodified answer is, and how sure every candidate's is.

    Returns:
        Shapes (items,) and (items, K); NaN where it is not known, or the candidate was not run.
    """
    over_options = _options_known(seen.vanilla)
    vanilla = _either(seen.vanilla, measure, over_options)
    candidates = _either(seen.steps, measure, over_options[:, None])
    return vanilla, np.where(seen.ran, candidates, np.nan)


def top_probability(steps: Steps) -> Floats:
    """Highest probability of an option; of the first token where options are not known."""
    return _either(steps, "probability", _options_known(steps))


def _options_known(steps: Steps) -> Mask:
    if not steps.options.shape[-1]:
        return np.zeros(steps.options.shape[:-1], dtype=np.bool_)
    known: Mask = ~np.isnan(steps.options[..., 0])
    return known


def _either(steps: Steps, measure: Measure, over_options: Mask) -> Floats:
    first = {
        "probability": np.exp(steps.logprob),
        "entropy": -steps.entropy,
        "margin": steps.margin,
    }[measure]
    if not steps.options.shape[-1]:
        return first
    return np.where(over_options, _over_options(steps.options, measure), first)


def _over_options(options: Floats, measure: Measure) -> Floats:
    """The measure of a distribution over options, shape (..., M) -> (...)."""
    known = np.where(np.isnan(options), 0.0, options)
    unknown = np.isnan(options).all(axis=-1)
    if measure == "probability":
        value = known.max(axis=-1)
    elif measure == "entropy":
        value = (known * np.log(np.maximum(known, _LEAST))).sum(axis=-1)
    elif options.shape[-1] < 2:
        value = np.full(options.shape[:-1], np.nan)  # nothing to be ahead of
    else:
        ordered = np.sort(np.log(np.maximum(known, _LEAST)), axis=-1)
        value = ordered[..., -1] - ordered[..., -2]
    return np.where(unknown, np.nan, value)
