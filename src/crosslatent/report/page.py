"""The page of one run: sections from its summary and figures; and how templates are filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from crosslatent.analysis import Summary
from crosslatent.analysis.data import RunData
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.languages import direction
from crosslatent.core.specs import Component, check_component
from crosslatent.report import (
    formatting,
    gain_parts,
    gains,
    graded,
    maps,
    safe,
    sections,
    selector_verdicts,
    traits,
    verdicts,
)
from crosslatent.report.examples import ExampleSite, examples, site_of
from crosslatent.report.figure import FIGURES, Drawn, Reported
from crosslatent.report.front import beside, carries
from crosslatent.report.views import Fact, Passage, RunView, Section
from crosslatent.stats import METHODS

_TEMPLATES = files("crosslatent.report") / "templates"


def render(
    template: str,
    page: Any,
    styles: Sequence[str],
    scripts: Sequence[str],
    **names: str | Sequence[str],
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
    environment.globals.update(names, formatting=formatting, direction=direction, address=quote)
    return environment.get_template(template).render(
        page=page, css="".join(map(_text, styles)), script="".join(map(_text, scripts))
    )


def _text(name: str) -> str:
    """The text of a file of the templates; of what is none, itself."""
    if not name.endswith((".css", ".js")):
        return name
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def run_view(
    reported: Reported, data: RunData, drawn: Mapping[str, list[Drawn]], name: str
) -> RunView:
    """The page of one run folder.

    Args:
        reported: its analysis.
        data: the opened run folder: examples come from its rows.
        drawn: its figures.
        name: what its files begin with.
    """
    run = reported.summary
    site = site_of(run, _component(reported), reported.split)
    return RunView(
        name=name,
        title=run.title,
        intro=_intro(run),
        carries=carries([run]),
        declared=reported.analysis.headline is not None,
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
        method=_method(reported.analysis),
    )


def _component(reported: Reported) -> Component | None:
    """The component that was declared, else that of the finding; None if there is neither."""
    headline, finding = reported.analysis.headline, reported.choosing.finding
    if headline is not None:
        declared = headline.declared.component
        return declared if declared in reported.summary.components else None
    return check_component(finding.pair.component) if finding is not None else None


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
    ways = Passage(beside(run), figures("compared"))
    yield "Beside other ways of answering", [ways]
    if "conditions" in drawn:
        said = "Every condition is compared with the unmodified model, on the same questions."
        yield "Under conditions", [Passage([said], figures("conditions"))]
    yield "Every pair of layers", [maps.heat_maps(reported, figures("heatmap"))]
    yield (
        "Which layers matter",
        [
            Passage([sections.layer_sentence(run, profile) for profile in run.layers]),
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
            Passage(gains.gain_sentences(run, split), figures("gain"))
            if "gain" in drawn
            else Passage(),
            Passage(tables=[table] if table else [], fold="Every pick on every split"),
            *sections.significance(run, split),
        ],
    )
    yield from _chosen(reported, figures("selectors", "selectors_versus_pilot"))
    if not own_score:
        yield scores
    yield (
        "Does the answer stay in the language?",
        [Passage(graded.fidelity_sentences(run), figures("fidelity", "fidelity_change"))],
    )
    yield "Why the pair works, or not", _parts(run, split, figures("parts_of_gain"))
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


def _chosen(reported: Reported, figures: list[Drawn]) -> Iterator[tuple[str, list[Passage]]]:
    """How pairs were chosen for each question."""
    choosing, new = reported.choosing, reported.summary.exploratory
    title = "Choosing the pair without the answer" if choosing.evaluation else ""
    blocks = selector_verdicts.attribution(choosing.attribution)
    if choosing.evaluation is not None:
        table = selector_verdicts.selectors_table(choosing.evaluation)
        said = selector_verdicts.verdict(choosing.evaluation, new)
        blocks = [
            Passage(said, figures),
            Passage(tables=[table], fold="Every selector"),
            *blocks,
        ]
    yield title, blocks


def _parts(run: RunSummary, split: str | None, figures: list[Drawn]) -> list[Passage]:
    """The gain in four parts."""
    table = gain_parts.split_table(run, split)
    return [
        Passage(gain_parts.split_sentences(run, split), figures),
        Passage(tables=[table] if table else [], fold="Every part in each language"),
    ]


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


__all__ = ["render", "run_view"]
