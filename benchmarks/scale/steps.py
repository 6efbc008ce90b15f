"""One step of the life of a large run, in a process of its own: `python -m benchmarks.scale.steps`.

Prints one JSON object: the seconds that the step took, the most memory that the process ever held
(interpreter and libraries included), and what the step found.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scale import synthetic
from benchmarks.scale.synthetic import Shape

if TYPE_CHECKING:
    from crosslatent.runs import RunFolder

Found = dict[str, Any]
NEAR_TIE = 1e-3
"""Logits; rows with a smaller margin are counted."""


def write(run: Path, shape: Shape) -> Found:
    """Write all rows that are missing, through the store."""
    from crosslatent.runs import RunFolder

    rows = 0
    with RunFolder.open(run, synthetic.manifest(shape)) as folder:
        folder.write_items(synthetic.items(shape))
        missing = set(_missing(folder, shape))
        for number, questions in enumerate(synthetic.parts(shape)):
            left = [one for one in questions if one in missing]
            if left:
                table = synthetic.part(shape, left)
                folder.rows.write(folder.part_name(number), table)
                rows += table.num_rows
        folder.write_status(folder.totals(NEAR_TIE))
    return {"rows": rows}


def resume(run: Path, shape: Shape) -> Found:
    """Open the folder again and find the questions that lack rows."""
    from crosslatent.runs import RunFolder

    with RunFolder.open(run, synthetic.manifest(shape)) as folder:
        set_aside = [part.name for part in folder.set_aside]
        return {"missing": _missing(folder, shape), "set_aside": set_aside}


def _missing(folder: RunFolder, shape: Shape) -> list[int]:
    counts = folder.inventory.counts
    return [
        question
        for question in range(shape.items)
        if counts.get(synthetic.item_id(question), 0) < shape.rows_per_item
    ]


def aggregate(run: Path) -> Found:
    """Upper bounds with intervals, as the report has them: overall, by layer, by language."""
    from crosslatent.analysis.bounds import upper_bound
    from crosslatent.analysis.data import RunData
    from crosslatent.runs.reader import RunReader

    data = RunData(RunReader(run))
    bounds = [upper_bound(data, component) for component in data.components]
    return {"bounds": {bound.component: asdict(bound) for bound in bounds if bound is not None}}


def frame(run: Path) -> Found:
    """`Run.upper_bound()`."""
    from crosslatent.api import Run

    return {"bounds": json.loads(Run(run).upper_bound().to_json(orient="records"))}


def heatmap(run: Path) -> Found:
    """`Run.heatmap()`."""
    from crosslatent.api import Run

    return {"traces": len(Run(run).heatmap().data)}


def export(run: Path) -> Found:
    """Rows beside their items as one Parquet file, in order."""
    from crosslatent.runs.reader import export_rows

    out = run.parent / f"{run.name}.parquet"
    rows = export_rows(run, out, "parquet")
    size = out.stat().st_size
    out.unlink()
    return {"rows": rows, "bytes": size}


def report(run: Path) -> Found:
    """The whole report."""
    import shutil

    from crosslatent.report import build_report

    out = run.parent / f"{run.name}-report"
    paths = build_report([run], out)
    size = paths.page.stat().st_size
    shutil.rmtree(out)
    return {"page_bytes": size}


WRITING: Mapping[str, Callable[[Path, Shape], Found]] = {"write": write, "resume": resume}
READING: Mapping[str, Callable[[Path], Found]] = {
    step.__name__: step for step in (aggregate, frame, heatmap, export, report)
}


def main(arguments: Sequence[str]) -> None:
    """Run the step named first, in the folder named second, on a run of the shape given as JSON."""
    name, run, shape = arguments
    began = time.perf_counter()
    if name in WRITING:
        found = WRITING[name](Path(run), Shape(**json.loads(shape)))
    else:
        found = READING[name](Path(run))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, **found}))


if __name__ == "__main__":
    main(sys.argv[1:])
