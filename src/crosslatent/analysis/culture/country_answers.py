"""Which countries' answers an output gives: questions that were asked about several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosslatent.analysis.culture.culture_answers import (
    Answers,
    CultureAnswer,
    CultureQuestion,
    Floats,
)
from crosslatent.analysis.culture.measure_cells import cluster_of
from crosslatent.core.answer_words import gives_answer
from crosslatent.core.normal import fold


class CountryAnswers:
    """Questions with gold answers, and those of other countries to the same question.

    Attributes:
        questions: those whose gold answers are known as texts.
        countries: their names.
        comparable: whether any was asked about two countries or more.
    """

    def __init__(self, questions: Sequence[CultureQuestion]) -> None:
        """Collect the gold answers of all countries.

        Args:
            questions: any; those without gold texts are left out.
        """
        self.questions = [one for one in questions if one.country and golds_of(one)]
        self.countries = tuple(dict.fromkeys(one.country for one in self.questions))
        self._place = {name: k for k, name in enumerate(self.countries)}
        self._golds: dict[str, dict[str, tuple[str, ...]]] = {}
        for one in self.questions:
            self._golds.setdefault(cluster_of(one), {}).setdefault(one.country, golds_of(one))
        self.comparable = any(len(some) > 1 for some in self._golds.values())

    def hits(self, answers: Answers) -> Floats:
        """Whether answers are those of each country, shape (questions, countries).

        NaN where a country was not asked the same, or there is no answer.
        """
        found = np.full((len(self.questions), len(self.countries)), np.nan)
        for row, one in enumerate(self.questions):
            answer = answers.get(one.id)
            if answer is None:
                continue
            for country, golds in self._golds[cluster_of(one)].items():
                found[row, self._place[country]] = float(_is_one_of(one, answer, golds))
        return found


def golds_of(question: CultureQuestion) -> tuple[str, ...]:
    """The gold answers of a question as texts: of options, what the gold one says."""
    if question.options is None:
        return question.golds
    if question.labels is None or question.answer not in question.options:
        return ()
    return (question.labels[question.options.index(question.answer)],)


def _is_one_of(question: CultureQuestion, answer: CultureAnswer, golds: Sequence[str]) -> bool:
    if question.options is None:
        return gives_answer(answer.output, golds, question.lang)
    if answer.prediction is None or question.labels is None:
        return False
    said = fold(question.labels[question.options.index(answer.prediction)])
    return said in {fold(gold) for gold in golds}
