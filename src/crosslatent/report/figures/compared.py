"""Ways of answering the test split side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.items import ALL
from crosslatent.report import formatting, verdicts
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import SPREAD, Forest, Row, draw, row, sizes
from crosslatent.report.gains import outcome, pooled
from crosslatent.stats import Estimate

_OTHER_WAYS = ("translate_test", "surer", "surer_calibrated")
"""Ways to answer without a transplant that know both prompts."""
_DETAILS = {
    "translate_test": "answers the counterpart prompt itself",
    "surer": "answers both prompts, keeps the likelier answer",
    "surer_calibrated": "the same, with a margin fitted on the pilot questions",
    "majority": "always names what is right most often",
}


@register_figure("compared")
def compared(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Share of right answers on the test split: unmodified, transplants, and other ways."""
    entries = [one for one in run.summary.accuracy if (one.split, one.lang) == (run.split, ALL)]
    ways = {one.name: one.accuracy for one in entries}
    tests = {c: outcome(pooled(run.summary, c), run.split) for c in run.summary.components}
    if "vanilla" not in ways or not any(tests.values()):
        return pd.DataFrame()
    rows = [
        *(_row(way, "majority", ways) for way in ("majority", "majority_by_relation")),
        _row("vanilla", "base", ways),
        *(
            row(f"Transplant, {formatting.component(component)}", "true", test.transplant)
            for component, test in tests.items()
            if test is not None
        ),
        *_preset(run),
        *(_row(way, "reference", ways, run.summary.exploratory) for way in _OTHER_WAYS),
    ]
    text = (
        f"Share of right answers on the {run.split} questions. {sizes([ways['vanilla']])}. {SPREAD}"
    )
    kept = tuple(line for line in rows if line is not None)
    return draw(axes, caption, "Beside other ways of answering", Forest(kept, False, text))


def _preset(run: Reported) -> list[Row]:
    """The paper's own pair for tasks of this type, if it was run on these questions."""
    return [
        row(
            "The pair that the paper recommends",
            "true",
            way.accuracy,
            f"{formatting.component(way.pair[0])} {way.pair[1]} \u2192 {way.pair[2]}",
        )
        for way in run.summary.ways
        if way.pair is not None and way.split == run.split
    ]


def _row(way: str, kind: str, ways: dict[str, Estimate], new: Sequence[str] = ()) -> Row | None:
    if way not in ways:
        return None
    label = formatting.first_upper(formatting.control(way))
    note = verdicts.exploratory(new, "surer") if way.startswith("surer") else ""
    return row(label, kind, ways[way], f"{_DETAILS.get(way, '')}{note}")
