"""The command line: `python -m benchmarks.scale`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.limits import broken
from benchmarks.scale.measure import Step, StepError, rows_bytes, run_step
from benchmarks.scale.synthetic import FULL, SMALL, Shape
from benchmarks.scale.tables import render
from crosslatent.core import hardware

ROUNDS = ("write", "resume", "aggregate", "frame", "heatmap", "export", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write `scale.md` and `scale.json`; 0 if every step ran within its limits."""
    options = _parser().parse_args(arguments)
    shape = SMALL if options.quick else FULL
    folder = Path(tempfile.mkdtemp(prefix="crosslatent-scale-", dir=options.space))
    try:
        steps = _steps(folder / "run", shape, options.skip_report)
        result = _result(steps, shape, rows_bytes(folder / "run"))
    except StepError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (options.out / "scale.json").write_text(text + "\n", encoding="utf-8")
    (options.out / "scale.md").write_text(render(result), encoding="utf-8")
    print(render(result))
    over = broken(steps)
    for line in over:
        print(line, file=sys.stderr)
    return 1 if over else 0


def _steps(run: Path, shape: Shape, skip_report: bool) -> list[Step]:
    steps: list[Step] = []
    for name in ROUNDS[:-1] if skip_report else ROUNDS:
        steps.append(run_step(name, run, shape))
        print(f"{name}: {steps[-1].seconds:.1f} s", file=sys.stderr)
    return steps


def _result(steps: Sequence[Step], shape: Shape, size: int) -> dict[str, Any]:
    return {
        "machine": hardware.describe(1),
        "shape": {
            "languages": shape.languages,
            "questions": shape.questions,
            "layers": shape.layers,
            "rows": shape.rows,
            "parts": shape.parts,
        },
        "bytes": size,
        "steps": {
            step.name: {"seconds": round(step.seconds, 2), "peak_bytes": step.peak_bytes}
            for step in steps
        },
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="50,000 rows: shows that everything runs")
    add("--skip-report", action="store_true", help="leave out the step that takes minutes")
    add("--space", type=Path, help="folder for the made-up run, some 400 MB (default: temporary)")
    add("--out", type=Path, default=Path("benchmarks/results"), help="for scale.md and scale.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
