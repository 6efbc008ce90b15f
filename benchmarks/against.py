"""`python -m benchmarks --against COMMIT`: this tree and another commit, in turns, in one run.

Each version answers in a process of its own, by its public names: a sweep over a shared prefix,
the same by scoring options, and training with Lens. Machines are noisy, so what counts is the ratio
of neighbours in time, and its range.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import MAIN, TINY
from benchmarks.instance import save_model
from benchmarks.venvs import ROOT

JOBS = ("sweep", "scoring", "lens")
"""What is measured, by the names of `benchmarks.jobs`."""

SIZE = {"prompt": 150, "items": 4, "new_tokens": 20, "rows": 32}
QUICK = {"prompt": 40, "items": 3, "new_tokens": 3, "rows": 16}


@dataclass(frozen=True, slots=True)
class Compared:
    """One job in both versions.

    Attributes:
        job: its name.
        ratios: seconds here divided by seconds there, a value each repetition.
        here, there: median seconds.
        differing: rows (or losses) that are not the same in both.
        rows: how many were compared.
    """

    job: str
    ratios: tuple[float, ...]
    here: float
    there: float
    differing: int
    rows: int

    def line(self) -> str:
        """A row of the table."""
        return (
            f"| {self.job} | {self.here:.2f} s | {self.there:.2f} s | "
            f"{statistics.median(self.ratios):.3f} | {min(self.ratios):.3f} to "
            f"{max(self.ratios):.3f} | {self.differing} of {self.rows:,} |"
        )


def against(commit: str, repetitions: int, threads: int, *, quick: bool = False) -> list[Compared]:
    """Measure every job in this tree and in a commit, in turns.

    Args:
        commit: what git calls the other version.
        repetitions: of each job, after one that is not counted.
        threads: of torch, in both.
        quick: a tiny model: shows that everything runs.

    Raises:
        SystemExit: there is no such commit, or one of the versions fails.
    """
    with tempfile.TemporaryDirectory() as scratch, _tree(commit, Path(scratch)) as there:
        folder = save_model(Path(scratch) / "model", TINY if quick else MAIN)
        size = QUICK if quick else SIZE
        (folder / "job.json").write_text(json.dumps(size), encoding="utf-8")
        pair = [_start(tree, folder, threads) for tree in (ROOT, there)]
        try:
            return [_compare(job, pair, repetitions) for job in JOBS]
        finally:
            for process in pair:
                process.communicate()


def table(found: list[Compared]) -> str:
    """The results in Markdown."""
    head = (
        "| job | this tree | the commit | median ratio | range | differing |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    return "\n".join([head, *(one.line() for one in found)])


def _compare(job: str, pair: list[subprocess.Popen[str]], repetitions: int) -> Compared:
    first = [_ask(process, job) for process in pair]  # warms up
    seconds: list[list[float]] = [[], []]
    for number in range(repetitions):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            seconds[which].append(float(_ask(pair[which], job)["seconds"]))
    here, there = (answer["digest"] for answer in first)
    differing = sum(one != other for one, other in zip(here, there, strict=False))
    differing += abs(len(here) - len(there))
    ratios = tuple(one / other for one, other in zip(*seconds, strict=True))
    medians = [statistics.median(times) for times in seconds]
    return Compared(job, ratios, medians[0], medians[1], differing, max(len(here), len(there)))


@contextmanager
def _tree(commit: str, scratch: Path) -> Iterator[Path]:
    """A working tree of a commit, which is removed afterwards."""
    tree = scratch / "tree"
    done = _git("worktree", "add", "--detach", str(tree), commit)
    if done.returncode:
        sys.exit(f"There is no version {commit!r} to compare with: {done.stderr.strip()}")
    try:
        yield tree
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        ["git", "-C", str(ROOT), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )


def _start(tree: Path, folder: Path, threads: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, str(ROOT / "benchmarks" / "jobs.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": str(tree / "src"),
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
    where = Path(_read(process)["where"])
    if not where.is_relative_to(tree):
        sys.exit(f"The version of {tree} was not measured, but the one in {where}.")
    return process


def _ask(process: subprocess.Popen[str], job: str) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(job + "\n")
    process.stdin.flush()
    return _read(process)


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit("A version ended without an answer: run its job by hand to see why.")
    answer: dict[str, Any] = json.loads(line)
    return answer
