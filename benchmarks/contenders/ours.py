"""What the two contenders of this package share: rows of a task, and decoded rows as answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.task import Answers, Run, Task


def runner(folder: Path, run_rows: Callable[..., Sequence[Any]]) -> Run:
    """Load the model; see `on`."""
    import crosslatent

    return on(crosslatent.load(folder, device="cpu", dtype="float32"), run_rows)


def on(model: Any, run_rows: Callable[..., Sequence[Any]]) -> Run:
    """What answers tasks with a wrapped model: reads aux once, gives all rows to `run_rows`."""
    from crosslatent.interventions.activations import capture_ids

    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = capture_ids(model, [task.aux], (task.component,))[task.component][0]
        once = time.perf_counter() - started
        decoded = run_rows(
            model,
            task.main,
            rows_of(task, vectors),
            max_new_tokens=task.new_tokens,
            watch=task.watch,
        )
        return Answers([row.ids for row in decoded], [row.watched for row in decoded], once)

    return run


def rows_of(task: Task, vectors: Any) -> list[Any]:
    """The rows of a task as this package writes them; vectors are layers d_model."""
    from crosslatent.core.specs import Site
    from crosslatent.interventions.kinds.transplant import Transplant

    return [
        (Transplant(Site(task.component, target), vectors[source]),)
        for source, target in task.pairs
    ]
