"""`write_probe_report`: a space as an HTML page, static figures and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crosslatent.analysis.figure_tables import Record, flat
from crosslatent.lens.space import Space
from crosslatent.report import colours, formatting
from crosslatent.report.drawing import layer_name
from crosslatent.report.figure import Drawn
from crosslatent.report.lens import marks, probe_words
from crosslatent.report.lens.marks import name
from crosslatent.report.lens.probe_figures import of_layers, write_figures
from crosslatent.report.lens.views import LayerView, known, layer_views
from crosslatent.report.page import render
from crosslatent.report.publish import published
from crosslatent.report.safe import in_script, printable, write_csv
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


def write_tables(space: Space, views: Sequence[LayerView], folder: Path) -> None:
    """Write ``layers.csv``, ``angles.csv`` and ``languages.csv``."""
    folder.mkdir()
    tables = {
        "layers": [_layer(space, view) for view in views],
        "angles": list(_angles(space, views)),
        "languages": list(_language_records(space)),
    }
    for title, records in tables.items():
        write_csv(pd.DataFrame.from_records(records), folder / f"{title}.csv")


def _layer(space: Space, view: LayerView) -> Record:
    measured = view.separability
    record: Record = {
        "layer": view.layer,
        "rank": space.rank,
        "between": view.between,
        "chance": measured.chance if measured else None,
        "held_out": measured.n if measured else 0,
        **flat("separability_linear", measured.linear if measured else None),
        **flat("separability_full", measured.full if measured else None),
        **flat("separability_specific", measured.specific if measured else None),
        "agnostic_norm": float(np.linalg.norm(space.at(view.layer).agnostic)),
    }
    for place, value in enumerate(view.singular_values, start=1):
        record[f"singular_value_{place}"] = float(value)
    for place, value in enumerate(view.explained, start=1):
        record[f"explained_{place}"] = float(value)
    return record


def _angles(space: Space, views: Sequence[LayerView]) -> Iterator[Record]:
    """One row a layer and pair of languages."""
    for view in views:
        for first, lang in enumerate(space.languages):
            for second in range(first + 1, len(space.languages)):
                yield {
                    "layer": view.layer,
                    "lang": lang,
                    "other": space.languages[second],
                    "degrees": float(view.angles[first, second]),
                }


def _language_records(space: Space) -> Iterator[Record]:
    record = space.record
    for lang in space.languages:
        yield {
            "lang": lang,
            "name": name(lang),
            "central": lang == space.central,
            "texts": record.texts.get(lang, 0),
            "held_out": record.held_out.get(lang, 0),
            "cut": record.cut.get(lang, 0),
            "empty": record.empty.get(lang, 0),
        }


def layer_table(views: Sequence[LayerView]) -> Table:
    """The same, as the page shows it."""
    return Table(
        head=[
            "layer",
            "variance between languages",
            "separability",
            "in the specific subspace alone",
            "first two axes hold",
            "largest singular value",
        ],
        rows=[
            [
                layer_name(view.layer),
                formatting.percent(view.between),
                _share(view, "full"),
                _share(view, "specific"),
                formatting.percent(known(view.explained[:2].sum())),
                f"{view.singular_values[0]:.3g}",
            ]
            for view in views
        ],
        caption="Singular values grow with the states: compare them within a layer.",
        numeric=frozenset(range(1, 6)),
    )


def _share(view: LayerView, kind: str) -> str:
    measured = view.separability
    one = getattr(measured, kind) if measured is not None else None
    return "\u2013" if one is None else formatting.with_interval(one, difference=False)
