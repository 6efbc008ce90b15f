"""`write_culture_page`: the culture card as a page, with figures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crosslatent.analysis.culture.card import CultureResult, CultureTaskResult, MeasureResult
from crosslatent.analysis.culture.contrasts import CultureFigure, MeasureRow
from crosslatent.analysis.culture.differences import NAMES
from crosslatent.analysis.culture.steps import CountryClaim
from crosslatent.core.countries import with_own_name
from crosslatent.report import formatting, safe
from crosslatent.report.culture_words import (
    STEPS,
    number,
    sentences,
    value,
    with_interval,
)
from crosslatent.report.figure import Drawn, draw_forest
from crosslatent.report.forest import Forest, row, sizes
from crosslatent.report.methods_page import MethodsView
from crosslatent.report.page import render
from crosslatent.report.publish import published
from crosslatent.report.views import Fact, Passage, Section, Table
from crosslatent.stats import Estimate

_CONTROLS = {
    "preset": "pair of the paper",
    "other-culture": "other culture",
    "same-language": "same language",
    "shuffled": "another question",
    "noise": "noise",
    "prompt-en": "prompt in English",
    "prompt-x": "prompt in the language",
}
"""Conditions beside the transplant, in the order of the tables."""
_CONDITIONS = {"vanilla": "unmodified", "transplant": "transplant", **_CONTROLS}


def write_culture_page(result: CultureResult, out: Path, name: str) -> Path:
    """Write a culture card: a page, ``figures/`` and ``tables/``.

    Args:
        result: the card; no model is needed.
        out: folder, made if it is not there; other files in it are left alone.
        name: of the page.

    Returns:
        The page.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    with published(out, name, replaces=True) as (draft, _):
        text = culture_page_text(result, draft / "figures")
        (draft / name).write_text(text, encoding="utf-8")
        (draft / "tables").mkdir(exist_ok=True)
        safe.write_csv(measure_figures(result), draft / "tables" / "culture.csv")
    return out / name


def culture_page_text(result: CultureResult, folder: Path, stem: str = "") -> str:
    """The page as HTML.

    Args:
        result: the card.
        folder: of its figures.
        stem: what their names begin with.
    """
    page = MethodsView(
        title=f"Culture card of {safe.printable(Path(result.model).name)}",
        opening=sentences(result),
        sections=list(culture_sections(result, folder, stem)),
        method=_facts(result),
    )
    return render("culture.html.j2", page, ["report.css"], [])


def culture_sections(result: CultureResult, folder: Path, stem: str = "") -> Iterator[Section]:
    """Everything of a card, section by section.

    Args:
        result: the card.
        folder: of its figures.
        stem: what their names begin with.
    """
    shown = [one for one in result.measures if not one.reason]
    yield Section("The card", [Passage([_CARD], _changes(shown, folder, stem), _pooled(shown))])
    for task in result.tasks:
        yield Section(
            f"What may be said of each country: {task.task}", list(_task(task, folder, stem))
        )
    yield Section("Measure by measure", [part for one in shown for part in _measure(one)])
    if missing := [*_missing(result)]:
        table = Table(["measure or data", "why there are no figures"], missing, "")
        yield Section("Not measured", [Passage(tables=[table])])
    yield Section("What each measure is", [Passage(tables=[_about(result)], fold="Definitions")])


_CARD = (
    "Over all countries, each counted alike. Change: the transplant minus the unmodified model, on "
    "the same questions. Second table: the transplant minus a control; where an interval holds "
    "zero, the control does as much."
)


def _changes(shown: Sequence[MeasureResult], folder: Path, stem: str) -> list[Drawn]:
    """Changes of the measures in points."""
    there = [
        (one, one.pooled.change)
        for one in shown
        if one.unit == "points" and one.pooled is not None and one.pooled.change is not None
    ]
    estimates = [(one, _estimate(change)) for one, change in there if change.value is not None]
    if not estimates:
        return []
    rows = tuple(row(one.title, _kind(one, e), e, f"good: {one.good}") for one, e in estimates)
    caption = (
        f"Change by measure, in points; {sizes([e for _, e in estimates])}. Whiskers: 95\u202f% "
        "intervals over questions."
    )
    forest = Forest(rows, True, caption, losses=False)
    return [draw_forest("What the transplant changes", forest, folder / f"{stem}changes")]


def _kind(one: MeasureResult, estimate: Estimate) -> str:
    """How a change looks: shown for the better, shown for the worse, or not shown."""
    if estimate.low is None or estimate.high is None or estimate.low <= 0 <= estimate.high:
        return "base"
    better = estimate.low > 0 if one.good != "down" else estimate.high < 0
    return "true" if better else "loss"


def _estimate(figure: CultureFigure) -> Estimate:
    return Estimate(figure.value, figure.low, figure.high, figure.n, figure.clusters, 0)


def _pooled(shown: Sequence[MeasureResult]) -> list[Table]:
    """Figures over all countries, and beside controls."""
    pooled = [(one, one.pooled, one.title) for one in shown if one.pooled is not None]
    return [_filled("measure", pooled), _controls("measure", pooled)]


_Rows = Sequence[tuple[MeasureResult, MeasureRow, str]]


def _filled(first: str, rows: _Rows, caption: str = "") -> Table:
    """Unmodified, transplanted and the change: a row for each measure or country."""
    cells = [
        [
            label,
            value(row.vanilla, one),
            value(row.transplant, one),
            with_interval(row.change, one),
            formatting.p_value(row.change.p) if row.change is not None else "",
            f"{row.change.n:,}" if row.change is not None else "",
        ]
        for one, row, label in rows
    ]
    head = [first, "unmodified", "transplant", "change", "p", "questions"]
    return Table(head, cells, caption, frozenset(range(1, len(head))))


def _controls(first: str, rows: _Rows) -> Table:
    """The transplant minus each control; without the controls that no row has."""
    there = [name for name in _CONTROLS if any(name in row.against for _, row, _ in rows)]
    cells = [
        [
            label,
            *(
                with_interval(row.against.get(name), one) if name in row.against else ""
                for name in there
            ),
        ]
        for one, row, label in rows
        if row.against
    ]
    head = [first, *(_CONTROLS[name] for name in there)]
    return Table(head, cells, "The transplant minus a control.", frozenset(range(1, len(head))))


def _task(task: CultureTaskResult, folder: Path, stem: str) -> Iterator[Passage]:
    designs = {
        "named": "Prompts name the country. ",
        "unnamed": "Prompts do not name the country. ",
    }
    said = [f"{task.division} {designs.get(task.design, '')}{_pairs(task)}"]
    if task.no_claims:
        said.append(task.no_claims)
    yield Passage(said)
    if task.claims:
        yield Passage([], _forests(task, folder, stem), [_claims(task.claims)])
        yield Passage(tables=[_tests(task.claims)], fold="Test by test")
    if task.matched:
        yield Passage(tables=[_donors(task)], fold="Donor languages, and accuracy in them")


def _pairs(task: CultureTaskResult) -> str:
    """Which pair, and how it was found."""
    found = []
    for pair in task.pairs:
        how = {"preset": "the preset", "picked": "picked on other questions"}.get(
            pair["how"], "as given"
        )
        if pair["how"] == "pilot":
            how = f"the best of {pair['tried']:,} on {pair['n']:,} pilot questions"
        name = formatting.component(pair["component"])
        found.append(f"{name}, layer {pair['source']} into layer {pair['target']} ({how})")
    return f"Transplant: {'; '.join(dict.fromkeys(found))}." if found else ""


def _claims(claims: Sequence[CountryClaim]) -> Table:
    """What is shown for each country."""
    rows = [
        [
            _country(one.country),
            STEPS[one.step],
            *(formatting.p_value(one.holm.get(step)) for step in (1, 2, 3)),
            f"{one.n:,}",
        ]
        for one in claims
    ]
    head = ["country", "what is shown", *(f"step {step}, p" for step in (1, 2, 3)), "questions"]
    caption = (
        "A step needs the steps before it and all of its tests; its p is the largest of its tests, "
        "corrected over countries (Holm)."
    )
    return Table(head, rows, caption, frozenset(range(2, len(head))))


def _tests(claims: Sequence[CountryClaim]) -> Table:
    """The p of every test of every country."""
    names = list(dict.fromkeys(name for one in claims for name in one.tests))
    rows = [
        [_country(one.country), *(formatting.p_value(one.tests.get(name)) for name in names)]
        for one in claims
    ]
    head = ["country", *(NAMES.get(name, name) for name in names)]
    caption = "p of each test; 1 where a difference is not above zero. Not corrected."
    return Table(head, rows, caption, frozenset(range(1, len(head))))


def _country(name: str) -> str:
    return with_own_name(name) if name else "all countries"


def _forests(task: CultureTaskResult, folder: Path, stem: str) -> list[Drawn]:
    """Differences in differences by country."""
    found: list[Drawn] = []
    for name, title in (
        ("did_country", "Own country against other countries"),
        ("did_full", "The same, own donor against other donors"),
    ):
        figures: Mapping[str, CultureFigure] = task.differences.get(name, {})
        rows = tuple(
            row(with_own_name(country), "base" if _holds_zero(one) else "true", _estimate(one))
            for country, one in figures.items()
            if country and one.value is not None
        )
        if rows:
            caption = (
                "Closeness of answers to a country's people, times 100: change for the own country "
                f"minus change for others; {sizes([line.marks[0].estimate for line in rows])}."
            )
            place = folder / f"{stem}{safe.file_stem(task.task)}-{name}"
            found.append(draw_forest(title, Forest(rows, True, caption), place))
    return found


def _holds_zero(figure: CultureFigure) -> bool:
    return figure.low is None or figure.high is None or figure.low <= 0 <= figure.high


def _donors(task: CultureTaskResult) -> Table:
    rows = [
        [
            formatting.language(one.lang),
            formatting.percent(one.accuracy),
            "" if one.other is None else formatting.language(one.other),
            "" if one.other is None else formatting.percent(one.other_accuracy),
            "" if one.other is None else ("yes" if one.close else "no"),
        ]
        for one in task.matched.values()
    ]
    head = ["language", "accuracy", "matched with", "accuracy there", "within 5 points"]
    caption = "Accuracy of the unmodified model on the prompts in each language."
    return Table(head, rows, caption, frozenset((1, 3)))


def _measure(one: MeasureResult) -> Iterator[Passage]:
    by_country = [figures for figures in one.rows if figures.country]
    tables = []
    if by_country:
        rows = [(one, figures, with_own_name(figures.country)) for figures in by_country]
        tables += [_filled("country", rows, f"{one.about} {one.fails}"), _controls("country", rows)]
    if one.beside:
        tables.append(_beside(one))
    if tables:
        yield Passage(tables=tables, fold=one.title)


def _beside(one: MeasureResult) -> Table:
    names = list(dict.fromkeys(name for some in one.beside.values() for name in some))
    kept = [name for name in _CONDITIONS if name in one.beside]
    rows = [
        [name, *(formatting.plain(one.beside[each].get(name)) for each in kept)] for name in names
    ]
    head = ["to be read with", *(_CONDITIONS[name] for name in kept)]
    return Table(head, rows, "", frozenset(range(1, len(head))))


def _missing(result: CultureResult) -> Iterable[list[str]]:
    for one in result.measures:
        if one.reason:
            yield [one.title, safe.printable(one.reason)]
    for name, reason in result.missing.items():
        yield [name, safe.printable(reason)]


def _about(result: CultureResult) -> Table:
    rows = [
        [one.title, one.about, one.good, one.fails, one.source, ", ".join(one.tasks)]
        for one in result.measures
    ]
    head = ["measure", "what it is", "good if", "says nothing when", "source", "tasks"]
    return Table(head, rows, "More: docs/culture.md.")


def measure_figures(result: CultureResult) -> pd.DataFrame:
    """Every figure of every measure: a row each."""
    rows: list[dict[str, Any]] = []
    for one in result.measures:
        for figures in one.rows:
            head = {"measure": one.name, "country": figures.country or "all"}
            plain = {"vanilla": figures.vanilla, "transplant": figures.transplant}
            changes = {"change": figures.change, **_prefixed("control", figures.controls)}
            for name, found in {**plain, **changes, **_prefixed("minus", figures.against)}.items():
                if found is not None:
                    names = ("value", "low", "high", "p", "n", "clusters")
                    rows.append(
                        {**head, "figure": name, **{key: getattr(found, key) for key in names}}
                    )
    return pd.DataFrame.from_records(rows)


def _prefixed(prefix: str, figures: Mapping[str, CultureFigure]) -> dict[str, CultureFigure]:
    return {f"{prefix} {name}": one for name, one in figures.items()}


def _facts(result: CultureResult) -> list[Fact]:
    questions = sum(task.questions for task in result.tasks)
    return [
        Fact(f"{questions:,} of {len(result.tasks):,} tasks", "questions tested on"),
        Fact(safe.printable(result.condition), "in the place of the transplant")
        if result.condition != "transplant"
        else Fact("2,000 draws of questions", "intervals"),
        Fact(str(result.seed), "seed"),
    ]


_ = number
