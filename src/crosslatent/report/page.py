"""The HTML page: views from summaries, and the template filled in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from crosslatent.analysis import Summary
from crosslatent.analysis.data import RunData
from crosslatent.analysis.headline import HeadlineResult
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import (
    across,
    attribution,
    conditions,
    diagnosis,
    evidence,
    first,
    forest,
    formatting,
    gains,
    graded,
    map_panels,
    maps,
    sections,
    selectors,
    traits,
)
from crosslatent.report.examples import Example, Site, examples, site_of
from crosslatent.report.safe import in_page
from crosslatent.report.views import (
    Fact,
    Fold,
    PageView,
    RunView,
)
from crosslatent.selectors import Choosing
from crosslatent.stats import METHODS


def render(page: PageView) -> str:
    """The page as one self-contained HTML text."""
    environment = Environment(
        loader=PackageLoader("crosslatent.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=in_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(formatting=formatting, number=forest.number)
    folder = files("crosslatent.report") / "templates"
    return environment.get_template("report.html.j2").render(
        page=page,
        css=(folder / "report.css").read_text(encoding="utf-8"),
        script=(folder / "report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs() if any(run.maps for run in page.runs) else "",
    )


def page_view(summary: Summary, data: Sequence[RunData], choosing: Sequence[Choosing]) -> PageView:
    """Everything the page shows.

    Args:
        summary: the analysis.
        data: the opened run folders, in the order of `summary.runs`: examples come from their rows.
        choosing: how pairs were chosen in each run, in the same order.
    """
    headline = summary.headline
    return PageView(
        title=_title(headline, summary.runs),
        carries=_carries(summary.runs),
        models=formatting.listing(dict.fromkeys(run.model for run in summary.runs if run.model)),
        headline=first.headline_view(headline, summary.runs) if headline is not None else None,
        headline_missing=summary.headline_missing,
        beside=[
            (run.title, sentences)
            for run in summary.runs
            if (headline is None or run.name != headline.run) and (sentences := first.beside(run))
        ],
        bounds=[
            (run.title, panel.sentences)
            for run in summary.runs
            if (panel := evidence.over_controls(run)) is not None
        ],
        runs=[
            run_view(run, opened, headline, chosen, f"run-{place}")
            for place, (run, opened, chosen) in enumerate(
                zip(summary.runs, data, choosing, strict=True)
            )
        ],
        modules=across.modules_section(summary),
        repeats=across.repeats_table(summary),
        method=_method(summary),
    )


def run_view(
    run: RunSummary,
    data: RunData,
    headline: HeadlineResult | None,
    choosing: Choosing,
    anchor: str,
) -> RunView:
    """One run folder's part of the page."""
    declared = headline.declared if headline is not None else None
    split = gains.judged_split(run, declared.test if declared else None)
    component = declared.component if declared and declared.component in run.components else None
    site = site_of(run, component, split)
    evaluation = choosing.evaluation
    grids = map_panels.shown_grids(run, split)
    return RunView(
        anchor=anchor,
        title=run.title,
        intro=_intro(run),
        missing=[*run.missing, *selectors.missing(choosing)],
        site=site,
        site_sentence=_site_sentence(site, run) if site is not None else "",
        examples=examples(data, site) if site is not None else [],
        accuracy=sections.accuracy_panel(run),
        rules=graded.rules_table(run),
        conditions=conditions.condition_panel(run, split),
        scores=graded.scores_section(run, split),
        fidelity=graded.fidelity_section(run, split),
        map_sentence=map_panels.map_sentence(run, grids, split),
        map_views=[
            maps.map_view(grid).title for grid in grids if grid.component == run.components[0]
        ],
        maps=[map_panels.map_panel(run, component, grids, anchor) for component in run.components],
        over_controls=evidence.over_controls(run),
        bounds_sentences=sections.bounds_sentences(run),
        bounds=sections.bound_panels(run),
        bound_layers=sections.layer_panels(run),
        gain_sentences=gains.gain_sentences(run, split),
        gains=gains.gain_panels(run, split),
        compared=gains.compared_panel(run, split),
        gain_table=gains.gain_table(run),
        **_folds(run, split),
        selectors=selectors.selectors_section(evaluation, run.exploratory) if evaluation else None,
        selector_table=selectors.selectors_table(evaluation) if evaluation else None,
        attribution=attribution.attribution_fold(choosing.attribution),
        controls=gains.control_panels(run, split),
        diagnosis=diagnosis.strata_panels(run, split),
        spelling=diagnosis.spelling_panels(run, split),
        follow=sections.follow_panel(run, split),
        strata=gains.strata_panels(run, split),
        cost=sections.cost_facts(run),
        notes=[*sections.notes(run), *graded.notes(run)],
    )


def _folds(run: RunSummary, split: str | None) -> dict[str, Fold | None]:
    """The parts that open on a click, by the field of the view that they fill."""
    return {
        "tests": evidence.significance(run, split),
        "layers": evidence.layers(run),
        "languages": traits.languages(run),
        "stability": traits.stability(run),
    }


def _carries(runs: Sequence[RunSummary]) -> bool:
    return any(run.components for run in runs) or not any(run.conditions for run in runs)


def _title(headline: HeadlineResult | None, runs: Sequence[RunSummary]) -> str:
    if headline is None and not _carries(runs):
        return "A model under conditions"
    if headline is None:
        return "Carrying one activation from one language to another"
    return (
        f"Carrying one activation across: {formatting.count(headline.repaired, 'answer')} "
        "repaired, "
        f"{headline.broken} broken"
    )


def _intro(run: RunSummary) -> str:
    languages = formatting.listing(formatting.language(lang) for lang in run.coverage.languages)
    asked = {
        "en->x": f"asked in {languages}; the counterpart that the activation comes from is English",
        "x->en": f"asked in English; the counterpart that the activation comes from is {languages}",
    }.get(run.direction, f"in {languages}")
    return (
        f"{formatting.count(run.coverage.items, 'question')} about "
        f"{formatting.count(run.coverage.clusters, 'independent fact')}, {asked}."
    )


def _site_sentence(site: Site, run: RunSummary) -> str:
    source, target = site.pair
    what = (
        f"the {formatting.component(site.component)} output of block {source} carried to block "
        f"{target}"
    )
    if run.strength != 1:
        what += f" at strength {run.strength:g}"
    named = gains.where_named(run, site.component, site.pair)
    touched = "only one" if run.positions == 1 else f"last of {run.positions}"
    if site.picked:
        return (
            f"From the {site.split} questions, with {what}, the pair picked beforehand. The marked "
            f"token is the {touched} touched: read in the counterpart, replaced in the question. "
            f"{named}"
        ).strip()
    return (
        f"With {what}, the best pair in hindsight. The marked token is the {touched} touched. "
        f"{named}"
    ).strip()


def _method(summary: Summary) -> list[Fact]:
    versions = {name: v for run in summary.runs for name, v in run.versions.items()}
    seeds = sorted({run.run_seed for run in summary.runs if run.run_seed is not None})
    return [
        Fact(
            f"{METHODS}; {summary.resamples:,} resamples, seed {summary.seed}, "
            f"{100 * summary.confidence:.0f}\u202f% confidence",
            "intervals",
        ),
        Fact(formatting.listing(map(str, seeds)) or "not recorded", "seed of the controls"),
        Fact(
            formatting.listing(f"{name} {version}" for name, version in versions.items())
            or "not recorded",
            "software",
        ),
        Fact(formatting.listing(run.created for run in summary.runs if run.created), "runs made"),
    ]


__all__ = ["Example", "page_view", "render", "run_view"]
