"""The unmodified model by language, over all splits, with its baselines on the same row."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.accuracy import Accuracy
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Mark, Row, draw, sizes
from crosslatent.report.gains import by_language

_NAMES = {"translate_test": "translate-test: answers the counterpart prompt"}
_KINDS = {"vanilla": "base", "translate_test": "reference", "majority": "majority"}


@register_figure("accuracy")
def accuracy(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Share of right answers of the unmodified model, by language."""
    ways = by_language(run.summary)
    rows = tuple(_row(lang, ways[lang]) for lang in ways)
    text = f"Share of right answers. {sizes([line.marks[0].estimate for line in rows])}. {SPREAD}"
    return draw(axes, caption, "", Forest(rows, False, text))


def _row(lang: str, ways: dict[str, Accuracy]) -> Row:
    marks = tuple(
        Mark(kind, _NAMES.get(way) or formatting.control(way), ways[way].accuracy)
        for way, kind in _KINDS.items()
        if way in ways
    )
    unparseable = ways["vanilla"].unparseable
    detail = f"{formatting.percent(unparseable.value)} name no option" if unparseable else ""
    return Row(formatting.first_upper(formatting.language(lang)), marks, detail)
