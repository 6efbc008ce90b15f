"""How sure a first step is, as one number, and the curve from it to the chance of being right.

`one_question` makes what selectors see of a single question that was just answered.

Larger is surer. Over the options of a question where their probabilities are known; else over the
vocabulary, from the columns ``first_*`` of the rows. Which of the two it is must not depend on the
row, or numbers of one item would not compare.

Curves are fitted on the tuning split. Isotonic: never falling steps (Zadrozny and Elkan 2002).
Logistic: one slope and one intercept (Platt 1999), which a small pilot supports better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.core.normal import fold
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.candidates import Candidates, Mask, Steps
from crosslatent.selectors.table import shares
from crosslatent.stats import Floats

Measure = Literal["probability", "entropy", "margin"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
CurveKind = Literal["logistic", "isotonic"]
CURVE_KINDS: tuple[CurveKind, ...] = get_args(CurveKind)

_LEAST = 1e-12
"""Below this a probability is rounding; its logarithm is not looked at."""
_MOST_LOGIT = 30.0


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


def signal_of(steps: Steps, measure: Measure) -> Floats:
    """How sure some answers are, by themselves; NaN where there is none."""
    return _either(steps, measure, _options_known(steps))


def top_probability(steps: Steps) -> Floats:
    """Highest probability of an option; of the first token where options are not known."""
    return signal_of(steps, "probability")


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


def check_kind(name: str) -> CurveKind:
    """Return `name` as a kind of curve.

    Raises:
        UsageError: it is none.
    """
    for kind in CURVE_KINDS:
        if name == kind:
            return kind
    raise UsageError(f"Unknown calibration {name!r}: use {', '.join(CURVE_KINDS)}.")


@dataclass(frozen=True, slots=True)
class Curve:
    """A fitted curve.

    Attributes:
        kind: of the curve.
        at, value: of an isotonic curve, its knots: signal and chance, between which it is straight.
            Of a logistic one, `at` is (mean, deviation) of the signal and `value` (intercept,
            slope) on the standardised signal.
    """

    kind: CurveKind
    at: Floats
    value: Floats

    def __call__(self, signal: Floats) -> Floats:
        """Chance of being right, of any shape; NaN where the signal is not known."""
        if self.kind == "isotonic":
            known = np.interp(np.nan_to_num(signal), self.at, self.value)
        else:
            scaled = self.value[0] + self.value[1] * (signal - self.at[0]) / self.at[1]
            known = 1 / (1 + np.exp(-np.clip(np.nan_to_num(scaled), -_MOST_LOGIT, _MOST_LOGIT)))
        return np.where(np.isnan(signal), np.nan, known)

    def arrays(self, prefix: str) -> Mapping[str, Floats]:
        """Its numbers, for `saved`."""
        return {f"{prefix}_at": self.at, f"{prefix}_value": self.value}

    @classmethod
    def from_arrays(cls, kind: str, arrays: Mapping[str, Any], prefix: str) -> Curve:
        """The opposite of `arrays`."""
        return cls(check_kind(kind), arrays[f"{prefix}_at"], arrays[f"{prefix}_value"])


def fit_curve(signal: Floats, correct: Floats, kind: CurveKind) -> Curve:
    """Fit a curve to what was right.

    Args:
        signal: larger is surer, shape (n,); NaN = not known, left out.
        correct: 1 or 0, shape (n,); NaN = not known, left out.
        kind: of the curve.

    Raises:
        UsageError: nothing is known of both.
    """
    known = ~np.isnan(signal) & ~np.isnan(correct)
    if not known.any():
        raise UsageError(
            "The tuning split has no answers with both a gold answer and a known confidence: the "
            "run may be older than the columns first_*, and its questions without options."
        )
    x, y = signal[known], correct[known]
    if kind == "isotonic":
        return _isotonic(x, y)
    return _logistic(x, y)


def _isotonic(x: Floats, y: Floats) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y)
    return Curve(
        "isotonic",
        np.asarray(fitted.X_thresholds_, dtype=np.float64),
        np.asarray(fitted.y_thresholds_, dtype=np.float64),
    )


def _logistic(x: Floats, y: Floats) -> Curve:
    mean, deviation = float(x.mean()), float(x.std()) or 1.0
    if y.min() == y.max():
        # All right or all wrong: the chance by the rule of succession, whatever the signal.
        chance = (y.sum() + 1) / (len(y) + 2)
        value = np.array([np.log(chance / (1 - chance)), 0.0])
        return Curve("logistic", np.array([mean, deviation]), value)
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(((x - mean) / deviation)[:, None], y)
    value = np.array([float(fitted.intercept_[0]), float(fitted.coef_[0, 0])])
    return Curve("logistic", np.array([mean, deviation]), value)


Record = Mapping[str, Any]
"""Columns of `runs.schema.ROWS` that follow from an answer; see `scoring.ItemScorer.record`."""


def one_question(
    vanilla: Record,
    rows: Mapping[TransplantSpec, Record],
    aux: Record | None,
    *,
    lang: str,
    n_layers: int,
    options: Sequence[str] | None = None,
    attribution: Mapping[TransplantSpec, float] | None = None,
) -> Candidates:
    """What is known of one question.

    Args:
        vanilla: the unmodified answer.
        rows: the answer with each candidate.
        aux: the answer to aux; None if it was not read.
        lang: the language that tells questions apart (see `analysis.items.language_column`).
        n_layers: blocks of the model.
        options: the strings that an answer may be; None for an open question.
        attribution: score of each candidate by its gradient.
    """
    numbers: dict[str, int] = {}
    records = [vanilla, aux or {}, *rows.values()]
    answers = [_answer(record, options, numbers) for record in records]
    probs = np.array([_options(record, options) for record in records])
    probs = probs.reshape(len(records), len(options or ()))
    steps = Steps(
        options=shares(probs[None], np.array([len(options or ())])),
        logprob=_numbers(records, "first_logprob"),
        entropy=_numbers(records, "first_entropy"),
        margin=_numbers(records, "first_margin"),
        answer=np.array([answers], dtype=np.int64),
    )
    scores = None
    if attribution is not None:
        scores = np.array([[attribution.get(pair, np.nan) for pair in rows]])
    return Candidates(
        ids=("question",),
        lang=np.array([lang]),
        cluster=np.array(["question"]),
        split=np.array([""]),
        pairs=tuple(rows),
        n_layers=n_layers,
        vanilla=steps.at(np.s_[:, 0]),
        steps=steps.at(np.s_[:, 2:]),
        aux=steps.at(np.s_[:, 1]),
        ran=np.ones((1, len(rows)), dtype=np.bool_),
        attribution=scores,
    )


def _numbers(records: Sequence[Record], name: str) -> Floats:
    values = [record.get(name) for record in records]
    return np.array([[np.nan if value is None else float(value) for value in values]])


def _options(record: Record, options: Sequence[str] | None) -> list[float]:
    values = record.get("option_scores") or record.get("option_logprobs")
    values = values or [None] * len(options or ())
    return [np.nan if value is None else float(value) for value in values]


def _answer(record: Record, options: Sequence[str] | None, numbers: dict[str, int]) -> int:
    """Number of an answer within the question; see `base.Steps`."""
    if options is not None:
        prediction = record.get("prediction")
        return -1 if prediction is None else list(options).index(prediction)
    text = fold(str(record.get("output", "")))
    return numbers.setdefault(text, len(numbers)) if text else -1
