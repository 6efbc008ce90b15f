"""What the page shows, ready for the template: no figure is computed below this point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """The page of one run folder: everything that its rows say.

    Attributes:
        name: what the run's files begin with, see `safe.file_stem`.
        carries: whether it has transplants, and not conditions alone.
        declared: whether a comparison of the report was declared beforehand.
        culture: whether it has a card of culture, as a page of its own.
    """

    name: str
    title: str
    intro: str
    carries: bool
    declared: bool
    missing: list[str]
    site_sentence: str
    examples: list[Example]
    sections: list[Section]
    cost: list[Fact]
    notes: list[str]
    method: list[Fact]
    culture: bool = False

    @property
    def anchors(self) -> list[tuple[str, str]]:
        """An anchor for each heading, for the list of contents."""
        return [(f"part-{k}", part.title) for k, part in enumerate(self.sections) if part.title]


@dataclass(frozen=True, slots=True)
class OtherRun:
    """A run of a report beside the one that its first page is about.

    Attributes:
        name: see `RunView`.
        sentences: its finding, else what is left of its upper bounds, and other ways to answer.
    """

    name: str
    title: str
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class FrontView:
    """The first page: the finding, an example, a map, luck, other ways, and what it costs.

    Attributes:
        run: the run that it is about.
        headline: the first card: of what was declared, else of what was found.
        said: where there is no such card, what the run says in a few sentences.
        headline_missing: why what was declared could not be judged.
        example: one question that was repaired, and one that was not.
        ways: the figure of other ways to answer, if there is one.
        about: of two runs that are compared, which one `run` is: A or B.
        blocks_title, blocks: other figures of `run`; the first may be a heat map.
        missing: by run, what was not run, and how to get it.
        others: all other runs.
        compared: two runs side by side, in short.
        across: what the runs say together; it has a page of its own.
    """

    title: str
    models: str
    run: RunView
    headline: HeadlineView | None
    said: list[str]
    headline_missing: str | None
    example: list[Example]
    ways: Passage
    about: str
    blocks_title: str
    blocks: list[Passage]
    missing: list[tuple[str, list[str]]]
    others: list[OtherRun]
    compared: list[Section]
    across: list[Section]
