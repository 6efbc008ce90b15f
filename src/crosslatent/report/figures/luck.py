"""One bar for each component: what is right anyway, what luck adds, and what is beyond luck."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes

from crosslatent.analysis.bounds import OverControls
from crosslatent.analysis.passk import PassAtK
from crosslatent.report import colours, formatting
from crosslatent.report.drawing import WIDTH, figure_of, width_of
from crosslatent.report.figure import Reported, register_figure
from crosslatent.report.forest import MARGIN, sizes

_HEAD, _EACH, _FOOT = 26.0, 62.0, 22.0
"""Points above the bars, for each of them, and below."""


@register_figure("luck")
def luck(axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
    """Upper bound beside the same union over its strongest control, and the sampled model."""
    bounds = run.summary.over_controls
    uppers = {one.component: one for one in run.summary.upper_bounds}
    sampled = {one.component: one for one in run.summary.pass_at_k}
    if not bounds:
        return pd.DataFrame()
    _frame(axes, len(bounds))
    rows = []
    for place, bound in enumerate(bounds):
        upper = uppers[bound.component]
        # Controls may lack questions; what is right unmodified is of those of the bar, or left out.
        same = upper.overall.n == bound.strongest.true.n
        plain = upper.vanilla.value if same else None
        rows += _bar(axes, place, bound, plain, sampled.get(bound.component))
    splits = {split for one in uppers.values() for split in one.splits}
    asked = f"{splits.pop()} questions" if len(splits) == 1 else "questions, of all splits,"
    caption.append(
        f"Share of {asked} that at least one pair of layers solves (upper bound), beside as many "
        "attempts with vectors that know nothing of the answer: luck. "
        f"{sizes([one.strongest.true for one in bounds])}."
    )
    if sampled:
        caption.append("Diamond: the unmodified model sampled (pass@K).")
    return pd.DataFrame.from_records(rows)


def _frame(axes: Axes, bars: int) -> None:
    figure, width, height = figure_of(axes), width_of(axes), _HEAD + bars * _EACH + _FOOT
    figure.set_layout_engine("none")
    figure.set_size_inches(width / 72, height / 72)
    axes.set_position((MARGIN / width, 0, 1 - 2 * MARGIN / width, 1))
    axes.set(xlim=(0, 1), ylim=(height, 0))
    axes.set_axis_off()
    axes.text(0, 4, "How much is luck", va="top", fontsize=11, color=colours.INK, gid="strong")
    for k in range(5):
        text = formatting.percent(k / 4).replace(".0", "")
        axes.text(k / 4, height - 6, text, ha="center", fontsize=8, color=colours.SOFT)


def _bar(
    axes: Axes, place: int, bound: OverControls, plain: float | None, sampled: PassAtK | None
) -> list[dict[str, object]]:
    rival = bound.strongest
    union, true = rival.union.value or 0.0, rival.true.value or 0.0
    y = _HEAD + place * _EACH
    name = formatting.first_upper(formatting.component(bound.component))
    gap = formatting.with_interval(rival.difference, difference=True)
    axes.text(0, y, name, va="top", fontsize=9.5, color=colours.INK)
    axes.text(1, y, f"beyond luck {gap}", va="top", ha="right", fontsize=9, color=colours.ACCENT)
    base = min(plain or 0.0, true)
    lucky = max(base, min(union, true))
    for left, right, colour in (
        (0.0, base, colours.GREY),
        (base, lucky, colours.PALE),
        (lucky, max(true, lucky), colours.ACCENT),
    ):
        axes.barh(y + 23, right - left, left=left, height=12, color=colour, linewidth=0)
    parts = [
        *([] if plain is None else [f"unmodified {formatting.percent(plain)}"]),
        f"with {formatting.control(rival.control)} {formatting.percent(union)}",
        f"true {formatting.percent(true)}",
    ]
    text = " \u00b7 ".join(parts)
    text = textwrap.fill(text, int(78 * width_of(axes) / WIDTH))
    axes.text(0, y + 33, text, va="top", fontsize=8, color=colours.SOFT)
    rows: list[tuple[str, float | None]] = [
        ("unmodified", plain),
        (rival.control, union),
        ("true", true),
    ]
    if sampled is not None and sampled.share.value is not None:
        share = sampled.share.value
        axes.plot(share, y + 23, "D", ms=6, color=colours.INK, mfc="#ffffff", clip_on=False)
        rows.append((sampled.name, share))
    return [{"component": bound.component, "name": n, "value": v} for n, v in rows if v is not None]
