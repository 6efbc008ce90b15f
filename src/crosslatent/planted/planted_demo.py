"""A planted model from facts to report: what each answer must be, and what the sweep finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import parse_json
from crosslatent.model import load
from crosslatent.planted.logic import COMPONENTS
from crosslatent.planted.planting import PlantingSettings, plant
from crosslatent.planted.prediction import (
    FILE,
    TRUE,
    MapAgreement,
    agreements,
    compared,
    predicted,
    write,
)
from crosslatent.planted.weights import Family, build, check
from crosslatent.report import ReportPaths, build_report, colours, formatting
from crosslatent.report.drawing import save, styled
from crosslatent.runs.files import prepare_folder, write_json
from crosslatent.sweeps import Progress, SweepSpec, run_sweep

TUNE, TEST = "pilot", "unseen"
MARKER = "planted.json"
"""What an earlier call leaves behind first; by it a folder is known as that of a planted model."""
ENTITIES = 12
PICTURE = "planted"

SPEC = SweepSpec(
    component=COMPONENTS,
    pairs="all",
    controls=("shuffled", "self"),
    control_splits=(TEST,),
    seed=0,
)


@dataclass(frozen=True, slots=True)
class PlantedOutcome:
    """What came of a planted model.

    Attributes:
        report: the files of the report.
        prediction: the file that was written before the sweep, and its SHA-256.
        agreements: of the answers with it, by component, of true and `self` vectors.
        picture: planted beside measured, as a PNG file.
        rows: answers of this call.
    """

    report: ReportPaths
    prediction: tuple[Path, str]
    agreements: list[MapAgreement]
    picture: Path
    rows: int


def run_planted(
    variant: str,
    out: Path,
    *,
    settings: PlantingSettings | None = None,
    family: Family = "llama",
    noise: float = 0.0,
    progress: Callable[[str, Progress], None] | None = None,
) -> PlantedOutcome:
    """Plant a variant, predict every answer, sweep all pairs, and compare.

    Args:
        variant: its name, a key of `planting.VARIANTS`.
        out: gets the model, the prediction, the run folder, the report and a picture.
        settings: of the variant; 12 entities by default.
        family: kind of model.
        noise: see `weights.build`.
        progress: called after every step of every batch, with the task's name.

    Raises:
        UsageError: there is no such variant, or it does not fit the settings.
        RunFolderError: `out` cannot be written, or is of something else.
    """
    settings = settings or PlantingSettings(entities=ENTITIES)
    check(family, noise)
    arguments = {"variant": variant, "family": family, "noise": noise, **asdict(settings)}
    _begin(out, arguments)
    planted = plant(variant, settings)
    task = planted.task.select(splits=(TUNE, TEST))
    prediction = predicted(planted, task, family)
    digest = write(prediction, out)
    build(planted.circuit, out / "model", family=family, noise=noise, seed=settings.seed)
    run = out / "runs" / task.name
    outcome = run_sweep(
        load(str(out / "model"), device="cpu", dtype="float32"),
        task,
        SPEC,
        run,
        progress=None if progress is None else lambda state: progress(task.name, state),
        requested=arguments,
    )
    report = build_report([run], out, seed=SPEC["seed"])
    rows = compared(run, prediction)
    found = agreements(rows)
    return PlantedOutcome(
        report, (out / FILE, digest), found, draw(found, out / PICTURE), outcome.rows
    )


def _begin(out: Path, arguments: dict[str, Any]) -> None:
    """Mark a folder as that of a planted model, or see that it is of the same one.

    Raises:
        RunFolderError: it is of another, or of something else.
    """
    if prepare_folder(out, MARKER):
        there = parse_json((out / MARKER).read_text(encoding="utf-8"))
        if there != arguments:
            raise RunFolderError(
                f"The planted model in {str(out)!r} was made with other arguments ({there}, not "
                f"{arguments}): give another folder."
            )
    write_json(out / MARKER, arguments)


def draw(found: Sequence[MapAgreement], stem: Path) -> Path:
    """Draw the planted maps beside the measured ones: PNG, PDF, SVG; true vectors alone."""
    shown = [one for one in found if one.control == TRUE]
    scale = LinearSegmentedColormap.from_list("share", list(colours.SEQUENTIAL_LIGHT))
    with styled():
        figure = Figure(figsize=(2.6 * len(shown), 5.4), layout="constrained")
        grid = np.atleast_2d(figure.subplots(2, len(shown), squeeze=False))
        for column, one in enumerate(shown):
            maps = (("planted", one.planted), ("measured", one.measured))
            for axes, (name, shares) in zip(grid[:, column], maps, strict=True):
                _map(axes, shares, scale)
                title = formatting.first_upper(formatting.component(one.component))
                axes.set_title(f"{title}, {name}")
            grid[1, column].set_xlabel("target layer")
        for axes in grid[:, 0]:
            axes.set_ylabel("source layer")
        save(figure, stem)
    return stem.with_suffix(".png")


def _map(axes: Any, shares: NDArray[np.float64], scale: LinearSegmentedColormap) -> None:
    """Shares in per cent, a cell for each pair."""
    axes.pcolormesh(shares, cmap=scale, vmin=0, vmax=1, edgecolors="white", linewidth=1)
    size = len(shares)
    for source, target in np.ndindex(shares.shape):
        share = shares[source, target]
        axes.text(
            *(target + 0.5, source + 0.5, f"{100 * share:.0f}"),
            ha="center",
            va="center",
            fontsize=6.5 if size <= 8 else 4.5,
            color="white" if share > 0.6 else colours.INK,
        )
    ticks = np.arange(0, size, 1 if size <= 8 else 4)
    axes.set(xticks=ticks + 0.5, yticks=ticks + 0.5, xticklabels=ticks, yticklabels=ticks)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
