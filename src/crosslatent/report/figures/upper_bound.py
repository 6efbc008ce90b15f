"""Upper bound, and the same union over each control."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.bounds import UpperBound
from crosslatent.analysis.data import control_name
from crosslatent.analysis.passk import PassAtK
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report import formatting, verdicts
from crosslatent.report.figure import Reported, components, register_figure
from crosslatent.report.forest import SPREAD, STRATA_ORDER, Forest, Row, draw, in_order, row, sizes
from crosslatent.report.gains import stratum_name


@register_figure("upper_bound", parts=components)
def upper_bound(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Share of questions that any pair solves, with the true counterpart and with each control."""
    bounds = (one for one in run.summary.upper_bounds if one.component == run.part)
    bound = next(bounds, None)
    if bound is None:
        return pd.DataFrame()
    rows = [
        row("Unmodified, one attempt", "base", bound.vanilla),
        row("True counterpart, any pair", "true", bound.overall),
        *_controls(run.summary, bound),
        *(_sampled(run.summary, one) for one in run.summary.pass_at_k if one.component == run.part),
    ]
    low, high = bound.attempts
    tries = f"{low}" if low == high else f"{low}\u2013{high}"
    of = f"{bound.splits[0]} " if len(bound.splits) == 1 else ""
    text = (
        f"Share of {of}questions that at least one of {tries} pairs solves. "
        f"{sizes([bound.overall])}. {SPREAD} Each \u201ctrue minus this\u201d uses only questions "
        "and pairs that both have."
    )
    title = formatting.first_upper(formatting.component(run.part))
    return draw(axes, caption, title, Forest(tuple(rows), False, text))


def _controls(run: RunSummary, bound: UpperBound) -> list[Row]:
    beside = [one for one in run.bounds_versus if one.component == bound.component]
    versus = {control_name(one.control, one.stratum): one.overall for one in beside}
    rows = []
    for name in in_order(versus):
        gap = formatting.with_interval(versus[name].difference, difference=True)
        known = "; a diagnosis: chosen by its answer" if name in STRATA_ORDER else ""
        label = formatting.first_upper(stratum_name(run, name))
        rows.append(row(label, "control", versus[name].control, f"true minus this: {gap}{known}"))
    return rows


def _sampled(run: RunSummary, found: PassAtK) -> Row:
    """The unmodified model sampled, beside the bound: a reference, and no control."""
    note = verdicts.exploratory(run.exploratory, "pass_at_k")
    if found.versus is None:
        gap = f"fewer samples than pairs, so not compared{note}"
    else:
        gap = formatting.with_interval(found.versus.difference, difference=True)
        gap = f"true minus this: {gap}; no control{note}"
    return row(f"Unmodified, sampled: {found.name}", "reference", found.share, gap)
