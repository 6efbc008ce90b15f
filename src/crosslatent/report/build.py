"""`build_report`: run folders in; one HTML page, summary.json, figures and tables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from crosslatent.analysis import Summary, summarise, to_json
from crosslatent.analysis.data import RunData
from crosslatent.report.first import Lead
from crosslatent.report.page import page_view, render_report
from crosslatent.report.publish import published
from crosslatent.report.table_files import write_tables
from crosslatent.runs.contents import readable
from crosslatent.runs.reader import RunReader
from crosslatent.selectors import Choosing, summarise_choosing

if TYPE_CHECKING:
    from upath import UPath

PAGE = "report.html"
SUMMARY = "summary.json"
FIGURES = "figures"
TABLES = "tables"


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What was written."""

    page: Path
    summary: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]


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
    the report that was there. Other files in `out` are left alone.

    Args:
        runs: one or more run folders, or their URLs; no model is needed.
        out: folder for the report, made if it is not there.
        seed: of the intervals.
        lead: what the page starts with, if the runs declare no headline; see `page.page_view`.
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
    with published(out, PAGE) as (draft, written):
        _write(summary, opened, choosing, draft, lead)
    return ReportPaths(
        page=out / PAGE,
        summary=out / SUMMARY,
        figures=tuple(file for file in written if file.parent == out / FIGURES),
        tables=tuple(file for file in written if file.parent == out / TABLES),
    )


def _write(
    summary: Summary,
    opened: Sequence[RunData],
    choosing: Sequence[Choosing],
    draft: Path,
    lead: Lead | None,
) -> None:
    (draft / FIGURES).mkdir()
    page = page_view(summary, opened, choosing, draft / FIGURES, lead)
    (draft / PAGE).write_text(render_report(page), encoding="utf-8")
    plain = [asdict(one) for one in choosing]
    (draft / SUMMARY).write_text(to_json(summary, choosing=plain), encoding="utf-8")
    (draft / TABLES).mkdir()
    write_tables(summary, choosing, draft / TABLES)
