"""The HTML page: sections from summaries and figures, and the template filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from crosslatent.analysis import Summary
from crosslatent.analysis.data import RunData
from crosslatent.analysis.headline import HeadlineResult
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import (
    across,
    evidence,
    first,
    formatting,
    gains,
    graded,
    maps,
    safe,
    sections,
    selector_verdicts,
    traits,
    verdicts,
)
from crosslatent.report.attribution import attribution
from crosslatent.report.examples import Example, ExampleSite, examples, site_of
from crosslatent.report.figure import FIGURES, Drawn, Reported, draw_run
from crosslatent.report.views import Fact, HeadlineView, PageView, Passage, RunView, Section
from crosslatent.selectors import Choosing
from crosslatent.stats import METHODS

_TEMPLATES = files("crosslatent.report") / "templates"


def render(
    template: str, page: Any, styles: Sequence[str], scripts: Sequence[str], **names: Sequence[str]
) -> str:
    """A page as one self-contained HTML text.

    Args:
        template: its file's name.
        page: what the template shows as ``page``.
        styles: names of files of the templates, or the texts themselves.
        scripts: the same.
        names: what else the template knows.
    """
    environment = Environment(
        loader=PackageLoader("crosslatent.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=safe.in_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(names, formatting=formatting)
    return environment.get_template(template).render(
        page=page, css="".join(map(_text, styles)), script="".join(map(_text, scripts))
    )


def _text(name: str) -> str:
    """The text of a file of the templates; of what is none, itself."""
    if not name.endswith((".css", ".js")):
        return name
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def render_report(page: PageView) -> str:
    """The page of a report as one self-contained HTML text."""
    mapped = any(b.maps for run in page.runs for s in run.sections for b in s.blocks)
    return render("report.html.j2", page, ["report.css"], ["report.js"] if mapped else [])


def page_view(
    summary: Summary,
    data: Sequence[RunData],
    choosing: Sequence[Choosing],
    folder: Path,
    lead: first.Lead | None = None,
) -> PageView:
    """Everything the page shows.

    Args:
        summary: the analysis.
        data: the opened run folders, in the order of `summary.runs`: examples come from their rows.
        choosing: how pairs were chosen in each run, in the same order.
        folder: gets the figures.
        lead: what the page starts with if no headline was declared; by default what was found in
            the first run that can say something.
    """
    headline = summary.headline
    declares = headline is not None or any(one.manifest.get("headline") for one in data)
    lead = None if declares else lead or first.lead_of(choosing)
    declared = headline.declared if headline is not None else None
    reported = [
        Reported(summary, run, gains.judged_split(run, declared.test if declared else None), chosen)
        for run, chosen in zip(summary.runs, choosing, strict=True)
    ]
    stems: list[str] = []
    for run in summary.runs:
        stems.append(safe.file_stem(run.task, stems))
    drawn = [draw_run(*one) for one in zip(reported, [folder] * len(stems), stems, strict=True)]
    return PageView(
        title=_title(headline, summary.runs) if lead is None else first.lead_title(lead),
        carries=_carries(summary.runs),
        models=formatting.listing(dict.fromkeys(run.model for run in summary.runs if run.model)),
        headline=_first_card(headline, lead, summary.runs),
        headline_missing=summary.headline_missing if declares else None,
        declared=headline is not None,
        beside=[
            (run.title, sentences)
            for run in summary.runs
            if (headline is None or run.name != headline.run) and (sentences := first.beside(run))
        ],
        bounds=[
            (run.title, [verdicts.BOUND.say(one) for one in run.over_controls])
            for run in summary.runs
            if run.over_controls
        ],
        runs=[
            run_view(one, opened, headline, figures, f"run-{place}")
            for place, (one, opened, figures) in enumerate(zip(reported, data, drawn, strict=True))
        ],
        across=across.sections(summary, folder),
        method=_method(summary),
    )


def _first_card(
    headline: HeadlineResult | None, lead: first.Lead | None, runs: Sequence[RunSummary]
) -> HeadlineView | None:
    if headline is not None:
        return first.headline_view(headline, runs)
    return None if lead is None else first.lead_view(lead)


def run_view(
    reported: Reported,
    data: RunData,
    headline: HeadlineResult | None,
    drawn: Mapping[str, list[Drawn]],
    anchor: str,
) -> RunView:
    """One run folder's part of the page."""
    run = reported.summary
    declared = headline.declared if headline is not None else None
    component = declared.component if declared and declared.component in run.components else None
    site = site_of(run, component, reported.split)
    return RunView(
        anchor=anchor,
        title=run.title,
        intro=_intro(run),
        missing=[*run.missing, *selector_verdicts.missing(reported.choosing)],
        site_sentence=_site_sentence(site, run) if site is not None else "",
        examples=examples(data, site) if site is not None else [],
        sections=[
            Section(title, [block for block in blocks if block])
            for title, blocks in _sections(reported, drawn)
            if any(blocks)
        ],
        cost=sections.cost_facts(run),
        notes=[*sections.notes(run), *graded.notes(run)],
    )


def _sections(
    reported: Reported, drawn: Mapping[str, list[Drawn]]
) -> Iterator[tuple[str, list[Passage]]]:
    """Headings with their blocks; those that the run cannot fill are empty."""
    run, split = reported.summary, reported.split

    def figures(*names: str) -> list[Drawn]:
        return [figure for name in names for figure in drawn.get(name, [])]

    scores = (
        "Graded scores",
        [Passage(graded.score_sentences(run), figures("scores", "scores_gain"))],
    )
    own_score = any(score.metric == run.metric for score in run.scores)
    if own_score:
        yield scores
    yield "What the unmodified model knows", _known(run, figures("accuracy"))
    if "conditions" in drawn:
        said = "Every condition is compared with the unmodified model, on the same questions."
        yield "Under conditions", [Passage([said], figures("conditions"))]
    yield "Every pair of layers", [_maps(reported, figures("heatmap"))]
    yield (
        "Which layers matter",
        [
            Passage([evidence.layer_sentence(run, profile) for profile in run.layers]),
            Passage(figures=figures("layers"), fold="Layer by layer"),
        ],
    )
    yield (
        "The upper bound, and how much of it is luck",
        [
            Passage(
                [verdicts.BOUND.say(one) for one in run.over_controls], figures("over_controls")
            ),
            Passage(sections.bounds_sentences(run), figures("upper_bound")),
            Passage(figures=figures("upper_bound_by_layer"), fold="Upper bound by layer"),
        ],
    )
    table = gains.gain_table(run)
    yield (
        "Picked on some questions, tested on others" if "gain" in drawn else "",
        [
            Passage(gains.gain_sentences(run, split), figures("gain", "compared"))
            if "gain" in drawn
            else Passage(),
            Passage(tables=[table] if table else [], fold="Every pick on every split"),
            *evidence.significance(run, split),
        ],
    )
    yield from _chosen(reported, figures("selectors", "selectors_versus_pilot"))
    if not own_score:
        yield scores
    yield (
        "Does the answer stay in the language?",
        [Passage(graded.fidelity_sentences(run), figures("fidelity", "fidelity_change"))],
    )
    yield from _what_is_carried(reported, figures)
    yield "", [Passage(figures=figures("kinds"), fold="Gains by kind of question")]
    yield "Would other questions say the same?", traits.stability(run)
    yield "Does the gain depend on the language?", traits.languages(run)
    others = [name for name in drawn if name not in FIGURES.own]
    yield "Figures of other packages", [Passage(figures=figures(*others))]


def _known(run: RunSummary, figures: list[Drawn]) -> list[Passage]:
    rules = graded.rules_table(run)
    return [
        Passage(sections.accuracy_sentences(run), figures),
        Passage(tables=[rules] if rules else [], fold="What depends on the answer rule"),
    ]


def _maps(reported: Reported, figures: list[Drawn]) -> Passage:
    run, split = reported.summary, reported.split
    if not figures:
        return Passage()
    return Passage(
        [maps.map_sentence(run, maps.shown_grids(run, split), split)],
        figures,
        maps=[maps.payload(run, figure.part, split) for figure in figures],
        chooser=[maps.title_of(grid) for grid in maps.own_grids(run, figures[0].part, split)],
    )


def _chosen(reported: Reported, figures: list[Drawn]) -> Iterator[tuple[str, list[Passage]]]:
    """How pairs were chosen for each question."""
    choosing, new = reported.choosing, reported.summary.exploratory
    title = "Choosing the pair without the answer" if choosing.evaluation else ""
    blocks = attribution(choosing.attribution)
    if choosing.evaluation is not None:
        table = selector_verdicts.selectors_table(choosing.evaluation)
        said = selector_verdicts.verdict(choosing.evaluation, new)
        blocks = [
            Passage(said, figures),
            Passage(tables=[table], fold="Every selector"),
            *blocks,
        ]
    yield title, blocks


def _what_is_carried(reported: Reported, figures: Any) -> Iterator[tuple[str, list[Passage]]]:
    """The picked pair with other vectors: controls, donors by their answers, what comes out."""
    run, split = reported.summary, reported.split
    must = (
        "If the counterpart of this very question matters, its vector must do better than each of "
        "these at the same pair."
    )
    yield (
        "The same pair with other vectors",
        [Passage([must], controls)] if (controls := figures("controls")) else [],
    )
    donors = (
        "Donors, grouped by what their answer shares with the question\u2019s. They are chosen "
        "with the answer known, so they say what a vector carries; an upper bound is not judged by "
        "them."
    )
    spelled = (
        "Questions, grouped by whether the right answer is spelled the same in both languages. "
        "Where it is, the tokens that the counterpart would write are right here, too; where it is "
        "not, they are wrong, and what they mean must be carried."
    )
    blocks = []
    if strata := figures("strata"):
        blocks.append(Passage([donors, *gains.carried_sentences(run, split)], strata))
    if spelling := figures("spelling"):
        blocks.append(Passage([spelled, *gains.spelling_sentences(run, split)], spelling))
    yield "What is carried", blocks
    yield (
        "Does the output follow the donor?",
        [Passage(sections.follow_sentences(run, split), follow)]
        if (follow := figures("follow"))
        else [],
    )


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


def _site_sentence(site: ExampleSite, run: RunSummary) -> str:
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
