"""One graded score by language: unmodified, and translate-test."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.grades import MeanScore
from crosslatent.analysis.items import ALL
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Mark, Row, draw, sizes

_KINDS = {"vanilla": "base", "translate_test": "reference"}


def metrics(run: Reported) -> Sequence[str]:
    """The graded scores that the run has, as parts of a figure."""
    return list(dict.fromkeys(score.metric for score in run.summary.scores))


@register_figure("scores", parts=metrics)
def scores(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Mean of one graded score, by language."""
    by_lang: dict[str, dict[str, MeanScore]] = {}
    for score in run.summary.scores:
        if (score.metric, score.split) == (run.part, ALL):
            by_lang.setdefault(score.lang, {})[score.name] = score
    if len(by_lang) == 2:
        del by_lang[ALL]
    rows = tuple(_row(lang, ways) for lang, ways in by_lang.items())
    name = formatting.metric(run.part)
    text = (
        f"Mean {name} of all questions; filled: unmodified, open: translate-test. "
        f"{sizes([line.marks[0].estimate for line in rows])}. {SPREAD}"
    )
    return draw(axes, caption, formatting.first_upper(name), Forest(rows, False, text))


def _row(lang: str, ways: dict[str, MeanScore]) -> Row:
    marks = tuple(
        Mark(kind, formatting.control(way), ways[way].score)
        for way, kind in _KINDS.items()
        if way in ways
    )
    share = formatting.percent(ways["translate_test"].score.value) if len(ways) > 1 else ""
    detail = f"translate-test {share}" if share else ""
    return Row(formatting.first_upper(formatting.language(lang)), marks, detail)
