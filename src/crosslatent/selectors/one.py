"""One question as `Candidates`, from rows just computed: what a saved selector is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosslatent.core.normal import fold
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import Candidates, Steps
from crosslatent.selectors.table import shares
from crosslatent.stats import Floats

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
        vanilla=_column(steps, 0),
        steps=steps.pick(range(2, len(records))),
        aux=_column(steps, 1),
        ran=np.ones((1, len(rows)), dtype=np.bool_),
        attribution=scores,
    )


def _column(steps: Steps, place: int) -> Steps:
    """One row's step, leading shape (1,)."""
    return Steps(
        steps.options[:, place],
        steps.logprob[:, place],
        steps.entropy[:, place],
        steps.margin[:, place],
        steps.answer[:, place],
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
