"""`write_evaluation_report`: conditions side by side as an HTML page, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation, Overlap
from crosslatent.report import formatting
from crosslatent.report.figure import Drawn, draw_forest
from crosslatent.report.forest import Forest, Row, row, sizes
from crosslatent.report.lens.evaluation_tables import (
    asked,
    condition_table,
    language_table,
    write_tables,
)
from crosslatent.report.lens.evaluation_words import (
    direction,
    marked,
    opening,
    state,
    targets,
    verdict,
)
from crosslatent.report.lens.marks import isolated, name
from crosslatent.report.page import render
from crosslatent.report.publish import published
from crosslatent.report.safe import file_stem, printable
from crosslatent.report.views import Fact, Passage, Table
from crosslatent.stats import METHODS, Estimate

PAGE = "evaluation.html"
_CAPTION = (
    "Points of accuracy more or less than the unmodified model on the same questions. Whiskers: "
    "95\u202f% intervals from resampling independent facts. Blue: above zero; orange: below zero; "
    "black: neither."
)
_EXPOSED = (
    "Where questions were trained on, the label says how many, and no colour calls it a gain."
)
_KINDS = {"gain": "true", "loss": "lost", "open": "base"}


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """One sentence on a condition. `state`: gain, loss or open, of the target languages."""

    name: str
    about: str
    sentence: str
    state: str
    notes: list[str]


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """Everything on the page."""

    title: str
    opening: list[str]
    verdicts: list[ConditionVerdict]
    changes: list[Passage]
    table: Table
    by_language: Passage
    languages: Table
    failures: Table | None
    notes: list[str]
    method: list[Fact]


def write_evaluation_report(evaluation: Evaluation, out: Path) -> list[Path]:
    """Write what an evaluation found: ``evaluation.html``, ``figures/`` and ``tables/``.

    Args:
        evaluation: the conditions; no model is needed.
        out: folder, made if it is not there; other files in it are left alone.

    Returns:
        The files, the page last.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    with published(out, PAGE) as (draft, files):
        page = page_view(evaluation, draft / "figures")
        text = render("lens/evaluation.html.j2", page, ["report.css", "lens/lens.css"], [])
        (draft / PAGE).write_text(text, encoding="utf-8")
        write_tables(evaluation, draft / "tables")
    return files


def page_view(evaluation: Evaluation, folder: Path) -> EvaluationView:
    """What the page shows, ready for the template; the figures go to `folder`."""
    others = [one for one in evaluation.conditions if one.kind != "unmodified"]
    return EvaluationView(
        title=f"{isolated(printable(evaluation.task))}: what each condition changes",
        opening=opening(evaluation),
        verdicts=[_verdict(evaluation, one) for one in evaluation.conditions],
        changes=_changes(evaluation, others, folder),
        table=condition_table(evaluation),
        by_language=Passage(figures=_by_language(evaluation, others, folder)),
        languages=language_table(evaluation),
        failures=_failures(evaluation),
        notes=evaluation.notes,
        method=_method(evaluation),
    )


def _verdict(evaluation: Evaluation, one: ConditionResult) -> ConditionVerdict:
    return ConditionVerdict(
        name=printable(one.name),
        about=one.about,
        sentence=verdict(evaluation, one),
        state=state(evaluation, one),
        notes=one.notes,
    )


def _changes(
    evaluation: Evaluation, others: Sequence[ConditionResult], folder: Path
) -> list[Passage]:
    """Two figures on one scale, the target languages and the central one; then its KL."""
    found: list[Passage] = []
    for title, forest in changes(evaluation, others).items():
        key = ALL if not found else evaluation.central
        if forest.rows:
            stem = folder / ("changes-central" if found else "changes-target")
            drawn = draw_forest(title, forest, stem)
            found.append(Passage(_left_out(others, key), [drawn]))
        elif others:
            found.append(Passage([f"Nothing was asked in {title}."]))
    forest = _kl(others)
    if forest.rows:
        title = f"{isolated(name(evaluation.central))} text, KL in nats per token"
        found.append(Passage(figures=[draw_forest(title, forest, folder / "kl")]))
    return found


def changes(evaluation: Evaluation, others: Sequence[ConditionResult]) -> dict[str, Forest]:
    """Change under each condition in the target languages, and in the central one, by title."""
    sides = {targets(evaluation): ALL, isolated(name(evaluation.central)): evaluation.central}
    both = [one.change.get(key) for one in others for key in sides.values()]
    scale = _shared_scale(both)
    caption = " ".join([_CAPTION, *([_EXPOSED] if any(one.is_exposed for one in others) else [])])
    return {
        formatting.first_upper(title): _forest(
            [
                _row(marked(isolated(printable(one.name)), one, key), one, key)
                for one in others
                if key in one.change
            ],
            scale,
            caption,
        )
        for title, key in sides.items()
    }


def _left_out(others: Sequence[ConditionResult], key: str) -> list[str]:
    """A sentence on the conditions that a figure cannot show, if there are any."""
    missing = [isolated(printable(one.name)) for one in others if key not in one.change]
    return [f"Not measured under {formatting.listing(missing)}."] if missing else []


def _kl(others: Sequence[ConditionResult]) -> Forest:
    """How far the next token's distribution moves on texts in the central language."""
    measured = [(one, one.kl) for one in others if one.kl is not None and one.kl.value is not None]
    rows = tuple(
        row(isolated(printable(one.name)), "base", kl, _exposed(one.kl_trained_on))
        for one, kl in measured
    )
    texts = formatting.range_of([kl.n for _, kl in measured])
    caption = f"KL divergence from the unmodified model on {texts} texts in the central language."
    return Forest(rows, False, caption, plain=True)


def _exposed(found: Overlap | None) -> str:
    """How much of a figure rests on training data; empty for none."""
    return f"{found} were trained on" if found is not None and found.n else ""


def _by_language(
    evaluation: Evaluation, others: Sequence[ConditionResult], folder: Path
) -> list[Drawn]:
    """One figure a condition, all on one scale."""
    langs = asked(evaluation)
    scale = _shared_scale([one.change.get(lang) for one in others for lang in langs])
    drawn: list[Drawn] = []
    stems: list[str] = []
    for one in others:
        stems.append(file_stem(f"languages-{one.name}", stems))
        rows = [
            _row(
                marked(
                    isolated(name(lang)) + (" (central)" if lang == evaluation.central else ""),
                    one,
                    lang,
                ),
                one,
                lang,
            )
            for lang in langs
            if lang in one.change
        ]
        if rows:
            forest = _forest(rows, scale)
            drawn.append(draw_forest(isolated(printable(one.name)), forest, folder / stems[-1]))
    return drawn


def _shared_scale(changes: Sequence[Estimate | None]) -> Forest:
    """A scale that holds all of some changes."""
    rows = [row("", "true", change) for change in changes if change is not None]
    return Forest(tuple(rows), difference=True, caption="")


def _row(label: str, one: ConditionResult, key: str) -> Row:
    flips = ""
    if key in one.repaired and key in one.broken:
        flips = f"{one.repaired[key]:,} repaired, {one.broken[key]:,} broken"
    return row(label, _KINDS[direction(one, key)], one.change[key], flips)


def _forest(rows: Sequence[Row], scale: Forest, notes: str = "") -> Forest:
    asked_of = sizes([mark.estimate for line in rows for mark in line.marks])
    caption = f"{asked_of}. {notes}".strip()
    return Forest(tuple(rows), True, caption, scale=scale)


def _failures(evaluation: Evaluation) -> Table | None:
    if not evaluation.failures:
        return None
    return Table(
        head=["question", "why it could not be asked"],
        rows=[[printable(key), reason] for key, reason in sorted(evaluation.failures.items())],
        caption="These questions have no part in any number here.",
    )


def _method(evaluation: Evaluation) -> list[Fact]:
    versions = formatting.listing(f"{key} {value}" for key, value in evaluation.versions.items())
    seconds = formatting.listing(
        f"{printable(one.name)} {one.seconds:,.1f}\u202fs" for one in evaluation.conditions
    )
    facts = [
        Fact(str(evaluation.model.get("name") or "not recorded"), "model"),
        Fact(evaluation.rule, "answer rule"),
        Fact(formatting.count(evaluation.central_texts, "text"), "texts for the KL divergence"),
        Fact(METHODS, "intervals"),
        Fact(str(evaluation.seed), "seed"),
        Fact(seconds, "time to answer"),
        Fact(versions or "not recorded", "software"),
        Fact(evaluation.created or "not recorded", "made"),
        Fact(" ".join(evaluation.command) or "not recorded", "command"),
    ]
    return [Fact(printable(fact.value), fact.label) for fact in facts]
