"""One sweep in a process of its own: ``python -m benchmarks.workers.case JSON`` prints its time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COLUMNS = "item, component, control, stratum, source, target, output, output_ids"
"""What must be the same whoever did the work."""


def run(model: Path, out: Path, items: int, workers: int, slice_rows: int | None) -> dict[str, Any]:
    """Run one sweep and say how long it took.

    Args:
        model: its folder.
        out: the run folder, which must not exist.
        items: questions.
        workers: of Ray; 0 for this process alone.
        slice_rows: rows of a slice.
    """
    from crosslatent.distributed import (
        Cluster,
        ModelSource,
        SweepJob,
        run_on_workers,
        workers_at,
    )
    from crosslatent.model import load
    from crosslatent.sweeps import SweepSpec, run_sweep

    spec = SweepSpec(component=("attn", "ffn"), max_new_tokens=NEW_TOKENS)
    started = time.monotonic()
    if workers:
        job = SweepJob(task(items), spec, str(out))
        place = Cluster(workers=workers)
        with counted() as parts, workers_at(place, ModelSource.of(model)) as pool:
            outcome = run_on_workers(job, pool, slice_rows=slice_rows)
    else:
        parts = []
        outcome = run_sweep(load(model), task(items), spec, out)
    return {
        "seconds": time.monotonic() - started,
        "rows": outcome.rows,
        "slices": len(parts),
        "in_slices": sum(parts),
        "digest": digest(out),
    }


NEW_TOKENS = 8


def task(items: int) -> Any:
    """Questions of some 100 tokens each."""
    from crosslatent.tasks import task_of

    filler = "Maji ni uhai na kila kiumbe huyahitaji ili kuishi vizuri siku zote za maisha. "
    return task_of(
        [
            {
                "id": f"q{number:03d}",
                "lang": "sw",
                "aux_lang": "en",
                "main": f"{filler}Swali la {number}: jibu ni lipi? Jibu:",
                "aux": f"Water is life, and all that lives needs it. Question {number}? Answer:",
                "answer": "a",
            }
            for number in range(items)
        ]
    )


@contextmanager
def counted() -> Iterator[list[float]]:
    """Seconds that each work unit took in its worker, collected while the context is open."""
    from crosslatent.distributed.worker_pool import WorkerPool

    seconds: list[float] = []
    original = WorkerPool.do

    def do(self: Any, work_units: Any, session: int) -> Iterator[Any]:
        for result in original(self, work_units, session):
            if result.part is not None:
                seconds.append(result.part.seconds)
            yield result

    WorkerPool.do = do  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        WorkerPool.do = original  # type: ignore[method-assign]


def digest(out: Path) -> str:
    """Hash of the rows, in the order of their keys."""
    from crosslatent.core.specs import canonical_hash
    from crosslatent.runs import RunReader

    with RunReader(out).connect() as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM rows ORDER BY ALL").fetchall()
    return canonical_hash([list(map(str, row)) for row in rows])


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    arguments["model"], arguments["out"] = Path(arguments["model"]), Path(arguments["out"])
    print(json.dumps(run(**arguments)))
