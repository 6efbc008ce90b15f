"""Whether other forms of a question get the same answer: how far the other measures can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from crosslatent.analysis.culture.culture_answers import (
    Cells,
    ConditionAnswers,
    CultureAnswer,
    CultureQuestion,
)
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cells_of, named_nothing, share
from crosslatent.analysis.culture.opinions import entropy
from crosslatent.core.normal import fold

BINS = 10
"""Of the calibration error, with equally many answers each."""


@register_measure("stability")
class Stability(Measure):
    """Agreement of answers over orders of options, frames and personas."""

    title = "Stability"
    about = (
        "Share of a question's other forms (options in reverse, sentences around it, personas) "
        "whose answer is the same."
    )
    source = "arXiv 2503.08688 shows the problem; the measure is our own"
    good = "not worse"
    fails = "A constant answer is stable: see the share of the most frequent option."
    tasks = (
        "globalopinionqa",
        "blend",
        "blend-mc",
        "culturalbench",
        "normad",
        "include",
        "demo-culture",
    )
    variants = True
    place = 0

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Share of the forms of each question that agree with the plain one."""

        def agreement(question: CultureQuestion, plain: CultureAnswer) -> float | None:
            others = [
                some[question.id] for some in answers.variants.values() if question.id in some
            ]
            said = _said(question, plain)
            return share(_said(question, one) == said for one in others) if others else None

        return cells_of(questions, answers.plain, agreement)

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """Constant answers, calibration, entropy, and what is no answer."""
        there = [(one, answers.plain[one.id]) for one in questions if one.id in answers.plain]
        named = Counter(answer.prediction for _, answer in there if answer.prediction is not None)
        sure = [
            (max(answer.probabilities), bool(answer.correct))
            for one, answer in there
            if answer.probabilities and answer.correct is not None and one.shares is None
        ]
        entropies = [
            float(entropy(np.array(answer.probabilities)))
            for _, answer in there
            if answer.probabilities
        ]
        found = {
            "share of the most frequent option": max(named.values()) / named.total()
            if named
            else float("nan"),
            "calibration error (ECE)": calibration_error(sure),
            "mean entropy, bits": float(np.mean(entropies)) if entropies else float("nan"),
            **named_nothing(questions, answers.plain),
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}


def _said(question: CultureQuestion, answer: CultureAnswer) -> str | None:
    """What an answer says, so that it can be compared."""
    return answer.prediction if question.options is not None else fold(answer.output).strip()


def calibration_error(sure: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error: mean gap between confidence and share of right answers.

    Args:
        sure: confidence of each answer, and whether it is right.

    Returns:
        0 to 1, over `BINS` bins of equally many answers; NaN without answers.
    """
    if not sure:
        return float("nan")
    ordered = np.array(sorted(sure), dtype=float)
    gaps = [
        len(some) * abs(some[:, 0].mean() - some[:, 1].mean())
        for some in np.array_split(ordered, min(BINS, len(ordered)))
    ]
    return float(sum(gaps) / len(ordered))
