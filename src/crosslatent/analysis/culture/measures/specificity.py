"""Closeness to the own country beyond that to others: its change is DiD-country."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crosslatent.analysis.culture.culture_answers import Cells, ConditionAnswers, CultureQuestion
from crosslatent.analysis.culture.measure import Measure, register_measure
from crosslatent.analysis.culture.measure_cells import cluster_of, made_of, name_of
from crosslatent.analysis.culture.opinion_rows import OpinionRows
from crosslatent.analysis.culture.opinions import spread


@register_measure("specificity")
class Specificity(Measure):
    """Closeness to the own country minus the mean over the others that were asked the same."""

    title = "Closer to the own country than to others"
    about = (
        "Closeness to the country's people minus the mean closeness to people of other countries "
        "who were asked the same; its change is a difference in differences (DiD-country)."
    )
    source = "difference in differences: own; closeness: GlobalOpinionQA, arXiv 2306.16388"
    fails = "Where countries answer alike there is nothing to tell: see their mean divergence."
    tasks = ("globalopinionqa",)
    place = 11

    def cells(self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /) -> Cells:
        """Own minus others, where another country was asked the same."""
        rows = OpinionRows(questions)
        near = rows.to_people(rows.said(answers))
        at = np.arange(len(rows.questions))
        own = near[at, rows.own].copy()
        near[at, rows.own] = np.nan
        counts = (~np.isnan(near)).sum(1)
        others = np.where(counts > 0, np.nansum(near, axis=1) / np.maximum(counts, 1), np.nan)
        return made_of(
            (name_of(one), cluster_of(one), one.country, "", float(value), 1.0)
            for one, value in zip(rows.questions, own - others, strict=True)
            if np.isfinite(value)
        )

    def beside(
        self, questions: Sequence[CultureQuestion], answers: ConditionAnswers, /
    ) -> Mapping[str, float]:
        """How unlike countries answer."""
        del answers
        return {"mean divergence between countries": spread(OpinionRows(questions).people)}
