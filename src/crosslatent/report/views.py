"""What the page shows, ready for the template: no figure is computed below this point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from crosslatent.report.examples import Example
from crosslatent.report.figure import Drawn


@dataclass(frozen=True, slots=True)
class Table:
    """A small table; cells are text. `numeric` tells which columns are set flush right."""

    head: list[str]
    rows: list[list[str]]
    caption: str
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a section: sentences, figures side by side, tables.

    Attributes:
        fold: title of a part that opens on a click; "" = always seen.
        maps: views and colours of heat maps as JSON, in the order of the figures; see `maps`.
        chooser: names of the views of these maps.
    """

    sentences: Sequence[str] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    fold: str = ""
    maps: Sequence[str] = ()
    chooser: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.sentences or self.figures or self.tables)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what belongs to it; without a title, a part of the section before."""

    title: str
    blocks: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure with what it is: ``137,256`` ``answers generated``."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A condition declared beforehand. `state`: holds, fails, or open (could not be judged)."""

    text: str
    state: str
    against: str
    """What speaks against it; empty if nothing does."""


@dataclass(frozen=True, slots=True)
class HeadlineView:
    """The card at the top. `beside`: other ways to answer, and the paper's own pair."""

    number: str
    loss: bool
    unit: str
    sentences: list[str]
    beside: list[str]
    conditions: list[Declared]
    verdict: str


@dataclass(frozen=True, slots=True)
class RunView:
    """One run folder's part of the page."""

    anchor: str
    title: str
    intro: str
    missing: list[str]
    site_sentence: str
    examples: list[Example]
    sections: list[Section]
    cost: list[Fact]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PageView:
    """The whole page."""

    title: str
    carries: bool
    """Whether any run has transplants, and not conditions alone."""
    models: str
    headline: HeadlineView | None
    """The first card: of what was declared, else of what was found."""
    declared: bool
    headline_missing: str | None
    beside: list[tuple[str, list[str]]]
    """Title of each run that the headline is not of, and the other ways to answer its questions."""
    bounds: list[tuple[str, list[str]]]
    """Title of each run, and what is left of its upper bound above the strongest control."""
    runs: list[RunView]
    across: list[Section]
    method: list[Fact]
