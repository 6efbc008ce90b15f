"""`write_probe_report`: a space as an HTML page, static figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslatent.lens.space import Space
from crosslatent.report import colours, formatting
from crosslatent.report.drawing import layer_name
from crosslatent.report.figure import Drawn
from crosslatent.report.lens import marks, probe_words
from crosslatent.report.lens.probe_figures import of_layers, write_figures
from crosslatent.report.lens.probe_tables import layer_table, write_tables
from crosslatent.report.lens.views import LayerView, layer_views
from crosslatent.report.page import render
from crosslatent.report.publish import published
from crosslatent.report.safe import in_script, printable
from crosslatent.report.views import Fact, Passage, Table
from crosslatent.stats import METHODS

PAGE = "probe.html"


@dataclass(frozen=True, slots=True)
class ProbeView:
    """Everything on the page."""

    title: str
    summary: list[str]
    layers: list[str]
    start: int
    facts: list[list[str]]
    layer_data: str
    looks: list[marks.LanguageMark]
    layered: list[Passage]
    over_layers: Passage
    missing: list[str]
    languages: Table
    table: Table
    method: list[Fact]


def write_probe_report(space: Space, out: Path) -> list[Path]:
    """Write what a probe found: ``probe.html``, ``figures/`` and ``tables/``.

    Args:
        space: the language subspaces; no model is needed.
        out: folder, made if it is not there; other files in it are left alone.

    Returns:
        The files, the page last.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    views = layer_views(space)
    with published(out, PAGE) as (draft, files):
        figures = write_figures(space, views, draft / "figures")
        page = page_view(space, views, figures)
        styles = ["report.css", "lens/lens.css", _colours()]
        text = render("lens/probe.html.j2", page, styles, ["lens/lens.js"], glyphs=marks.GLYPHS)
        (draft / PAGE).write_text(text, encoding="utf-8")
        write_tables(space, views, draft / "tables")
    return files


def _colours() -> str:
    """The languages' colours as CSS variables."""
    light, dark = (
        "".join(f"--lang-{place}:{colour};" for place, colour in enumerate(tones))
        for tones in (colours.LANGUAGES, colours.LANGUAGES_DARK)
    )
    return f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"


def page_view(space: Space, views: Sequence[LayerView], figures: Sequence[Drawn]) -> ProbeView:
    """What the page shows, ready for the template. `figures`: those over all layers."""
    model = str(space.record.model.get("name") or "")
    count = formatting.count(len(space.languages), "language")
    return ProbeView(
        title=f"{count} in the states of {marks.isolated(printable(model))}"
        if model
        else f"{count} in a model’s states",
        summary=probe_words.summary(space, views),
        layers=[layer_name(view.layer) for view in views],
        start=_start(views),
        facts=[probe_words.of_layer(view) for view in views],
        layer_data=_layer_data(views),
        looks=marks.marks(space.languages, space.central),
        layered=of_layers(space, views),
        over_layers=Passage(figures=figures),
        missing=_missing(space, views),
        languages=_languages(space),
        table=layer_table(views),
        method=_method(space),
    )


def _layer_data(views: Sequence[LayerView]) -> str:
    """Name and facts of every layer, for the page's script."""
    return in_script(
        [
            {
                "name": layer_name(view.layer),
                "facts": formatting.first_upper("; ".join(probe_words.of_layer(view))),
            }
            for view in views
        ]
    )


def _start(views: Sequence[LayerView]) -> int:
    """The layer that is shown first: where languages differ most."""
    return max(range(len(views)), key=lambda place: views[place].between or 0.0)


def _missing(space: Space, views: Sequence[LayerView]) -> list[str]:
    found = []
    measured = [view.separability is not None and view.separability.full for view in views]
    if any(measured) and not all(measured):
        found.append("Linear separability was measured in some layers only; the others have gaps.")
    if space.points is None:
        found.append("No held-out texts were kept: figures show the languages’ means alone.")
    return found


def _languages(space: Space) -> Table:
    record = space.record
    counts = (record.texts, record.held_out, record.cut, record.empty)
    return Table(
        head=["language", "code", "texts in the mean", "held out", "cut", "empty, left out"],
        rows=[
            [
                probe_words.of_language(lang)
                + (" (central)" if lang == space.central else ""),
                marks.isolated(printable(lang)),
                *(f"{count.get(lang, 0):,}" for count in counts),
            ]
            for lang in space.languages
        ],
        caption="Texts of each language.",
        numeric=frozenset({2, 3, 4, 5}),
    )  # fmt: skip


def _method(space: Space) -> list[Fact]:
    record = space.record
    full = len(space.languages) - 1
    rank = f"{space.rank} of {full}" + (", the means exactly" if space.rank == full else "")
    versions = formatting.listing(f"{name} {version}" for name, version in record.versions.items())
    facts = [
        Fact(rank, "rank"),
        Fact(f"{space.n_layers} blocks, d_model {space.d_model:,}", "model"),
        Fact(str(record.seed), "seed of the split"),
        Fact(METHODS, "intervals"),
        Fact(versions or "not recorded", "software"),
        Fact(record.created or "not recorded", "made"),
        Fact(" ".join(record.command) or "not recorded", "command"),
    ]
    return [Fact(printable(fact.value), fact.label) for fact in facts]
