"""Every sentence of the report that judges: its id, its one template, the condition it speaks of.

A sentence is never written where a figure is drawn. It is said through `Family.say`, which gives
those sentences of a family whose own condition holds for the figures that they print. So no
sentence can be chosen by a condition that it does not speak of. Families whose conditions exclude
each other give one sentence; tests hold every id to figures where it must and must not appear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from crosslatent.report import formatting
from crosslatent.stats import Estimate

S = TypeVar("S")

FEWEST = 30
"""Questions of a stratum that a sentence is made of; with fewer, n and interval say all."""

EXPLORATORY = "exploratory: defined after the rows were seen"


@dataclass(frozen=True, slots=True)
class Phrase(Generic[S]):
    """One sentence: when it is true of a subject, and its template, filled by the family."""

    when: Callable[[S], bool]
    template: str


@dataclass(frozen=True, slots=True)
class Family(Generic[S]):
    """Sentences about subjects of one kind.

    Attributes:
        name: first part of their ids, such as ``bound`` in ``bound.above``.
        values: what a subject fills into templates.
        verdicts: by the second part of the id, in the order in which they are said.
    """

    name: str
    values: Callable[[S], Mapping[str, str]]
    verdicts: Mapping[str, Phrase[S]]

    def ids(self) -> list[str]:
        """Of all its sentences."""
        return [f"{self.name}.{name}" for name in self.verdicts]

    def allowed(self, subject: S) -> list[str]:
        """Ids of the sentences that are true of a subject."""
        return [f"{self.name}.{n}" for n, verdict in self.verdicts.items() if verdict.when(subject)]

    def say(self, subject: S) -> str:
        """The sentences that are true of a subject, one after the other; empty if none is."""
        kept = [verdict for verdict in self.verdicts.values() if verdict.when(subject)]
        if not kept:
            return ""
        values = self.values(subject)
        return " ".join(verdict.template.format(**values) for verdict in kept)


def exploratory(names: Sequence[str], name: str) -> str:
    """A suffix for figures that were defined after the rows were seen; empty for others."""
    return f" ({EXPLORATORY})" if name in names else ""


def points_with_interval(estimate: Estimate) -> str:
    """``+8.0 points (+2.0 to +14.0)``."""
    return (
        f"{formatting.points(estimate.value)} points "
        f"({formatting.interval(estimate, difference=True)})"
    )
