"""Norms: what naming the country adds to judging whether a behaviour is acceptable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cells_of, grade_of, share

RUNGS = ("none", "country", "value", "rule")
"""What is given beside the story, in the stratum ``given``."""


@register_measure("norms")
class Norms(Measure):
    """NormAd: accuracy with the country named minus without."""

    title = "Norms: what the country's name adds"
    about = "NormAd: accuracy where the country is named minus accuracy without any hint."
    source = "NormAd, arXiv 2404.12464"
    fails = "A model that always says neutral gains nothing and knows nothing: see the confusion."
    tasks = ("normad",)
    groups: ClassVar[Mapping[str, float]] = {"country": 1.0, "none": -1.0}
    place = 40

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Right answers, by what is given."""
        wanted = [one for one in questions if one.strata.get("given") in self.groups]
        return cells_of(wanted, answers.plain, grade_of, group=lambda one: one.strata["given"])

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """Accuracy by what is given, F1 over the labels, and how often each label is said."""
        there = [one for one in questions if one.id in answers.plain]
        found = {
            f"right, given {rung}": share(
                bool(answers.plain[one.id].correct)
                for one in there
                if one.strata.get("given") == rung
            )
            for rung in RUNGS
        }
        said = [
            (text_of(one, one.answer), text_of(one, answers.plain[one.id].prediction))
            for one in there
        ]
        labels = sorted({gold for gold, _ in said if gold})
        found["F1 over the labels"] = macro_f1(said)
        found |= {f"says {label}": share(given == label for _, given in said) for label in labels}
        found |= {
            f"says {label} where {gold} is right": share(
                given == label for right, given in said if right == gold
            )
            for gold in labels
            for label in labels
            if gold != label
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}


def text_of(question: CultureQuestion, option: str | None) -> str:
    """What an option says; empty for none."""
    if option is None or question.options is None or question.labels is None:
        return option or ""
    return question.labels[question.options.index(option)]


def macro_f1(said: Sequence[tuple[str, str]]) -> float:
    """Mean over labels of F1, from (gold, said); NaN without gold labels."""
    scores = []
    for label in {gold for gold, _ in said if gold}:
        both = sum(gold == label == given for gold, given in said)
        either = sum(gold == label for gold, _ in said) + sum(given == label for _, given in said)
        scores.append(2 * both / either)
    return float(np.mean(scores)) if scores else float("nan")
