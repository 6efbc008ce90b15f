"""`write_evaluation_report`: conditions side by side as an HTML page, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation
from crosslatent.report import formatting
from crosslatent.report.forest import Forest, Row, row, sizes
from crosslatent.report.lens.evaluation_figures import shared_scale, write_figures
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
from crosslatent.report.lens.pages import render
from crosslatent.report.lens.publish import published
from crosslatent.report.safe import printable
from crosslatent.report.views import Fact, Panel, Table
from crosslatent.stats import METHODS

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
class Scaled(Forest):
    """A forest on the scale of another one, so that two can be compared."""

    scale: Forest

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the scale."""
        return self.scale.limits

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(value, label) along the scale."""
        return self.scale.ticks


@dataclass(frozen=True, slots=True)
class Verdict:
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
    verdicts: list[Verdict]
    changes: list[Panel]
    table: Table
    by_language: list[Panel]
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
        text = render("evaluation.html.j2", page_view(evaluation), plotly=False)
        (draft / PAGE).write_text(text, encoding="utf-8")
        write_figures(evaluation, draft / "figures")
        write_tables(evaluation, draft / "tables")
    return files


def page_view(evaluation: Evaluation) -> EvaluationView:
    """What the page shows, ready for the template."""
    others = [one for one in evaluation.conditions if one.kind != "unmodified"]
    return EvaluationView(
        title=f"{isolated(printable(evaluation.task))}: what each condition changes",
        opening=opening(evaluation),
        verdicts=[_verdict(evaluation, one) for one in evaluation.conditions],
        changes=_changes(evaluation, others),
        table=condition_table(evaluation),
        by_language=_by_language(evaluation, others),
        languages=language_table(evaluation),
        failures=_failures(evaluation),
        notes=evaluation.notes,
        method=_method(evaluation),
    )


def _verdict(evaluation: Evaluation, one: ConditionResult) -> Verdict:
    return Verdict(
        name=printable(one.name),
        about=one.about,
        sentence=verdict(evaluation, one),
        state=state(evaluation, one),
        notes=one.notes,
    )


def _changes(evaluation: Evaluation, others: Sequence[ConditionResult]) -> list[Panel]:
    """Two panels on one scale: the target languages, and the central one."""
    central = evaluation.central
    both = [one.change.get(key) for one in others for key in (ALL, central)]
    scale = shared_scale(both)
    found = []
    for key, where in ((ALL, targets(evaluation)), (central, isolated(name(central)))):
        rows = [
            _row(marked(isolated(printable(one.name)), one, key), one, key)
            for one in others
            if key in one.change
        ]
        title = formatting.first_upper(where)
        if rows:
            notes = [_CAPTION, *([_EXPOSED] if any(one.is_exposed for one in others) else [])]
            forest = _forest(rows, scale, " ".join(notes))
            found.append(Panel(title, _left_out(others, key), forest))
        elif others:
            found.append(Panel(title, [f"Nothing was asked in {where}."]))
    return found


def _left_out(others: Sequence[ConditionResult], key: str) -> list[str]:
    """A sentence on the conditions that a panel cannot show, if there are any."""
    missing = [isolated(printable(one.name)) for one in others if key not in one.change]
    return [f"Not measured under {formatting.listing(missing)}."] if missing else []


def _by_language(evaluation: Evaluation, others: Sequence[ConditionResult]) -> list[Panel]:
    """One panel a condition, all on one scale."""
    langs = asked(evaluation)
    scale = shared_scale([one.change.get(lang) for one in others for lang in langs])
    found = []
    for one in others:
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
            found.append(Panel(isolated(printable(one.name)), [], _forest(rows, scale)))
    return found


def _row(label: str, one: ConditionResult, key: str) -> Row:
    flips = ""
    if key in one.repaired and key in one.broken:
        flips = f"{one.repaired[key]:,} repaired, {one.broken[key]:,} broken"
    return row(label, _KINDS[direction(one, key)], one.change[key], flips)


def _forest(rows: Sequence[Row], scale: Forest, notes: str = "") -> Scaled:
    asked_of = sizes([mark.estimate for line in rows for mark in line.marks])
    caption = f"{asked_of}. {notes}".strip()
    return Scaled(rows=tuple(rows), difference=True, caption=caption, scale=scale)


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
