"""The HTML page: views from summaries, and the template filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from crosslatent.analysis.data import RunData
from crosslatent.analysis.results import (
    ALL,
    Grid,
    HeadlineResult,
    RunSummary,
    Summary,
    control_name,
)
from crosslatent.report import (
    across,
    attribution,
    colours,
    evidence,
    forest,
    gains,
    graded,
    maps,
    sections,
    selectors,
    traits,
    words,
)
from crosslatent.report.examples import Example, Site, examples, site_of
from crosslatent.report.safe import in_page, in_script
from crosslatent.report.views import (
    Condition,
    Fact,
    Fold,
    HeadlineView,
    MapPanel,
    PageView,
    RunView,
)
from crosslatent.selectors import Choosing
from crosslatent.stats import METHODS

_CONDITIONS = {
    "tested_on_another_split": "tested on questions that had no part in choosing the pair",
    "gain_reaches_aim": "the gain reaches the {aim} points aimed at",
    "gain_interval_above_zero": "the interval of the gain lies above zero",
    "no_control_above_zero": "no control at the same pair has an interval above zero",
    "true_minus_each_control_above_zero": "true minus each control lies above zero",
    "upper_bound_beside_every_control": "the upper bound stands beside every control",
}


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
    environment.globals.update(words=words, number=forest.number)
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
        choosing: likewise, how pairs were chosen in each.
    """
    headline = summary.headline
    return PageView(
        title=_title(headline),
        models=words.listing(dict.fromkeys(run.model for run in summary.runs if run.model)),
        headline=_headline_view(headline) if headline is not None else None,
        headline_missing=summary.headline_missing,
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
    overview = [grid for grid in run.grids if (grid.split, grid.lang) == (ALL, ALL)]
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
        scores=graded.scores_section(run, split),
        fidelity=graded.fidelity_section(run, split),
        map_sentence=_map_sentence(overview),
        map_views=[maps.map_view(grid).title for grid in _grids(run, run.components[:1])],
        maps=[_map_panel(run, place, anchor) for place in range(len(run.components))],
        over_controls=evidence.over_controls(run),
        bounds_sentence=sections.bounds_sentence(run),
        bounds=sections.bound_panels(run),
        bound_layers=sections.layer_panels(run),
        gain_sentences=gains.gain_sentences(run, split),
        gains=gains.gain_panels(run, split),
        compared=gains.compared_panel(run, split),
        gain_table=gains.gain_table(run),
        **_folds(run, split),
        selectors=selectors.selectors_section(evaluation) if evaluation else None,
        selector_table=selectors.selectors_table(evaluation) if evaluation else None,
        attribution=attribution.attribution_fold(choosing.attribution),
        controls=gains.control_panels(run, split),
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


def _title(headline: HeadlineResult | None) -> str:
    if headline is None:
        return "Carrying one activation from one language to another"
    return (
        f"Carrying one activation across: {words.count(headline.repaired, 'answer')} repaired, "
        f"{headline.broken} broken"
    )


def _headline_view(headline: HeadlineResult) -> HeadlineView:
    gain = headline.gain
    declared = headline.declared
    what, aim = words.component(declared.component), words.points(declared.least_gain)
    carried = f"{what} output of block {headline.source} carried to block {headline.target}"
    where = f"{headline.n} {declared.test} questions about {headline.clusters} facts"
    before, after = words.percent(headline.vanilla.value), words.percent(headline.transplant.value)
    changes = (
        f"{words.count(headline.repaired, 'answer')} repaired, {headline.broken} broken"
        f"{gains.test_note(headline.p_value, headline.p_method)}."
        f"{gains.few_note(gain, headline.changed_clusters)}"
    )
    picked = (
        f"The pair was picked on the {declared.tune} questions; this comparison was declared "
        "before any answer existed."
    )
    shares = f"{before} right unmodified, {after} with the {carried}."
    sentences = [
        f"{words.first_upper(words.verdict(gain))} on {where}: {shares}",
        f"{changes} {picked}",
    ]
    if headline.warning:
        sentences.append(headline.warning)
    return HeadlineView(
        number=words.points(gain.value),
        unit=f"points, {words.interval(gain, difference=True)}",
        sentences=sentences,
        conditions=[
            Condition(_CONDITIONS[name].format(aim=aim), _state(held), _against(headline, name))
            for name, held in headline.conditions.items()
        ],
        verdict="Every condition declared beforehand holds."
        if headline.holds
        else "Not every condition declared beforehand holds.",
    )


def _against(headline: HeadlineResult, condition: str) -> str:
    """The controls that a condition fails for, with their figures."""
    failing = {
        "no_control_above_zero": [(c, c.gain) for c in headline.controls if c.gain.above_zero],
        "true_minus_each_control_above_zero": [
            (c, c.difference) for c in headline.controls if not c.difference.above_zero
        ],
    }.get(condition, [])
    return "; ".join(
        f"{words.control(control_name(control.control, control.stratum))}: "
        f"{words.with_interval(estimate, difference=True)}"
        for control, estimate in failing
        if control_name(control.control, control.stratum) in headline.declared.controls
    )


def _state(held: bool | None) -> str:
    return "open" if held is None else "holds" if held else "fails"


def _intro(run: RunSummary) -> str:
    languages = words.listing(words.language(lang) for lang in run.coverage.languages)
    asked = {
        "en->x": f"asked in {languages}; the counterpart that the activation comes from is English",
        "x->en": f"asked in English; the counterpart that the activation comes from is {languages}",
    }.get(run.direction, f"in {languages}")
    return (
        f"{words.count(run.coverage.items, 'question')} about "
        f"{words.count(run.coverage.clusters, 'independent fact')}, {asked}."
    )


def _site_sentence(site: Site, run: RunSummary) -> str:
    source, target = site.pair
    what = (
        f"the {words.component(site.component)} output of block {source} carried to block {target}"
    )
    if run.strength != 1:
        what += f" at strength {run.strength:g}"
    touched = "only one" if run.positions == 1 else f"last of {run.positions}"
    if site.picked:
        return (
            f"From the {site.split} questions, with {what}, the pair picked beforehand. The marked "
            f"token is the {touched} touched: read in the counterpart, replaced in the question."
        )
    return f"With {what}, the best pair in hindsight. The marked token is the {touched} touched."


def _map_sentence(overview: Sequence[Grid]) -> str:
    if not overview:
        return ""
    if overview[0].vanilla.value is None:
        return "Each cell is one pair: the share of answers that the transplant changes."
    return (
        "Each cell is one pair: a vector read in block \u201csource\u201d of the counterpart "
        "replaces the one in block \u201ctarget\u201d of the question. Blue cells answer more "
        "questions right than the unmodified model, orange ones fewer. The outline marks the pair "
        "picked on the pilot questions. The best cell of a map is optimistic; the test further "
        "down is not."
    )


def _grids(run: RunSummary, components: Sequence[str]) -> list[Grid]:
    """Grids of some components; a split or language that is all there is is not shown twice."""
    found = [grid for grid in run.grids if grid.component in components]
    splits = {grid.split for grid in found if grid.split != ALL}
    langs = {grid.lang for grid in found if grid.lang != ALL}
    return [
        grid
        for grid in found
        if (grid.split == ALL or len(splits) > 1) and (grid.lang == ALL or len(langs) > 1)
    ]


def _map_panel(run: RunSummary, place: int, anchor: str) -> MapPanel:
    component = run.components[place]
    grids = _grids(run, [component])
    pick = gains.pooled(run, component)
    mark = pick.choices[ALL].pair if pick is not None else None
    figure = maps.figure(grids[0], mark=mark, limit=_limit(run, grids[0]))
    views = [maps.map_view(grid) for grid in grids]
    limits = [100 * _limit(run, grid) for grid in grids]
    payload: dict[str, Any] = {
        "figure": json.loads(figure.to_json()),
        "views": [
            {"z": view.z, "text": view.labels, "hover": view.hover, "limit": limit}
            for view, limit in zip(views, limits, strict=True)
        ],
        "light": colours.DIVERGING_LIGHT if views[0].has_gain else colours.SEQUENTIAL_LIGHT,
        "dark": colours.DIVERGING_DARK if views[0].has_gain else colours.SEQUENTIAL_DARK,
    }
    sizes = forest.sizes([grids[0].vanilla]) if views[0].has_gain else f"n = {grids[0].n}"
    return MapPanel(
        key=f"{anchor}-{component}",
        title=words.first_upper(words.component(component)),
        note=f"All questions: {sizes}; unmodified {words.percent(grids[0].vanilla.value)}.",
        payload=in_script(payload),
    )


def _limit(run: RunSummary, grid: Grid) -> float:
    """End of the colour scale: one for all components, so that their maps can be compared."""
    return maps.largest_gain(
        [other for other in run.grids if (other.split, other.lang) == (grid.split, grid.lang)]
    )


def _method(summary: Summary) -> list[Fact]:
    versions = {name: v for run in summary.runs for name, v in run.versions.items()}
    seeds = sorted({run.run_seed for run in summary.runs if run.run_seed is not None})
    return [
        Fact(
            f"{METHODS}; {summary.resamples:,} resamples, seed {summary.seed}, "
            f"{100 * summary.confidence:.0f}\u202f% confidence",
            "intervals",
        ),
        Fact(words.listing(map(str, seeds)) or "not recorded", "seed of the controls"),
        Fact(
            words.listing(f"{name} {version}" for name, version in versions.items())
            or "not recorded",
            "software",
        ),
        Fact(words.listing(run.created for run in summary.runs if run.created), "runs made"),
    ]


__all__ = ["Example", "page_view", "render", "run_view"]
