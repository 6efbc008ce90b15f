"""What the page shows, ready for the template: no figure is computed below this point."""

from __future__ import annotations

from dataclasses import dataclass, field

from crosslatent.report.examples import Example, Site
from crosslatent.report.forest import Forest


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled block: sentences, then rows of dots with intervals."""

    title: str
    sentences: list[str]
    forest: Forest | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A small table; cells are text. `numeric` tells which columns are set flush right."""

    head: list[str]
    rows: list[list[str]]
    caption: str
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with sentences and panels. `first`: it holds the figure that counts in the task."""

    title: str
    sentences: list[str]
    panels: list[Panel]
    first: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """Sentences that are always seen (`lead`), and more below a title that opens on a click."""

    title: str
    lead: list[str]
    sentences: list[str]
    panels: list[Panel]
    tables: list[Table]


@dataclass(frozen=True, slots=True)
class MapPanel:
    """One heat map. `payload`: JSON, safe in HTML: a figure and the views to switch between."""

    key: str
    title: str
    note: str
    payload: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure with what it is: ``137,256`` ``answers generated``."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Condition:
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
    conditions: list[Condition]
    verdict: str


@dataclass(frozen=True, slots=True)
class RunView:
    """One run folder's part of the page; parts that the run cannot fill are None or empty."""

    anchor: str
    title: str
    intro: str
    missing: list[str]
    site: Site | None
    site_sentence: str
    examples: list[Example]
    accuracy: Panel | None
    rules: Table | None
    conditions: Panel | None
    scores: Section | None
    fidelity: Section | None
    map_sentence: str
    map_views: list[str]
    maps: list[MapPanel]
    over_controls: Panel | None
    bounds_sentences: list[str]
    bounds: list[Panel]
    bound_layers: list[Panel]
    gain_sentences: list[str]
    gains: list[Panel]
    compared: Panel | None
    gain_table: Table | None
    tests: Fold | None
    selectors: Section | None
    selector_table: Table | None
    attribution: Fold | None
    layers: Fold | None
    languages: Fold | None
    stability: Fold | None
    controls: list[Panel]
    diagnosis: list[Panel]
    spelling: list[Panel]
    follow: Panel | None
    strata: list[Panel]
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
    headline_missing: str | None
    beside: list[tuple[str, list[str]]]
    """Title of each run that the headline is not of, and the other ways to answer its questions."""
    bounds: list[tuple[str, list[str]]]
    """Title of each run, and what is left of its upper bound above the strongest control."""
    runs: list[RunView]
    modules: Section | None
    repeats: Table | None
    method: list[Fact]
