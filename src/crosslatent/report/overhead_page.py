"""`write_overhead`: what ways of answering cost, as an HTML page with figures of ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from crosslatent.core.untrusted import json_text
from crosslatent.report import formatting
from crosslatent.report.figure import Drawn, draw_forest
from crosslatent.report.forest import Forest, Mark, Row
from crosslatent.report.page import render
from crosslatent.report.publish import published
from crosslatent.report.safe import printable
from crosslatent.report.views import Fact, Passage, Section, Table
from crosslatent.stats import Estimate

PAGE, RECORD = "overhead.html", "overhead.json"
"""What is written beside the figures."""
_PHASES = {
    "answer": "the whole answer",
    "first_token": "the first token",
    "new_token": "each new token",
}
_HEAD = ("way", "first token", "new token", "tokens/s", "memory")
_RATIOS = ("way", "first token", "counted", "new token", "counted", "answer", "counted", "expected")

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OverheadView:
    """Everything on the page."""

    title: str
    opening: str
    sections: list[Section]
    notes: Sequence[str]
    method: list[Fact]


def write_overhead(found: Record, out: Path) -> list[Path]:
    """Write ``overhead.html``, ``overhead.json`` and ``figures/``.

    Args:
        found: what `studies.overhead` found, as plain data.
        out: folder, made if it is not there; other files in it are left alone.

    Returns:
        The files, the page last.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    with published(out, PAGE) as (draft, files):
        view = page_view(found, draft / "figures")
        text = render("overhead.html.j2", view, ["report.css"], [])
        (draft / PAGE).write_text(text, encoding="utf-8")
        (draft / RECORD).write_text(json_text(found, indent=1) + "\n", encoding="utf-8")
    return files


def page_view(found: Record, folder: Path) -> OverheadView:
    """What the page shows, ready for the template; the figures go to `folder`."""
    answers, *parts = (_figures(found, phase, folder) for phase in _PHASES)
    names = [formatting.first_upper(name) for name in _PHASES.values()]
    folded = [
        Passage(figures=drawn, fold=name) for name, drawn in zip(names[1:], parts, strict=True)
    ]
    return OverheadView(
        title=f"{printable(found['model'])}: what each way of answering costs",
        opening=_OPENINGS[found["kind"]],
        sections=[
            Section(
                "A whole answer beside the unmodified one",
                [Passage(figures=answers), *filter(None, folded)],
            ),
            Section("All figures", [Passage(tables=[one]) for one in _tables(found)]),
        ],
        notes=found["assumptions"],
        method=[*_machine(found), *_asked(found)],
    )


def _cells(found: Record) -> Iterator[tuple[str, list[Record]]]:
    """The ways of each length and batch, under a title."""
    key = itemgetter("prompt_tokens", "batch_size")
    for (prompt, batch), same in groupby(found["ways"], key=key):
        yield f"Prompts of {prompt:,} tokens, {batch:,} together", list(same)


def _figures(found: Record, phase: str, folder: Path) -> list[Drawn]:
    """A figure for each length and batch, all on one scale."""
    cells = {title: list(_rows(ways, phase)) for title, ways in _cells(found)}
    every = Forest(tuple(row for rows in cells.values() for row in rows), False, "", plain=True)
    return [
        draw_forest(
            title,
            Forest(tuple(rows), False, _caption(found, phase), scale=every, plain=True, digits=3),
            folder / f"{phase.replace('_', '-')}-{number}",
        )
        for number, (title, rows) in enumerate(cells.items(), 1)
        if rows
    ]


def _rows(ways: Sequence[Record], phase: str) -> Iterator[Row]:
    """Of each way but the unmodified one its ratio, and that of its multiply-adds."""
    for way in ways[1:]:
        ratio, counted = way["ratios"].get(phase), way["counted"][phase]
        if counted is None:
            continue
        marks = [Mark("reference", "counted multiply-adds", _estimate(counted, counted, counted))]
        if ratio is not None:
            marks.insert(0, Mark("base", "time", _estimate(**ratio)))
        detail = f"{counted:.3g} times the multiply-adds" if ratio is not None else ""
        yield Row(way["about"], tuple(marks), detail)


def _estimate(median: float, low: float, high: float) -> Estimate:
    if low == high:
        return Estimate(median, None, None, n=1, clusters=1, seed=0)
    return Estimate(median, low, high, n=1, clusters=1, seed=0)


def _caption(found: Record, phase: str) -> str:
    rounds = found["settings"]["repetitions"]
    of = f"Of {_PHASES[phase]}, as multiples of the unmodified model\u2019s own generate"
    return {
        "measured": f"{of} in the same round: dots are medians of {rounds} rounds, whiskers reach "
        "from the lowest to the highest. Diamonds: counted multiply-adds.",
        "planned": f"{of}. Dots: computed times. Diamonds: counted multiply-adds.",
        "counted": f"{of}. Diamonds: counted multiply-adds; nothing was run.",
    }[found["kind"]]


_OPENINGS = {
    "measured": "Every way of answering was timed in turn, again and again. Where time and "
    "counted multiply-adds agree, the cost is the method\u2019s own; what is above them comes of "
    "memory, of Python or of this package.",
    "planned": "These times are computed from published speeds of a machine, and not measured.",
    "counted": "Multiply-adds are counted, and nothing was run.",
}


def _tables(found: Record) -> Iterator[Table]:
    for title, ways in _cells(found):
        if found["kind"] != "counted":
            rows = [[way["about"], *formatting.times(way)] for way in ways]
            numeric = frozenset(range(1, len(_HEAD)))
            yield Table(list(_HEAD), rows, f"{title}: medians.", numeric)
        yield Table(
            list(_RATIOS),
            [[way["about"], *_multiples(way)] for way in ways],
            f"{title}: times the unmodified model; lowest and highest in brackets.",
            frozenset(range(1, len(_RATIOS))),
        )


def _multiples(way: Record) -> Iterator[str]:
    for phase in ("first_token", "new_token", "answer"):
        yield formatting.multiple(way["ratios"].get(phase))
        yield "" if way["counted"][phase] is None else f"{way['counted'][phase]:.2f}"
    yield "" if way["expected"] is None else f"{way['expected']:.2f}"


def _machine(found: Record) -> Iterator[Fact]:
    for name, value in found["machine"].items():
        shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
        yield Fact(printable(shown), name.replace("_", " "))


def _asked(found: Record) -> Iterator[Fact]:
    shape, asked = found["shape"], found["settings"]
    yield Fact(f"{shape['layers']} blocks of width {shape['hidden']}", "model")
    yield Fact(f"{found['parameters'] / 1e9:,.3g} billion", "weights")
    yield Fact(str(asked["max_new_tokens"]), "new tokens")
    yield Fact(f"{asked['component']} of block {asked['layer']}", "carried")
