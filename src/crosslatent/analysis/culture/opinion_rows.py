"""Arrays of opinions: what a model says and what people of every country say, question by question.

Options such as "Don't know" are left out on both sides, and the rest add up to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from crosslatent.analysis.culture.culture_answers import (
    TRANSPLANT,
    VANILLA,
    Closeness,
    ConditionAnswers,
    CultureQuestion,
    Floats,
)
from crosslatent.analysis.culture.measure_cells import cluster_of
from crosslatent.analysis.culture.opinions import entropy, flattened, kept_options, similarity
from crosslatent.core.culture_data import culture_table


class OpinionRows:
    """Questions with shares, as arrays.

    Attributes:
        questions: those with shares.
        countries: their names.
        own: place of each question's country, shape (questions,).
        people: shares of each country that was asked the same, shape (questions, countries,
            options); NaN where a country has no data.
    """

    def __init__(self, questions: Sequence[CultureQuestion]) -> None:
        """Collect the shares of all countries.

        Args:
            questions: any; those without shares are left out.
        """
        self.questions = [one for one in questions if one.shares is not None and texts_of(one)]
        self.countries = tuple(dict.fromkeys(one.country for one in self.questions))
        place = {name: k for k, name in enumerate(self.countries)}
        self.own = np.array([place[one.country] for one in self.questions], dtype=np.intp)
        self._kept = [kept_options(texts_of(one), _missing()) for one in self.questions]
        self._width = max((len(some) for some in self._kept), default=1)
        asked: dict[tuple[str, tuple[str, ...]], dict[str, Floats]] = {}
        for one, kept in zip(self.questions, self._kept, strict=True):
            there = asked.setdefault((cluster_of(one), texts_of(one)), {})
            there.setdefault(one.country, self._padded(one.shares or (), kept))
        self.people = np.full((len(self.questions), len(self.countries), self._width), np.nan)
        for row, one in enumerate(self.questions):
            for name, shares in asked[cluster_of(one), texts_of(one)].items():
                self.people[row, place[name]] = shares
            self.people[row, self.own[row]] = self._padded(one.shares or (), self._kept[row])

    def _padded(self, values: Sequence[float], kept: Sequence[int]) -> Floats:
        """Some values that add up to 1, with zeros behind; NaN if they are all 0."""
        some = np.array([values[k] for k in kept], dtype=float)
        found = np.zeros(self._width)
        total = some.sum()
        found[: len(some)] = some / total if total > 0 else np.nan
        return found

    def said(self, answers: ConditionAnswers) -> Floats:
        """What a model says: mean over the orders of options, shape (questions, options)."""
        found = np.full((len(self.questions), self._width), np.nan)
        for row, (one, kept) in enumerate(zip(self.questions, self._kept, strict=True)):
            orders = [some[one.id] for some in answers.orders() if one.id in some]
            known = [each.probabilities for each in orders if each.probabilities is not None]
            if known:
                found[row] = np.mean([self._padded(each, kept) for each in known], axis=0)
        return found

    def closeness(self, runs: Mapping[str, ConditionAnswers]) -> Closeness | None:
        """Similarity to every country under every condition; None without probabilities."""
        said = {name: self.said(run) for name, run in runs.items()}
        if not self.questions or any(
            name not in said or np.isnan(said[name]).all() for name in (VANILLA, TRANSPLANT)
        ):
            return None
        sure = {name: entropy(values) for name, values in said.items()}
        flat = flattened(np.nan_to_num(said[VANILLA]), sure[TRANSPLANT])
        flat[np.isnan(said[VANILLA]).any(-1)] = np.nan
        return Closeness(
            self.countries,
            self.own,
            tuple(map(cluster_of, self.questions)),
            {name: self.to_people(values) for name, values in said.items()},
            {name: sure[name] for name in (VANILLA, TRANSPLANT)},
            self.to_people(flat),
        )

    def to_people(self, said: Floats) -> Floats:
        """Similarity of distributions to every country, shape (questions, countries)."""
        found: Floats = similarity(said[:, None, :], self.people)
        return found

    def own_people(self) -> Floats:
        """Shares of each question's own country, shape (questions, options)."""
        found: Floats = self.people[np.arange(len(self.questions)), self.own]
        return found


def texts_of(question: CultureQuestion) -> tuple[str, ...]:
    """What the options of a question say: their labels, else themselves."""
    return question.labels or question.options or ()


@lru_cache(maxsize=1)
def _missing() -> frozenset[str]:
    """Texts of options that are no opinion, in lower case."""
    texts = culture_table("missing_options")["options"]
    return frozenset(str(text).strip().casefold() for text in texts)
