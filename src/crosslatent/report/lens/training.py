"""`write_training_figures`: how the losses of a training run went, as figures and a table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crosslatent.lens.training.record import (
    EARLY,
    FINISHED,
    INTERRUPTED,
    NAN,
    CurvePoint,
    TrainRecord,
)
from crosslatent.report import colours, formatting
from crosslatent.report.drawing import log_axis, save, styled
from crosslatent.report.publish import published
from crosslatent.report.safe import write_csv

TRAIN, HELD_OUT = "train", "held_out"
LOSS = "loss"

_LOG_RATIO = 20.0
"""A loss that falls by more than this is drawn on a logarithmic scale."""
_COLUMNS = 3
_NAMES = {
    LOSS: "loss, all terms weighted",
    "align": "align: what languages share",
    "separate": "separate: what is specific",
    "retain": "retain: the central language",
}
_STOPS = {
    FINISHED: "all epochs done",
    EARLY: "stopped early, because the held-out loss got no better",
    INTERRUPTED: "interrupted before the end",
    NAN: "stopped, because the loss was not a number; the last good state was kept",
}


def write_training_figures(record: TrainRecord, out: Path) -> list[Path]:
    """Write ``curve.png``, ``curve.pdf``, ``curve.svg`` and ``curve.csv``.

    Args:
        record: what a training run did; a curve without points gives the table alone.
        out: folder, made if it is not there; other files in it are left alone.

    Returns:
        The files.

    Raises:
        RunFolderError: `out` cannot be written.
    """
    with published(out) as (draft, files):
        write_csv(_table(record.curve), draft / "curve.csv")
        if record.curve:
            with styled():
                save(figure(record), draft / "curve")
    return files


def _table(curve: Sequence[CurvePoint]) -> pd.DataFrame:
    """One row a point, with a column for each term."""
    columns = ["step", "epoch", "split", "lr", LOSS, *(f"term_{name}" for name in _terms(curve))]
    rows = [
        {
            "step": point.step,
            "epoch": point.epoch,
            "split": point.split,
            "lr": point.lr,
            LOSS: point.loss,
            **{f"term_{name}": value for name, value in point.terms.items()},
        }
        for point in curve
    ]
    return pd.DataFrame.from_records(rows, columns=columns)


def _terms(curve: Sequence[CurvePoint]) -> list[str]:
    return list(dict.fromkeys(name for point in curve for name in point.terms))


def figure(record: TrainRecord) -> Figure:
    """The loss and each of its terms by step, on training rows and on held-out ones."""
    terms = _terms(record.curve)
    # A single unweighted term would be the same curve twice.
    panels = [LOSS] if len(terms) == 1 and _same(record.curve, terms[0]) else [LOSS, *terms]
    columns = min(_COLUMNS, len(panels)) if len(panels) != 4 else 2
    rows = math.ceil(len(panels) / columns)
    width = max(3.4 * columns + 0.3, 4.6)
    result = Figure(figsize=(width, 2.5 * rows + 0.95), layout="constrained")
    axes = [result.add_subplot(rows, columns, place + 1) for place in range(len(panels))]
    for place, (axis, name) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, record, name)
        axis.set_title(_title(name) if len(panels) > 1 or not terms else f"loss ({terms[0]})")
        if place >= len(panels) - columns:
            axis.set_xlabel("step")
    handles, labels = axes[0].get_legend_handles_labels()
    result.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    said = textwrap.fill(sentence(record), width=int(14 * width))
    result.suptitle(said, fontsize=8.5, x=0.01, ha="left")
    return result


def _same(curve: Sequence[CurvePoint], term: str) -> bool:
    return all(math.isclose(point.terms.get(term, math.nan), point.loss) for point in curve)


def sentence(record: TrainRecord) -> str:
    """How the run ended, for the head of the figure."""
    stop = _STOPS.get(record.stopped, record.stopped)
    parts = [f"After {formatting.count(record.steps, 'step')}: {stop}."]
    if record.best_step is not None:
        parts.append(f"Lowest held-out loss at step {record.best_step:,}.")
    elif not record.points(HELD_OUT):
        parts.append("No rows were held out.")
    return " ".join(parts)


def _panel(axis: Axes, record: TrainRecord, name: str) -> None:
    held = _series(record.points(HELD_OUT), name)
    train = _series(record.points(TRAIN), name)
    if train:
        axis.plot(*zip(*train, strict=True), color=colours.GREY, linewidth=0.9, alpha=0.85,
                  marker="o" if len(train) == 1 else None, markersize=3,
                  label="training rows of the step")  # fmt: skip
    if held:
        axis.plot(*zip(*held, strict=True), color=colours.ACCENT, linewidth=1.8, marker="o",
                  markersize=4 if len(held) <= 40 else 2, label="held-out rows")  # fmt: skip
    if record.best_step is not None:
        axis.axvline(record.best_step, color=colours.INK, linewidth=0.9,
                     linestyle=(0, (4, 3)), label="best step")  # fmt: skip
    if _wide([value for _, value in (*train, *held)]):
        log_axis(axis)
    else:
        axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.tick_params(which="both", length=0)
    axis.grid(axis="y", color=colours.PALE, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.margins(x=0.03)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _title(name: str) -> str:
    term, _, rest = name.partition("@")
    return f"{_NAMES[name]}" if name in _NAMES else f"{term} ({rest})" if rest else name


def _series(points: Sequence[CurvePoint], name: str) -> list[tuple[int, float]]:
    values = [(point.step, point.loss if name == LOSS else point.terms.get(name))
              for point in points]  # fmt: skip
    return [(step, value) for step, value in values if value is not None and math.isfinite(value)]


def _wide(values: Sequence[float]) -> bool:
    """Whether a logarithmic scale shows more."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_RATIO
