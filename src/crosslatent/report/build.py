"""`build_report`: run folders in; HTML pages, summary.json, figures and tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from crosslatent.analysis import Summary, summarise, to_json
from crosslatent.analysis.data import RunData
from crosslatent.report import across, compared_runs, safe
from crosslatent.report.answers import answers
from crosslatent.report.culture_of_run import culture_of_run
from crosslatent.report.figure import Drawn, Reported, draw_run
from crosslatent.report.front import BIBTEX, Lead, front_view
from crosslatent.report.gains import judged_split
from crosslatent.report.maps import heat_maps
from crosslatent.report.page import render, run_view
from crosslatent.report.paper import write_paper
from crosslatent.report.publish import published
from crosslatent.report.table_files import write_tables
from crosslatent.report.views import RunView, Section
from crosslatent.runs.contents import readable
from crosslatent.runs.reader import RunReader
from crosslatent.selectors import Choosing, summarise_choosing

if TYPE_CHECKING:
    from upath import UPath

PAGE = "report.html"
SUMMARY = "summary.json"
FIGURES = "figures"
TABLES = "tables"
PAPER = "paper"
PAGES = "pages"
TOGETHER = "together"
"""Page of what the runs say together; no run's page has that name."""
STYLE, SCRIPT = ["report.css"], ["report.js"]


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What was written."""

    page: Path
    summary: Path
    figures: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    pages: tuple[Path, ...] = ()
    """Of each run: its figures, and its answers with their data."""
    paper: tuple[Path, ...] = ()
    """Figures and tables of the run that the first page is about; see `paper`."""


@readable()
def build_report(
    runs: Sequence[str | Path | UPath],
    out: Path,
    *,
    seed: int = 0,
    lead: Lead | None = None,
    compare: bool = False,
) -> ReportPaths:
    """Analyse run folders and write their report.

    Everything is written under a temporary name in `out` first and then renamed, so a crash leaves
    the report that was there. What an earlier report wrote and this one does not is removed; other
    files in `out` are left alone.

    Args:
        runs: one or more run folders, or their URLs; no model is needed.
        out: folder for the report, made if it is not there.
        seed: of the intervals.
        lead: what the page starts with, if the runs declare no headline; see `front.front_view`.
        compare: refuse runs that cannot be compared, instead of saying so.

    Raises:
        RunFolderError: a run folder cannot be read, or `out` cannot be written.
        UsageError: a selector of another package cannot be loaded; two runs are one; or `compare`,
            and there are not two that share questions.
    """
    # Its matrices are small: threads wait for each other longer than they work.
    with threadpool_limits(1):
        return _built(summarise(runs, seed=seed, insist=compare), runs, out, lead)


def _built(
    summary: Summary, runs: Sequence[str | Path | UPath], out: Path, lead: Lead | None
) -> ReportPaths:
    opened = [RunData(RunReader(path)) for path in runs]
    test = summary.headline.declared.test if summary.headline else None
    choosing = [
        summarise_choosing(
            data, test=test if test in data.items.splits else None, seed=summary.seed
        )
        for data in opened
    ]
    with published(out, PAGE, replaces=True) as (draft, written):
        _write(summary, opened, choosing, draft, lead)
    return ReportPaths(
        page=out / PAGE,
        summary=out / SUMMARY,
        **{
            name: tuple(file for file in written if file.parent == out / name)
            for name in (FIGURES, PAGES, PAPER, TABLES)
        },
    )


def _write(
    summary: Summary,
    opened: Sequence[RunData],
    choosing: Sequence[Choosing],
    draft: Path,
    lead: Lead | None,
) -> None:
    for name in (FIGURES, PAGES, PAPER, TABLES):
        (draft / name).mkdir()
    made = pages_of(summary, opened, choosing, draft / FIGURES, lead, draft / PAPER)
    for name, text in made.items():
        (draft / name).write_text(text, encoding="utf-8")
    plain = [asdict(one) for one in choosing]
    (draft / SUMMARY).write_text(to_json(summary, choosing=plain), encoding="utf-8")
    write_tables(summary, choosing, draft / TABLES)


def pages_of(
    summary: Summary,
    data: Sequence[RunData],
    choosing: Sequence[Choosing],
    folder: Path,
    lead: Lead | None = None,
    paper: Path | None = None,
) -> dict[str, str]:
    """All pages: their names in the report's folder, and their texts.

    Args:
        summary: the analysis.
        data: the opened run folders, in the order of `summary.runs`: examples come from their rows.
        choosing: how pairs were chosen in each run, in the same order.
        folder: gets the figures.
        lead: see `front.front_view`.
        paper: gets figures and tables for a paper; None = they are not made.
    """
    headline = summary.headline
    test = headline.declared.test if headline is not None else None
    reported = [
        Reported(summary, run, judged_split(run, test), chosen)
        for run, chosen in zip(summary.runs, choosing, strict=True)
    ]
    names = [TOGETHER]
    for run in summary.runs:
        names.append(safe.file_stem(run.task, names))
    del names[0]
    drawn = [draw_run(*one) for one in zip(reported, [folder] * len(names), names, strict=True)]
    views = [run_view(*one) for one in zip(reported, data, drawn, names, strict=True)]
    declares = headline is not None or any(one.manifest.get("headline") for one in data)
    versus = compared_runs.sections(summary.comparison, folder)
    together = [*versus, *across.sections(summary, folder)]
    front = front_view(reported, views, drawn, together, declares=declares, lead=lead)
    script = SCRIPT if any(block.maps for block in front.blocks) else []
    found = {PAGE: render("report.html.j2", front, STYLE, script, bibtex=BIBTEX)}
    if paper is not None:
        at = views.index(front.run)
        shown = [one.part for block in front.blocks for one in block.figures]
        write_paper(reported[at], drawn[at], "".join(shown[:1]), paper)
    found[f"{FIGURES}/index.html"] = _index(drawn, together)
    if together:
        found[f"{PAGES}/{TOGETHER}.html"] = render("together.html.j2", front, STYLE, [])
    for one in zip(reported, data, drawn, views, strict=True):
        found |= _pages_of_run(*one, folder)
    return found


def _index(drawn: Sequence[Mapping[str, list[Drawn]]], together: Sequence[Section]) -> str:
    """The list of all figures."""
    shown = [one for run in drawn for parts in run.values() for one in parts]
    shown += [one for part in together for block in part.blocks for one in block.figures]
    page = {"title": "Figures", "figures": shown}
    return render("figures.html.j2", page, STYLE, [])


def _pages_of_run(
    reported: Reported,
    data: RunData,
    drawn: Mapping[str, list[Drawn]],
    view: RunView,
    folder: Path,
) -> dict[str, str]:
    """The page of a run's figures, the browser of its answers, and its card of culture if any."""
    # A stem holds no dot, so none is another one's with this ending.
    start = f"{PAGES}/{view.name}"
    maps = heat_maps(reported, drawn.get("heatmap", []))
    page, script = answers(data, reported.summary, reported.split, view.name, maps)
    scripts = [*SCRIPT, "answers.js"]
    card = culture_of_run(reported, data, folder, view.name)
    view = replace(view, culture=bool(card))
    return {
        **({f"{start}.culture.html": card} if card else {}),
        f"{start}.html": render("run.html.j2", view, STYLE, SCRIPT if maps else []),
        f"{start}.answers.html": render("answers.html.j2", page, STYLE, scripts),
        f"{start}.answers.js": script,
    }
