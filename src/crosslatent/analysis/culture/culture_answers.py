"""What the measures of culture read: questions about countries, and answers under conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AnswerKind = Literal["answer", "refusal", "other language", "other"]
"""What an output is: it names an option or says something where none is asked for; else why not."""

VANILLA, TRANSPLANT = "vanilla", "transplant"
"""Conditions that are always there: the unmodified model; the donor of the own country's language,
or what takes its place."""

PLAIN = "plain"
"""The form of a question as it is."""

OTHER_CULTURE, SHUFFLED = "other-culture", "shuffled"
"""Controls: the donor of the language in which the model is most nearly as accurate as in the own
one; of another question in the own language."""

CONTROLS = ("other-culture", "same-language", "shuffled", "noise", "prompt-en", "prompt-x")
"""Conditions that a change is held against; the last two are one control in two languages."""

DONOR = "donor:"
"""Begins the name of a condition whose donor is of another country's language: ``donor:sw``."""


@dataclass(frozen=True, slots=True)
class CultureQuestion:
    """A question about one country.

    Attributes:
        id: of the item.
        task: its task.
        cluster: the question behind it, which is asked about several countries.
        country: whom it is about, by the name of `countries.yaml`; empty where no country is meant.
        lang: language of its donor, the country's.
        options: as its prompt names them; None for open answers.
        labels: what each of them says.
        answer: gold answer, or gold option; None if unknown.
        golds: all gold answers of an open question, the most given first.
        votes: how many people gave each of them.
        shares: how the country answered, one share per option.
        strata: groups of its task.
        main_lang: language that it is asked in.
    """

    id: str
    task: str
    cluster: str
    country: str
    lang: str
    options: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    answer: str | None = None
    golds: tuple[str, ...] = ()
    votes: tuple[float, ...] = ()
    shares: tuple[float, ...] | None = None
    strata: Mapping[str, str] = field(default_factory=dict)
    main_lang: str = "en"


@dataclass(frozen=True, slots=True)
class CultureAnswer:
    """A judged answer, with options in the order of its question.

    Attributes:
        correct: None without gold answer.
        grade: graded score, 0 to 1; None if there is none.
        prediction: the option that it names; None if none, or an open answer.
        probabilities: of the options, which add up to 1; None if not known.
        output: the text.
        kind: see `AnswerKind`.
    """

    correct: bool | None
    grade: float | None = None
    prediction: str | None = None
    probabilities: tuple[float, ...] | None = None
    output: str = ""
    kind: AnswerKind = "answer"


Answers = Mapping[str, CultureAnswer]
"""Id of a question -> its answer."""


@dataclass(frozen=True, slots=True)
class ConditionAnswers:
    """Answers under one condition.

    Attributes:
        plain: to the questions as they are.
        variants: to the same in another form, by its name: ``order:1`` (options in another order),
            ``frame:1`` (other words around), ``persona:1``.
    """

    plain: Answers
    variants: Mapping[str, Answers] = field(default_factory=dict)

    def orders(self) -> list[Answers]:
        """The plain answers, and those to other orders of the options."""
        return [self.plain, *(some for name, some in self.variants.items() if name[:6] == "order:")]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What a measure has of one condition: one entry for each unit, mostly a question.

    Its estimate is, over groups, the sum of their signs times the mean over countries of the sum
    of `values` through the sum of `weights`.

    Attributes:
        units: by which conditions are paired; unique.
        clusters: which are resampled.
        countries: whom the unit is about; empty where no country is meant.
        groups: names of groups that are held against each other; empty for one group.
        values: numerators, shape (units,); NaN where undefined.
        weights: denominators, shape (units,): 1 for a mean.
    """

    units: Sequence[str]
    clusters: Sequence[str]
    countries: Sequence[str]
    groups: Sequence[str]
    values: Floats
    weights: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Closeness:
    """How close answers are to each country: similarity of opinions, or hits of its answers.

    Attributes:
        countries: names.
        own: place of the country that each question is about, shape (questions,).
        clusters: of the questions.
        runs: condition -> closeness, shape (questions, countries); NaN where a country has no data.
        sureness: condition -> entropy (bits) of each answer, shape (questions,); empty where the
            options have no probabilities.
        flat: closeness of the unmodified answers, flattened or sharpened to the entropy of the
            transplanted ones, shape (questions, countries); None without probabilities.
    """

    countries: tuple[str, ...]
    own: NDArray[np.intp]
    clusters: tuple[str, ...]
    runs: Mapping[str, Floats]
    sureness: Mapping[str, Floats] = field(default_factory=dict)
    flat: Floats | None = None
