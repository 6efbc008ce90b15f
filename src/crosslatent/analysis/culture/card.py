"""The culture card: every measure with its figures, and what may be said of each country."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crosslatent.analysis.culture.contrasts import MeasureRow
from crosslatent.analysis.culture.steps import CountryClaim

CLOSE = 0.05
"""Accuracies within so much are called near."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The donor language of another culture that the model is about as good in.

    Attributes:
        lang: the country's language.
        accuracy: of the unmodified model on the counterparts in it, 0 to 1; None if unknown.
        other: the matched language; None if there is none.
        other_accuracy: in that one.
    """

    lang: str
    accuracy: float | None
    other: str | None = None
    other_accuracy: float | None = None

    @property
    def close(self) -> bool:
        """Whether the two are within 5 points."""
        if self.accuracy is None or self.other_accuracy is None:
            return False
        return abs(self.accuracy - self.other_accuracy) <= CLOSE + 1e-9


@dataclass(frozen=True, slots=True)
class MeasureResult:
    """One measure of the card.

    Attributes:
        name: as registered.
        title, about, source, good, unit, fails: see `measure.Measure`.
        tasks: that it reads.
        read: those of them that its figures come from.
        rows: figures: over all countries (``country`` is empty), then of each.
        beside: condition -> figures that it must be read with.
        not_worse: of a measure that must not get worse, whether that is shown; None of others, and
            where it is undecided.
        reason: why there are no figures.
    """

    name: str
    title: str
    about: str
    source: str
    good: str
    unit: str
    fails: str
    tasks: tuple[str, ...] = ()
    rows: tuple[MeasureRow, ...] = ()
    beside: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    not_worse: bool | None = None
    reason: str = ""
    read: tuple[str, ...] = ()

    @property
    def pooled(self) -> MeasureRow | None:
        """The figures over all countries."""
        return next((row for row in self.rows if not row.country), None)


@dataclass(frozen=True, slots=True)
class CultureTaskResult:
    """One task of the card.

    Attributes:
        task: its name.
        design: "named" = its prompts name the country, "unnamed" = they do not.
        division: how questions were split, in a sentence.
        pairs: of each part of the division: component, source, target, how, pilot, n, tried.
        matched: by language.
        questions: that were tested on.
        countries: that they are about.
        claims: what is shown for each country; the first over all of them.
        no_claims: why there are none.
        differences: name of a difference in differences -> its figures by country.
        left_out: questions that could not be asked.
    """

    task: str
    design: str
    division: str
    pairs: tuple[Mapping[str, Any], ...]
    matched: Mapping[str, Matched]
    questions: int
    countries: tuple[str, ...]
    claims: tuple[CountryClaim, ...] = ()
    no_claims: str = ""
    differences: Mapping[str, Any] = field(default_factory=dict)
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class CultureResult:
    """Everything on the card.

    Attributes:
        model: its name.
        condition: what takes the place of the transplant.
        measures: in the order of the card.
        tasks: that were asked.
        missing: task that is not there -> why, and how to get it.
        seed: of everything that was drawn.
    """

    model: str
    condition: str
    measures: tuple[MeasureResult, ...]
    tasks: tuple[CultureTaskResult, ...]
    missing: Mapping[str, str]
    seed: int

    def measure(self, name: str) -> MeasureResult | None:
        """A measure with figures, by its name."""
        return next((one for one in self.measures if one.name == name and not one.reason), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
