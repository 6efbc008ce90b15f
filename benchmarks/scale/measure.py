"""Steps of a large run, each in a fresh process, and what they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.scale.synthetic import Shape

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Step:
    """One step, done.

    Attributes:
        name: of the step; see `steps`.
        seconds: wall time, without starting the interpreter.
        peak_bytes: most memory that its process held.
        found: what it says of the run.
    """

    name: str
    seconds: float
    peak_bytes: int
    found: dict[str, Any]


class StepError(Exception):
    """A step failed; the message is what its process said last."""


def run_step(name: str, run: Path, shape: Shape) -> Step:
    """Run a step in a process of its own and wait for it.

    Raises:
        StepError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.scale.steps", name, str(run)]
    paths = [str(ROOT), str(ROOT / "src")]
    done = subprocess.run(  # noqa: S603
        [*command, json.dumps(asdict(shape))],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise StepError(f"{name}: {done.stderr.strip() or done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Step(name, found.pop("seconds"), found.pop("peak_bytes"), found)


def rows_bytes(run: Path) -> int:
    """Bytes of the parts of a run on disk."""
    return sum(file.stat().st_size for file in (run / "rows").iterdir())
