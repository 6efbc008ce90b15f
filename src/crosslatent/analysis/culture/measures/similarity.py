"""Closeness of the model's options to the answers of a country's people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crosslatent.analysis.culture.culture_answers import (
    Cells,
    Closeness,
    ConditionAnswers,
    CultureQuestion,
)
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cluster_of, made_of, name_of
from crosslatent.analysis.culture.opinion_rows import OpinionRows
from crosslatent.analysis.culture.opinions import entropy, similarity


@register_measure("similarity")
class Similarity(Measure):
    """1 - Jensen-Shannon distance (base 2) to the own country, over orders of the options."""

    title = "Closeness to the own country"
    about = (
        "1 - Jensen-Shannon distance (base 2) between the probabilities of the options, averaged "
        "over orders, and the shares of the country's people."
    )
    source = "GlobalOpinionQA, arXiv 2306.16388"
    fails = "Flatter answers are closer to everybody: see the flatness control."
    tasks = ("globalopinionqa",)
    place = 10

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Closeness to the own country."""
        rows = OpinionRows(questions)
        values = similarity(rows.said(answers), rows.own_people())
        return made_of(
            (name_of(one), cluster_of(one), one.country, "", float(value), 1.0)
            for one, value in zip(rows.questions, values, strict=True)
            if np.isfinite(value)
        )

    def closeness(
        self, questions: Sequence[CultureQuestion], runs: Mapping[str, ConditionAnswers], /
    ) -> Closeness | None:
        """Closeness to every country."""
        return OpinionRows(questions).closeness(runs)

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """What two guesses reach, and how sure the model is beside the people."""
        rows = OpinionRows(questions)
        said, people = rows.said(answers), rows.own_people()
        known = ~np.isnan(said).any(1)
        if not known.any():
            return {}
        widths = np.array([len(one.options or ()) for one in rows.questions])
        everybody, labels = _filled_mean(rows.people), np.full_like(said, np.nan)
        for width in set(widths[known].tolist()):
            labels[widths == width] = said[known & (widths == width)].mean(0)
        return {
            "closeness of the mean of all countries": _mean(similarity(everybody, people)[known]),
            "closeness of the mean answer by letter": _mean(similarity(labels, people)[known]),
            "entropy of answers minus that of people, bits": _mean(
                (entropy(said) - entropy(people))[known]
            ),
        }


def _filled_mean(people: np.ndarray) -> np.ndarray:
    known = ~np.isnan(people).any(-1)
    total = np.where(known[..., None], people, 0.0).sum(1)
    found: np.ndarray = total / known.sum(1, keepdims=True)
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values))
