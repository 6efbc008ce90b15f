"""The Python interface: a sweep, and a run folder as an object; `api.transplants` for one question.

What needs torch is imported where it is used: a run folder is read without it, in half the time.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from crosslatent.core.bars import told
from crosslatent.core.cards import Card, Shown
from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import complete, documented, part
from crosslatent.core.specs import Component, check_component
from crosslatent.core.untrusted import check_type
from crosslatent.runs import RunReader
from crosslatent.runs.contents import readable
from crosslatent.runs.run_folder import VECTORS
from crosslatent.runs.run_path import run_path
from crosslatent.runs.vector_parts import VectorParts
from crosslatent.sweeps.spec import RunSettings, SweepSpec, WorkerSettings, uses_workers
from crosslatent.tasks import Item, Task, task_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go
    import polars as pl
    from numpy.typing import NDArray
    from upath import UPath

    from crosslatent.analysis import Comparison
    from crosslatent.model import Model
    from crosslatent.runs.run_status import RunStatus
    from crosslatent.sweeps import Progress


class Run(Shown):
    """A run folder: rows as a data frame, upper bounds and heat maps."""

    def __init__(self, path: str | Path | UPath) -> None:
        """Open a run folder, by its path or its URL.

        Raises:
            RunFolderError: it is not one, has no rows yet, or is damaged.
        """
        if not hasattr(path, "joinpath"):
            check_type(path, str, "A run is the path or the URL of its folder")
        self._reader = RunReader(path)
        self.path = self._reader.path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _card(self) -> Card:
        need("stats")
        from crosslatent.report.notebook import run_card

        return run_card(self._reader)

    def status(self) -> RunStatus:
        """How far the run is, also while a sweep is writing to it."""
        from crosslatent.runs.run_status import read_status

        return read_status(self.path)

    def to_pandas(self) -> pd.DataFrame:
        """The rows, one per generated answer; columns as in `runs.schema.ROWS`."""
        with readable(self.path), self._reader.connect() as connection:
            frame: pd.DataFrame = connection.execute("SELECT * FROM rows").df()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """The rows for polars, mappings as lists of keys and values.

        Raises:
            MissingExtraError: polars is not installed.
        """
        return self._reader.to_polars()

    def vectors(self, component: str) -> dict[str, NDArray[np.float32]]:
        """The vectors captured from each item's aux; needs a run with `keep_vectors`.

        Returns:
            Item -> layers d_model (layers positions d_model, if several), in float32.

        Raises:
            PairError: the run has no vectors of this component.
            RunFolderError: they cannot be read.
        """
        found = VectorParts(self.path / VECTORS).read(component)
        if not found:
            raise PairError(
                f"The run has no vectors of {component!r}: sweep it with --keep-vectors, and name "
                "one of its components."
            )
        return found

    def estimates(self, *, seed: int = 0) -> pd.DataFrame:
        """Every figure of the run in one long table; see `analysis.estimates` and docs/runs.md.

        Raises:
            MissingExtraError: the libraries of the extra ``stats`` are not installed.
        """
        need("stats")
        from crosslatent.analysis import estimates

        return estimates(self._reader, seed=seed)

    def upper_bound(self) -> pd.DataFrame:
        """Share of items that any pair solves, by component and control, with intervals.

        See docs/methods.md 1.3: an upper bound means little without its controls beside it.

        Raises:
            MissingExtraError: the libraries of the extra ``stats`` are not installed.
        """
        need("stats")
        from crosslatent.analysis.figure_tables import upper_bounds

        return upper_bounds(self._reader)

    def heatmap(self, component: str | None = None) -> go.Figure:
        """Gain over vanilla by source and target layer; by default of the run's first component.

        Raises:
            PairError: the run does not have this component.
            MissingExtraError: the libraries of the extra ``report`` are not installed.
        """
        need("report")
        from crosslatent.report import heatmap

        ran: list[Component] = self._reader.manifest["spec"].get("components", [])
        if not ran:
            raise PairError("The run has no pairs of layers to draw: sweep some.")
        if component is not None and component not in ran:
            raise PairError(f"The run has no {component!r} rows: it has {', '.join(ran)}.")
        return heatmap(self._reader, check_component(component or ran[0]))

    plot = heatmap


def compare_runs(
    first: Run | str | Path | UPath, second: Run | str | Path | UPath, *, seed: int = 0
) -> Comparison:
    """Compare two runs on the questions that both have, the second minus the first.

    Args:
        first: a run, its folder or its URL.
        second: another one.
        seed: of the intervals and tests.

    Returns:
        The figures with their intervals, maps, and the answers that differ; `to_pandas` has the
        figures as a table. See docs/runs.md.

    Raises:
        UsageError: both are one run; or they share no question, and the second one does not repeat
            the declared headline of the first on others.
        RunFolderError: one is no run folder, or is damaged.
    """
    need("stats")
    from crosslatent.analysis import compare as compare_folders

    paths = (one.path if isinstance(one, Run) else one for one in (first, second))
    return compare_folders(*paths, seed=seed)


class SweepOptions(SweepSpec, RunSettings, WorkerSettings):
    """The settings of `sweep`."""


@documented(SweepOptions)
def sweep(
    model: Model | str | Path,
    items: Task | Sequence[Item | Mapping[str, Any]],
    *,
    out: str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    **options: Unpack[SweepOptions],
) -> Run:
    """Run every (source, target) pair on every item; see `sweeps.run_sweep`.

    What fails is in the run's `failures` and does not raise.

    Args:
        model: the model; or its folder or name on the hub, which is then loaded as `load` does, or,
            with `processes` or `ray`, by every worker.
        items: a task, or items, or objects with `main`, `aux` and what else `tasks.Item` has.
        out: the run folder or its URL, resumed if it holds the same run; None makes a temporary
            folder.
        progress: True for a bar; or a function, called after every step of every batch.
        {settings}

    Raises:
        UsageError: something in the arguments does not fit the model or the items; with workers, a
            model that is loaded already.
        SweepError: one item after another fails.
    """
    from crosslatent.model import Model, loaded
    from crosslatent.sweeps import run_sweep

    complete(SweepOptions, options)
    spec, asked = part(SweepSpec, options), part(WorkerSettings, options)
    running = part(RunSettings, options)
    task = items if isinstance(items, Task) else task_of(items)
    folder = run_path(out if out is not None else tempfile.mkdtemp(prefix="crosslatent-"))
    if not uses_workers(asked):
        with told(progress, task.name) as show:
            outcome = run_sweep(
                loaded(model), task, spec, folder, progress=show, warned=_warned, **running
            )
        return Run(outcome.path)
    if isinstance(model, Model):
        raise UsageError(
            f"With processes or ray, every worker loads the model itself, but {model.name!r} is "
            "loaded already: give its folder or name instead."
        )
    from crosslatent.distributed import ModelSource, SweepJob, place_of, run_on_workers, workers_at

    job = SweepJob(task, spec, str(folder.absolute()), running=running)
    source, slices = ModelSource.of(model), asked["slice_rows"]
    with workers_at(place_of(asked), source) as pool, told(progress, task.name) as show:
        outcome = run_on_workers(job, pool, slice_rows=slices, progress=show, warned=_warned)
    return Run(outcome.path)


class SweepWarning(UserWarning):
    """What a user should know of a sweep's prompts, or of resuming it."""


def _warned(note: str) -> None:
    warnings.warn(note, SweepWarning, stacklevel=4)
