"""An evaluation's figures for papers: PNG, PDF and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation, Overlap
from crosslatent.report import colours, formatting
from crosslatent.report.forest import Forest, Row, row
from crosslatent.report.lens.drawing import save, style
from crosslatent.report.lens.evaluation_tables import asked
from crosslatent.report.lens.evaluation_words import GAIN, LOSS, NOT_KNOWN, direction, is_unknown
from crosslatent.report.lens.marks import LONGEST, name
from crosslatent.report.safe import short
from crosslatent.stats import Estimate

_COLUMNS = 3


def write_figures(evaluation: Evaluation, folder: Path) -> None:
    """Write every figure that the evaluation can fill as ``NAME.png``, ``.pdf`` and ``.svg``."""
    others = [one for one in evaluation.conditions if one.kind != "unmodified"]
    if not others:
        return
    with mpl.rc_context(style()):
        save(conditions(evaluation, others), folder / "changes")
        langs = [lang for lang in asked(evaluation) if any(lang in one.change for one in others)]
        if langs:
            save(by_language(evaluation, others, langs), folder / "languages")


def conditions(evaluation: Evaluation, others: Sequence[ConditionResult]) -> Figure:
    """Change in the target languages by condition, beside the central language and its KL."""
    central = name(evaluation.central)
    sides = [
        ("Target languages, change in points", ALL),
        (f"{short(central, LONGEST)}, change in points", evaluation.central),
    ]
    kl = any(one.kl is not None and one.kl.value is not None for one in others)
    count = 2 + kl
    figure = Figure(figsize=(2.9 * count + 1.2, 0.42 * len(others) + 0.9), layout="constrained")
    axes = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    labels = [_label(one) for one in others]
    changes = [(one.change.get(ALL), one.change.get(evaluation.central)) for one in others]
    scale = shared_scale([each for pair in changes for each in pair])
    for place, (axis, (title, key)) in enumerate(zip(axes[:2], sides, strict=True)):
        _forest(axis, others, [key] * len(others), scale)
        axis.set_title(title)
        axis.set_yticks(range(len(others)), labels if place == 0 else [""] * len(others))
    if kl:
        _kl(axes[2], others)
        axes[2].set_title(f"{short(central, LONGEST)} text, KL in nats per token")
    return figure


def by_language(
    evaluation: Evaluation, others: Sequence[ConditionResult], langs: Sequence[str]
) -> Figure:
    """Change in every language, a panel for each condition."""
    columns = min(_COLUMNS, len(others))
    rows = -(-len(others) // columns)
    high = (0.3 * len(langs) + 0.75) * rows
    figure = Figure(figsize=(2.7 * columns + 1.2, high + 0.3), layout="constrained")
    scale = shared_scale([one.change.get(lang) for one in others for lang in langs])
    labels = [
        short(name(lang), LONGEST) + (" (central)" if lang == evaluation.central else "")
        for lang in langs
    ]
    for place, one in enumerate(others):
        axis = figure.add_subplot(rows, columns, place + 1)
        _forest(axis, [one] * len(langs), langs, scale)
        axis.set_title(_label(one))
        first = place % columns == 0
        axis.set_yticks(range(len(langs)), labels if first else [""] * len(langs))
    figure.suptitle("Change in accuracy, points", fontsize=8.5, x=0.01, ha="left")
    return figure


def shared_scale(changes: Sequence[Estimate | None]) -> Forest:
    """A scale that holds all of some changes."""
    rows: list[Row] = [row("", "true", change) for change in changes if change is not None]
    return Forest(tuple(rows), difference=True, caption="")


def _label(one: ConditionResult) -> str:
    """The name of a condition, and whether it is not known what it was trained on."""
    return short(one.name, LONGEST) + (f"\n({NOT_KNOWN})" if is_unknown(one) else "")


def _forest(
    axis: Axes, conditions: Sequence[ConditionResult], keys: Sequence[str], scale: Forest
) -> None:
    """A change a line: of a condition, in the questions of a key."""
    for place, (one, key) in enumerate(zip(conditions, keys, strict=True)):
        change = one.change.get(key)
        if change is None or change.value is None:
            axis.text(0, place, " not measured", va="center", fontsize=7.5, color=colours.GREY)
            continue
        colour = (
            colours.ACCENT
            if direction(one, key) == GAIN
            else colours.LOSS
            if direction(one, key) == LOSS
            else colours.GREY
        )
        if change.low is not None and change.high is not None:
            axis.hlines(place, change.low, change.high, color=colour, linewidth=1.6)
        axis.plot(change.value, place, "o", color=colour, markersize=5, clip_on=False)
        label = formatting.points(change.value) + _exposed(one.trained_on.get(key))
        axis.annotate(label, (change.value, place), (0, 5), fontsize=7.5,
                      textcoords="offset points", ha="center", color=colours.INK)  # fmt: skip
    axis.axvline(0, color=colours.INK, linewidth=0.8, zorder=0)
    axis.set_xlim(*scale.limits)
    ticks = scale.ticks[:: -(-len(scale.ticks) // 6)] if len(scale.ticks) > 7 else scale.ticks
    axis.set_xticks([value for value, _ in ticks], [text for _, text in ticks])
    _plain(axis, len(conditions))


def _exposed(found: Overlap | None) -> str:
    """A suffix for figures that rest partly on training data; empty for others."""
    return f" ({found} were trained on)" if found is not None and found.n else ""


def _kl(axis: Axes, conditions: Sequence[ConditionResult]) -> None:
    for place, one in enumerate(conditions):
        kl = one.kl
        if kl is None or kl.value is None:
            axis.text(0, place, " not measured", va="center", fontsize=7.5, color=colours.GREY)
            continue
        if kl.low is not None and kl.high is not None:
            axis.hlines(place, kl.low, kl.high, color=colours.INK, linewidth=1.6)
        axis.plot(kl.value, place, "o", color=colours.INK, markersize=5, clip_on=False)
        label = f"{kl.value:.2g}" + _exposed(one.kl_trained_on)
        axis.annotate(label, (kl.value, place), (0, 5), fontsize=7.5,
                      textcoords="offset points", ha="center", color=colours.INK)  # fmt: skip
    axis.set_xlim(left=0)
    axis.locator_params(axis="x", nbins=4)
    axis.set_yticks(range(len(conditions)), [""] * len(conditions))
    _plain(axis, len(conditions))


def _plain(axis: Axes, rows: int) -> None:
    axis.set_ylim(rows - 0.4, -0.7)
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=colours.PALE, linewidth=0.5)
    axis.set_axisbelow(True)
