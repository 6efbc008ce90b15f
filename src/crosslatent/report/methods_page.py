"""`write_methods_page`: what to do with a model and a language, from a comparison of methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.gain_split import WHOLE
from crosslatent.analysis.method_rows import VANILLA
from crosslatent.analysis.method_scores import (
    LEAGUES,
    MARGIN,
    MethodScore,
    MethodTable,
)
from crosslatent.core.costs import human_bytes
from crosslatent.report import colours, formatting, safe
from crosslatent.report.drawing import figure_of
from crosslatent.report.figure import Drawn, draw_figure, draw_forest
from crosslatent.report.forest import Forest, Row, row, sizes
from crosslatent.report.gain_parts import ABOUT, NAMES
from crosslatent.report.method_words import LEAGUE_TITLES, luck, of_league, opening
from crosslatent.report.page import render
from crosslatent.report.publish import published
from crosslatent.report.views import Fact, Passage, Section, Table
from crosslatent.stats import METHODS

_SHORT = {"given": "given the English prompt", "made": "makes its own", "none": "without"}
_MARKS = {"given": "o", "made": "s", "none": "D"}
_COLOURS = {"given": colours.ACCENT, "made": colours.SOFT, "none": colours.LOSS}
_HEAD = [
    "method",
    "accuracy",
    "change",
    "p (Holm)",
    "English",
    "within 2 points?",
    "KL on English",
    "answers in the language",
    "answers that name nothing",
]
_NOTHING = "\u2013"
_PRICE = [
    "method",
    "tokens, relative",
    "ms for an answer",
    "s to fit",
    "memory",
    "numbers learnt",
    "labelled items",
    "unlabelled tokens",
    "settings tried",
    "seeds",
    "not asked",
]


@dataclass(frozen=True, slots=True)
class MethodsView:
    """Everything on the page."""

    title: str
    opening: list[str]
    sections: list[Section]
    method: list[Fact]


def write_methods_page(table: MethodTable, division: str, out: Path, name: str) -> Path:
    """Write what a comparison of methods found: a page, ``figures/`` and ``tables/``.

    Args:
        table: the methods; no model is needed.
        division: how questions were split, in a sentence.
        out: folder, made if it is not there; other files in it are left alone.
        name: of the page.

    Returns:
        The page.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    with published(out, name, replaces=True) as (draft, _):
        page = MethodsView(
            title=f"What helps {safe.printable(Path(table.model).name)} in {_languages(table)}",
            opening=opening(table, division),
            sections=list(_sections(table, draft / "figures")),
            method=_facts(table),
        )
        text = render("methods.html.j2", page, ["report.css"], [])
        (draft / name).write_text(text, encoding="utf-8")
        (draft / "tables").mkdir()
        safe.write_csv(estimates(table), draft / "tables" / "methods.csv")
    return out / name


def estimates(table: MethodTable) -> pd.DataFrame:
    """Every figure of every method: a row each."""
    rows: list[dict[str, Any]] = []
    for one in table.scores:
        for measure in ("accuracy", "change", "english", "english_change", "fidelity", "behind"):
            found = getattr(one, measure)
            if found is not None:
                rows.append(_estimated(one, measure, "", found))
        rows += [_estimated(one, "change", lang, e) for lang, e in one.by_language.items()]
        if one.reason:
            rows.append({"method": one.name, "league": one.league, "reason": one.reason})
    return pd.DataFrame.from_records(rows)


def _estimated(one: MethodScore, measure: str, lang: str, found: Any) -> dict[str, Any]:
    head = {"method": one.name, "league": one.league, "measure": measure, "lang": lang}
    names = ("value", "low", "high", "confidence", "n", "clusters", "seed")
    price = {"p_holm": one.holm, "relative_tokens": one.relative_tokens, "seeds": one.seeds}
    return {**head, **{name: getattr(found, name) for name in names}, **price, "reason": ""}


def _languages(table: MethodTable) -> str:
    return formatting.listing(formatting.language(lang) for lang in table.languages)


def _sections(table: MethodTable, folder: Path) -> Iterator[Section]:
    yield Section("What a gain costs", [Passage([_COST], [_scatter(table, folder)])])
    for league in LEAGUES:
        shown = [one for one in table.of(league) if not one.reason]
        if not shown:
            continue
        others = [one for one in shown if one.name != VANILLA]
        figures = [_forest(league, others, folder)] if others else []
        yield Section(
            LEAGUE_TITLES[league],
            [
                Passage(of_league(table, league), figures),
                Passage(tables=[_table([*_reference(table, shown), *shown])]),
                Passage(tables=[_prices(shown)], fold="What each costs"),
            ],
        )
    if table.parts:
        yield Section("Why a transplant works, or not", [Passage([ABOUT], [], [_parts(table)])])
    yield Section("How much would luck give?", [Passage(luck(table))])
    yield Section("Language by language", [Passage(tables=[_by_language(table)], fold="Changes")])
    if missing := [one for one in table.scores if one.reason]:
        yield Section("Without figures", [Passage(tables=[_reasons(missing)])])
    yield Section(
        "What each method does",
        [
            Passage(tables=[_about(table.scores)], fold="Every method, and where it is from"),
            Passage(tables=[_chosen(table.scores)], fold="What was chosen on the pilot questions"),
        ],
    )


_COST = (
    "Tokens that pass through the model for an answer, relative to the unmodified one, against the "
    "change in accuracy. Up is better, left is cheaper. What is learnt beforehand is in the tables."
)


def _reference(table: MethodTable, shown: Sequence[MethodScore]) -> list[MethodScore]:
    """The unmodified model, where it is not in the table anyhow."""
    return [one for one in table.scores if one.name == VANILLA and one not in shown]


_MARK = (
    "Each mark is a method. Intervals are in the figures of the leagues; marks close to each other "
    "are not told apart by this figure."
)


def _scatter(table: MethodTable, folder: Path) -> Drawn:
    def drawn(axes: Axes, caption: list[str]) -> pd.DataFrame:
        shown = [one for one in table.scores if _place(one) is not None and one.name != VANILLA]
        for league in LEAGUES:
            own = [place for one in shown if one.league == league and (place := _place(one))]
            if own:
                axes.scatter(
                    [x for x, _ in own],
                    [y for _, y in own],
                    marker=_MARKS[league],
                    color=_COLOURS[league],
                    label=_SHORT[league],
                    s=22,
                    zorder=3,
                )
        axes.axhline(0, color=colours.GREY, linewidth=0.8)
        axes.set(xlabel="tokens for an answer, relative", ylabel="points of accuracy")
        axes.legend(frameon=False, fontsize=7.5, loc="best")
        axes.margins(x=0.2, y=0.12)
        places = {one.name: place for one in shown if (place := _place(one)) is not None}
        unnamed = _named(axes, places)
        caption.append(_MARK)
        if unnamed:
            caption.append(f"{unnamed} marks have no room for a name: see the tables.")
        return pd.DataFrame(
            [(one.name, one.league, *(_place(one) or ())) for one in shown],
            columns=["method", "league", "tokens", "points"],
        )

    if not any(_place(one) for one in table.scores if one.name != VANILLA):
        return Drawn("", "", "No method has figures.", "")
    return draw_figure(drawn, folder / "cost-and-gain")


_LETTER, _LINE = 3.4, 7.5
"""About the size of a letter of a name in the scatter, and of its line, in points."""


def _named(axes: Axes, places: Mapping[str, tuple[float, float]]) -> int:
    """A name beside each mark, the furthest from zero first; how many have no room for one."""
    axes.autoscale_view()
    to_points = 72 / figure_of(axes).dpi
    taken: list[tuple[float, float, float]] = []
    for name, place in sorted(places.items(), key=lambda one: -abs(one[1][1])):
        x, y = axes.transData.transform(place) * to_points
        end = x + len(name) * _LETTER
        free = [
            shift
            for shift in (0.0, -_LINE, _LINE)
            if not any(
                abs(y + shift - height) < _LINE and x < right and end > left
                for left, right, height in taken
            )
        ]
        if free:
            taken.append((x, end, y + free[0]))
            look: dict[str, Any] = {"fontsize": 6.5, "color": colours.SOFT}
            at = (5, free[0] - 2)
            axes.annotate(name, place, xytext=at, textcoords="offset points", **look)
    return len(places) - len(taken)


def _place(one: MethodScore) -> tuple[float, float] | None:
    if one.change is None or one.change.value is None or one.relative_tokens is None:
        return None
    return one.relative_tokens, 100 * one.change.value


def _forest(league: str, shown: Sequence[MethodScore], folder: Path) -> Drawn:
    rows = tuple(_row(one) for one in shown if one.change is not None)
    caption = (
        f"Points of accuracy more or less than the unmodified model, on the same questions; "
        f"{sizes([one.change for one in shown if one.change])}. Whiskers: 95\u202f% intervals over "
        "facts, and over seeds where there are several."
    )
    return draw_forest(
        LEAGUE_TITLES[league], Forest(rows, True, caption), folder / f"league-{league}"
    )


def _row(one: MethodScore) -> Row:
    assert one.change is not None
    parts = [f"{one.repaired:,} repaired, {one.broken:,} broken"]
    if one.holm is not None:
        parts.append(formatting.p_equals(one.holm))
    kind = "true" if one.is_better or one.is_worse else "base"
    return row(one.title, kind, one.change, "; ".join(parts))


def _table(shown: Sequence[MethodScore]) -> Table:
    caption = (
        "Change: minus the unmodified model, same questions. p: permutation of facts, corrected "
        "for all methods of all leagues (Holm). English: accuracy on the English prompts; within 2 "
        f"points: the loss is below {100 * MARGIN:.0f} points, one-sided at 95\u202f%, undecided "
        "where the interval is wider. KL: from the unmodified model on English pilot prompts, nats "
        "per token, of what also acts on them; no verdict is made of it."
    )
    return _filled(_HEAD, [_cells(one) for one in shown], caption)


def _filled(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Table:
    """A table without the columns that no row fills; all but the first are numbers."""
    kept = [k for k in range(len(head)) if any(row[k] not in ("", _NOTHING) for row in rows)]
    columns = [[row[k] for k in kept] for row in rows]
    return Table([head[k] for k in kept], columns, caption, frozenset(range(1, len(kept))))


def _cells(one: MethodScore) -> list[str]:
    plain = one.name == VANILLA
    return [
        one.title + (" (makes it)" if one.league == "made" else ""),
        formatting.percent(one.accuracy.value if one.accuracy else None),
        "" if plain or not one.change else formatting.with_interval(one.change, difference=True),
        "" if one.holm is None else f"{one.holm:.3f}",
        "" if one.english is None else formatting.percent(one.english.value),
        one.kept or "",
        "" if one.kl is None else f"{one.kl:.2g}",
        "" if one.fidelity is None else formatting.percent(one.fidelity.value),
        formatting.percent(one.unnamed),
    ]


def _prices(shown: Sequence[MethodScore]) -> Table:
    caption = (
        "Tokens: through the model for an answer, counterpart included, relative to the unmodified "
        "one. Milliseconds: this machine, batches as they came. Memory: the most that learning or "
        "answering took beside what was held. Labelled: gold answers that were "
        "learnt from; settings are chosen by all pilot answers besides. Not asked: questions that "
        "the method could not ask."
    )
    rows = [
        [
            one.title,
            "" if one.relative_tokens is None else f"{one.relative_tokens:.2g}",
            "" if one.answer_seconds is None else f"{1000 * one.answer_seconds:.1f}",
            "" if one.fit_seconds is None else f"{one.fit_seconds:.1f}",
            "" if one.peak_bytes is None else human_bytes(one.peak_bytes),
            *map("{:,}".format, (one.trained, one.labelled, one.unlabelled, one.tried)),
            f"{one.seeds}",
            f"{one.left_out:,}" if one.left_out else "",
        ]
        for one in shown
    ]
    return _filled(_PRICE, rows, caption)


def _parts(table: MethodTable) -> Table:
    rows = [
        [
            table.score(name).title,
            NAMES[part.name] if part.name == WHOLE else f"{part.name}: {NAMES[part.name]}",
            formatting.signed_interval(part.gap),
            formatting.with_interval(part.correct, difference=True),
        ]
        for name, parts in table.parts.items()
        for part in parts
    ]
    head = ["method", "part", "lead, nats", "right answers, points"]
    caption = "A part whose interval holds 0 is not shown to do anything. Test questions alone."
    return Table(head, rows, caption, frozenset((2, 3)))


def _by_language(table: MethodTable) -> Table:
    head = ["method", *(formatting.language(lang) for lang in table.languages)]
    rows = [
        [
            one.title,
            *(
                formatting.with_interval(one.by_language[lang], difference=True)
                if lang in one.by_language
                else ""
                for lang in table.languages
            ),
        ]
        for one in table.scores
        if not one.reason and one.name != VANILLA
    ]
    caption = "Change in each language. Single languages are not tested; intervals are wide."
    return Table(head, rows, caption, frozenset(range(1, len(head))))


def _reasons(missing: Sequence[MethodScore]) -> Table:
    rows = [[one.title, safe.printable(one.reason)] for one in missing]
    return Table(["method", "why there are no figures"], rows, "These were asked for, too.")


def _about(scores: Sequence[MethodScore]) -> Table:
    rows = [
        [one.title, one.name, _SHORT[one.league], one.about, one.source, " ".join(one.notes)]
        for one in scores
    ]
    head = ["method", "name", "English prompt", "what it does", "source", "notes"]
    return Table(head, rows, "[2nd]: by a third party\u2019s account. More: docs/compare.md.")


def _chosen(scores: Sequence[MethodScore]) -> Table:
    rows = [
        [
            one.title,
            formatting.listing(formatting.language(lang) for lang in each["langs"]),
            ", ".join(f"{name} {value}" for name, value in each["settings"].items()) or "-",
            formatting.percent(each["pilot"]) if "pilot" in each else "",
            f"{one.tried:,}",
        ]
        for one in scores
        for each in one.chosen
    ]
    head = ["method", "for", "settings", "accuracy on pilot questions", "tried"]
    return Table(head, rows, "Settings are judged on pilot questions that were not learnt from.")


def _facts(table: MethodTable) -> list[Fact]:
    return [
        Fact(f"{table.questions:,} about {table.facts:,} facts", "questions tested on"),
        Fact(safe.printable(table.title), "task"),
        Fact(METHODS, "intervals"),
        Fact(str(table.seed), "seed"),
    ]
