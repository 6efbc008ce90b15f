"""Confusion between cultures: wrong answers that people of another country give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosslatent.analysis.culture.country_answers import CountryAnswers
from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cluster_of, made_of, name_of


@register_measure("wrong-country")
class WrongCountry(Measure):
    """Of wrong answers the share that belongs to another country."""

    title = "Wrong answers of another country"
    about = "Of the wrong answers, the share that people of another country gave."
    source = "our own, on BLEnD, arXiv 2406.09948"
    good = "down"
    fails = (
        "With few wrong answers it says little; it falls as well where wrong answers mean nothing."
    )
    tasks = ("blend", "blend-mc")
    place = 21

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Numerator: wrong and another country's; denominator: wrong."""
        asked = CountryAnswers(questions)
        if not asked.comparable:
            return made_of(())
        hits = asked.hits(answers.plain)
        place = {name: k for k, name in enumerate(asked.countries)}
        units = []
        for row, one in enumerate(asked.questions):
            answer = answers.plain.get(one.id)
            if answer is None or answer.correct is None:
                continue
            others = np.delete(hits[row], place[one.country])
            strayed = not answer.correct and bool(np.nansum(others) > 0)
            unit = (float(strayed), float(not answer.correct))
            units.append((name_of(one), cluster_of(one), one.country, "", *unit))
        return made_of(units)
