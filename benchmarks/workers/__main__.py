"""Time the same sweep in one process and on workers of Ray; see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.instance import save_model
from crosslatent.core.costs import Shape
from crosslatent.core.hardware import describe

SHAPE = Shape(layers=8, hidden=256, intermediate=704, heads=8, kv_heads=4, head_dim=32, vocab=8192)
RESULTS = Path(__file__).parents[1] / "results"
FEW = 1
"""Questions of the run that tells what starting costs."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run the sweep.

    Attributes:
        name: for people.
        workers: of Ray; 0 for one process without it.
        slice_rows: rows of a slice; None for the default.
    """

    name: str
    workers: int
    slice_rows: int | None = None


WAYS = (
    Way("one process", 0),
    Way("1 worker", 1),
    Way("2 workers", 2),
    Way("1 worker, slices of 64 rows", 1, 64),
    Way("1 worker, slices of 1,024 rows", 1, 1024),
)


def main() -> int:
    """Run all ways in turn, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=48, help="questions of the timed sweep")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crosslatent-bench-") as folder:
        model = save_model(Path(folder) / "model", SHAPE)
        measured = _measure(Path(folder), model, options.items, options.repetitions)
    result = {
        "machine": describe(threads=1),
        "items": options.items,
        "repetitions": options.repetitions,
        "ways": measured,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "workers.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    text = _table(result)
    (RESULTS / "workers.md").write_text(text, encoding="utf-8")
    print(text)
    digests = {run["digest"] for way in measured.values() for run in way["runs"]}
    return 0 if len(digests) == 1 else 1


def _measure(folder: Path, model: Path, items: int, repetitions: int) -> dict[str, Any]:
    """Every way once after the other, so that what else the machine does hits all of them."""
    found: dict[str, Any] = {way.name: {"starts": [], "runs": []} for way in WAYS}
    for repetition in range(repetitions):
        for way in WAYS:
            for kind, asked in (("starts", FEW), ("runs", items)):
                out = folder / f"{repetition}-{way.workers}-{way.slice_rows}-{kind}"
                timed = _run(model, out, asked, way)
                found[way.name][kind].append(timed)
                print(f"{way.name}, {asked} questions: {timed}", file=sys.stderr)
    return found


def _run(model: Path, out: Path, items: int, way: Way) -> dict[str, Any]:
    arguments = {
        "model": str(model),
        "out": str(out),
        "items": items,
        "workers": way.workers,
        "slice_rows": way.slice_rows,
    }
    done = subprocess.run(  # noqa: S603 - this interpreter, our own module
        [sys.executable, "-m", "benchmarks.workers.case", json.dumps(arguments)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _table(result: dict[str, Any]) -> str:
    """Medians and ratios, as Markdown."""
    machine, ways = result["machine"], result["ways"]
    steady = {name: _steady(way) for name, way in ways.items()}
    alone = steady[WAYS[0].name]
    rows = ways[WAYS[0].name]["runs"][0]["rows"]
    about = (
        f"{rows:,} rows of {result['items']} questions, 8 blocks of width 256, one thread each; "
        f"{machine['cores']} cores of {machine['processor']}, torch {machine['torch']}; medians of "
        f"{result['repetitions']} runs that took turns. Starting (Ray, loading, planning) is what "
        "a sweep of one question takes, and is taken off."
    )
    lines = [
        "# Workers",
        "",
        about,
        "",
        "| | starting | the sweep | as fast as one process | slices | same rows |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    digest = ways[WAYS[0].name]["runs"][0]["digest"]
    for name, way in ways.items():
        same = all(run["digest"] == digest for run in way["runs"])
        lines.append(
            f"| {name} | {_median(way['starts']):.1f} s | {steady[name]:.1f} s | "
            f"{alone / steady[name]:.2f} | {way['runs'][0]['slices'] or ''} | "
            f"{'yes' if same else 'NO'} |"
        )
    small, large = (ways[way.name]["runs"][0]["slices"] for way in WAYS[-2:])
    each = (steady[WAYS[-2].name] - steady[WAYS[-1].name]) / (small - large)
    speedup = steady[WAYS[1].name] / steady[WAYS[2].name]
    found = (
        f"Two workers are {speedup:.2f} times as fast as one, and "
        f"{alone / steady[WAYS[2].name]:.2f} times as fast as one process without Ray. One more "
        f"slice costs {1000 * each:.0f} ms ({small} slices of 64 rows against {large} of 1,024): "
        "prompts that are read once more, smaller batches, a part that is written."
    )
    return "\n".join([*lines, "", found, ""])


def _median(runs: list[dict[str, Any]]) -> float:
    return float(statistics.median(run["seconds"] for run in runs))


def _steady(way: dict[str, Any]) -> float:
    return _median(way["runs"]) - _median(way["starts"])


if __name__ == "__main__":
    sys.exit(main())
