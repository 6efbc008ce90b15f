"""Two runs side by side: B minus A, as verdicts, figures, and the answers that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.comparison import CHANGES, Comparison, OtherAnswer
from crosslatent.analysis.run_differences import DifferenceMap, RunDifference
from crosslatent.analysis.shared_questions import SharedCounts
from crosslatent.report import formatting, verdicts
from crosslatent.report.figure import Drawn, draw_figure, draw_forest
from crosslatent.report.figures.heatmap import draw_map
from crosslatent.report.forest import SPREAD, Forest, Row, row, sizes
from crosslatent.report.maps import LABELLED_LAYERS, LEAST_LIMIT, MapView
from crosslatent.report.safe import file_stem
from crosslatent.report.verdicts.comparing import measure_named, pair_named
from crosslatent.report.views import Passage, Section, Table

TITLE = "Two runs side by side"
REPLICATED = "Is A\u2019s headline replicated?"
IN_SHORT = (TITLE, REPLICATED)
"""Sections of the first page; the others have a page of their own."""
MOST_ANSWERS = 12
LONGEST_QUESTION = 160
_SAID = ("accuracy", "picked_pair", "declared_pair", "over_control")
"""Measures with a sentence; the others are in the figures."""
_OUTCOMES = {
    "more": "B is higher",
    "less": "B is lower",
    "same": "no difference that matters",
    "undecided": "undecided",
}


def sections(found: Comparison | None, folder: Path) -> list[Section]:
    """What is said of two runs; empty if they are not compared. The figures go to `folder`."""
    if found is None:
        return []
    said = [verdicts.COMPARED.say(one) for one in found.differences if one.measure in _SAID]
    repeated = found.replication
    titled = {
        TITLE: [Passage(list(_introduction(found))), Passage(said, list(_forests(found, folder)))],
        "Pair by pair, B minus A": [Passage(figures=[_map(one, folder) for one in found.maps])],
        "Answers that differ": [*_answers(found)] if found.counts else [],
        REPLICATED: [Passage([verdicts.REPLICATION.say(repeated)] if repeated else [])],
    }
    return [Section(title, blocks) for title, blocks in titled.items() if any(blocks)]


def _introduction(found: Comparison) -> Iterator[str]:
    names = zip("AB", found.runs, found.titles, found.models, strict=True)
    yield " ".join(
        f"{letter} is the run {run} ({title}{f'; model {model}' if model else ''})."
        for letter, run, title, model in names
    )
    yield _shared(found.shared)
    counts = found.shared
    if counts.same_tokenizer is False:
        yield "The tokenizers differ, so questions are the same by their texts and gold answers."
    if counts.other_tokens:
        yield f"Prompts of {counts.other_tokens:,} shared questions have other tokens in B."
    if counts.other_counterpart:
        yield f"{counts.other_counterpart:,} shared questions have another counterpart in B."
    if found.differs:
        yield f"What differs, A first: {'; '.join(found.differs)}."
    yield from found.missing


def _shared(counts: SharedCounts) -> str:
    of_each = f"of {counts.of_first:,} in A and {counts.of_second:,} in B"
    if not counts.n:
        return f"No question is in both, {of_each}, so only A\u2019s headline is judged on B."
    facts = formatting.count(counts.clusters, "fact")
    shared = formatting.count(counts.n, "question")
    return f"{shared} about {facts} are in both, {of_each}; only these are compared."


def _forests(found: Comparison, folder: Path) -> Iterator[Drawn]:
    for component in dict.fromkeys(one.component for one in found.differences):
        own = [one for one in found.differences if one.component == component]
        name = formatting.component(component) if component else "without a transplant"
        caption = (
            f"Points by which B is above A; left of zero, A is higher. "
            f"{sizes([one.difference for one in own])}. {SPREAD} p: permutation test by fact, "
            "after Holm\u2019s correction for all figures of the comparison."
        )
        title = f"B minus A: {name}"
        stem = folder / file_stem(f"compared-{component or 'unmodified'}")
        yield draw_forest(title, Forest(tuple(map(_row, own)), True, caption), stem)


def _row(one: RunDifference) -> Row:
    shown = formatting.points if one.is_gain else formatting.percent
    parts = [f"A {shown(one.first.value)}, B {shown(one.second.value)}"]
    if one.pairs:
        parts.append(f"pairs {' and '.join(map(pair_named, one.pairs))}")
    if one.controls:
        parts.append(formatting.listing(dict.fromkeys(map(formatting.control, one.controls))))
    parts.append(f"{formatting.p_equals(one.test.holm)}: {_OUTCOMES[one.outcome]}")
    label = formatting.first_upper(measure_named(one).rpartition(", ")[2])
    return row(label, "true", one.difference, ", ".join(parts))


def _map(one: DifferenceMap, folder: Path) -> Drawn:
    """Gains of B minus those of A, cell by cell."""

    def drawn(axes: Axes, caption: list[str]) -> pd.DataFrame:
        cells = one.cells
        end = max(LEAST_LIMIT, *(abs(cell.difference or 0.0) for cell in cells))
        draw_map(axes, _view(one), 100 * end, "points by which B gains more or less than A")
        axes.set(title=f"{formatting.first_upper(formatting.component(one.component))}, B minus A")
        caption.append(
            f"Gain of B minus gain of A at every pair that both have; n\u202f=\u202f{one.n:,} "
            f"questions, {one.clusters:,} independent facts. One cell alone proves little: its "
            "interval is in the table."
        )
        return pd.DataFrame.from_records([cell._asdict() for cell in cells])

    return draw_figure(drawn, folder / file_stem(f"difference-map-{one.component}"))


def _view(one: DifferenceMap) -> MapView:
    size = len(one.difference)
    z = [[None if v is None else round(100 * v, 2) for v in line] for line in one.difference]
    labels = [[_label(v) if size <= LABELLED_LAYERS else "" for v in line] for line in z]
    return MapView(True, z, labels, [], one.n)


def _label(value: float | None) -> str:
    whole = round(value or 0.0)
    return (
        "" if value is None else f"{whole:{'+' if whole else ''}d}".replace("-", formatting.MINUS)
    )


def _answers(found: Comparison) -> Iterator[Passage]:
    for counts in found.counts:
        name = _where(counts.where)
        said = (
            f"{name}: {counts.different:,} of {counts.n:,} answers differ; "
            f"{counts.became_right:,} became right and {counts.became_wrong:,} became wrong."
        )
        own = [one for one in found.answers if one.where == counts.where]
        yield Passage([said], tables=[_table(own, name)] if own else [])


def _where(where: str) -> str:
    if where == "unmodified":
        return "Unmodified model"
    return f"{formatting.first_upper(formatting.component(where))} at the picked pairs"


def _table(own: Sequence[OtherAnswer], name: str) -> Table:
    shown = _mixed(own)
    caption = f"{name}: {len(shown)} of {len(own):,}; all are in tables/answers_that_differ.csv."
    head = ["language", "question", "A", "B", "right or wrong"]
    rows = [
        [formatting.language(one.lang), _end(one.question), one.first, one.second, one.change]
        for one in shown
    ]
    return Table(head, rows, caption)


def _mixed(own: Sequence[OtherAnswer]) -> list[OtherAnswer]:
    """The first dozen, what became right and what became wrong in turns."""
    right, wrong, *rest = ([one for one in own if one.change == change] for change in CHANGES)
    turns = chain(*zip_longest(right, wrong), *rest)
    return [one for one in turns if one is not None][:MOST_ANSWERS]


def _end(text: str) -> str:
    """The end of a prompt: the question itself, without the examples before it."""
    return text if len(text) <= LONGEST_QUESTION else f"\u2026{text[-LONGEST_QUESTION:]}"
