"""How often unmodified answers are in another language than their question, by language."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.items import ALL
from crosslatent.report import formatting
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, draw, row, sizes


@register_figure("fidelity")
def fidelity(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Share of unmodified answers in another language, by language."""
    by_lang = {
        entry.lang: entry
        for entry in run.summary.fidelity
        if entry.split == ALL and entry.off_target.n
    }
    if len(by_lang) == 2:
        by_lang.pop(ALL, None)
    rows = tuple(
        row(
            formatting.first_upper(formatting.language(lang)),
            "base",
            entry.off_target,
            f"language identified in {entry.off_target.n:,} of {entry.outputs:,}",
        )
        for lang, entry in by_lang.items()
    )
    text = (
        "Share of unmodified answers in another language than the question\u2019s. "
        f"{sizes([entry.off_target for entry in by_lang.values()])}. {SPREAD}"
    )
    return draw(axes, caption, "Unmodified", Forest(rows, False, text))
