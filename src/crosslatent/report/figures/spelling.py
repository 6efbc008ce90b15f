"""Gains at the picked pair by how the right answer is spelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.carried import SpelledGroup
from crosslatent.report import formatting, verdicts
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes
from crosslatent.report.gains import spelled

MOST_LANGUAGES = 4
"""Named beside a group; of more, the rest is counted."""


@register_figure("spelling", parts=components)
def spelling(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Points gained or lost where the right answer is spelled the same in both languages or not."""
    one = spelled(run.summary, run.part, run.split)
    if one is None:
        return pd.DataFrame()
    note = verdicts.exploratory(run.summary.exploratory, "spelling")
    groups = (("same spelling", one.same), ("other spelling", one.other))
    rows = [line for name, group in groups for line in _rows(name, group)]
    gap = formatting.with_interval(one.difference, difference=True)
    count = formatting.first_upper(formatting.count(one.unknown, "question"))
    unknown = (
        f" {count} left out: the answer in the language of the counterpart (aux_answer) is not "
        "known."
        if one.unknown
        else ""
    )
    text = (
        f"Points gained or lost on the {one.split} questions of each kind, by whether the right "
        f"answer is spelled the same in both languages{note}. Same minus other spelling: {gap}. "
        f"{sizes([group.gain for _, group in groups if group.gain.n])}. {SPREAD}{unknown}"
    )
    title = formatting.first_upper(formatting.component(run.part))
    return draw(axes, caption, title, Forest(tuple(rows), True, text))


def _rows(name: str, group: SpelledGroup) -> Iterator[Row]:
    if not group.gain.n:
        return
    few = ", too few for a sentence" if group.gain.n < verdicts.FEWEST else ""
    asked = _languages(group.languages)
    before = formatting.percent(group.vanilla.value)
    detail = f"n\u202f=\u202f{group.gain.n}{few} ({asked}); unmodified {before}"
    yield row(f"True counterpart, {name}", "true", group.gain, detail)
    if group.donor is not None and group.over_donor is not None and group.donor.n:
        gap = formatting.with_interval(group.over_donor, difference=True)
        detail = f"true minus this: {gap}"
        yield row(f"Another question, {name}", "control", group.donor, detail)


def _languages(counts: Mapping[str, int]) -> str:
    named = [f"{formatting.language(lang)} {n}" for lang, n in counts.items()]
    if len(named) > MOST_LANGUAGES:
        rest = len(named) - MOST_LANGUAGES + 1
        named[MOST_LANGUAGES - 1 :] = [f"{rest} other languages"]
    return formatting.listing(named)
