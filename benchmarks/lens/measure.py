"""The protocol: every scheme in a process of its own, in turn, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lens import data
from benchmarks.lens.cases import BATCH, Case
from benchmarks.lens.compare import agreement
from benchmarks.lens.schemes import OURS, RELEASED, SCHEMES
from benchmarks.venvs import ROOT

_EMPTY = "print(open('/proc/self/status').read())"
"""What the empty interpreter runs: it imports nothing and says how much memory it took."""

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""A request to a worker's result, or to "error"."""


@dataclass(slots=True)
class Measured:
    """One scheme in one case; lists are over repetitions.

    Attributes:
        case: which.
        scheme: who.
        runs: what the worker said each time.
        error: why there is nothing, if so.
        agreement: how its losses and weights compare with those of the released scheme.
    """

    case: Case
    scheme: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    agreement: dict[str, float] = field(default_factory=dict)

    def training(self) -> list[float]:
        """Seconds of all trainings of the case."""
        return [sum(each["seconds"] for each in run["trainings"]) for run in self.runs]

    def processor(self) -> list[float]:
        """Seconds of the processor in all trainings, which other work on the machine leaves be."""
        return [sum(each["processor"] for each in run["trainings"]) for run in self.runs]

    def with_loading(self) -> list[float]:
        """The same and the seconds of loading."""
        return [
            run["loading"] + seconds
            for run, seconds in zip(self.runs, self.training(), strict=True)
        ]

    def last_training(self) -> list[float]:
        """Seconds of the last of the case's trainings."""
        return [run["trainings"][-1]["seconds"] for run in self.runs]

    def peaks(self, empty: int) -> list[float]:
        """Most resident bytes above an empty interpreter's."""
        return [run["peak"] - empty for run in self.runs]


def empty_interpreter() -> int:
    """Most resident bytes of an interpreter that imports nothing."""
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _EMPTY], capture_output=True, text=True, check=True
    )
    (line,) = (line for line in found.stdout.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def measure(
    cases: Sequence[Case],
    repetitions: int,
    threads: int,
    ask: Ask | None = None,
    schemes: Sequence[str] = tuple(SCHEMES),
) -> list[Measured]:
    """All cases with these schemes; each repetition begins with another one."""
    send = ask or in_a_process(threads)
    results: list[Measured] = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="crosslatent-bench-") as name:
            folder = data.save(Path(name), case.shape, case.rows)
            results += _of_case(case, folder, repetitions, threads, send, schemes)
    return results


def _of_case(
    case: Case, folder: Path, repetitions: int, threads: int, ask: Ask, schemes: Sequence[str]
) -> Iterable[Measured]:
    found = {scheme: Measured(case, scheme) for scheme in schemes}
    names = list(schemes)
    for repetition in range(repetitions):
        shift = repetition % len(names)
        for scheme in names[shift:] + names[:shift]:
            request = _request(case, scheme, folder, threads, first=not repetition)
            _once(found[scheme], ask, request, repetition)
    _compare(found, folder)
    return found.values()


def order_of(case: Case) -> list[list[int]]:
    """Rows of every step, as this package's training orders them: schemes see the same batches."""
    from crosslatent.lens.training import parallel_rows

    return [
        batch
        for epoch in range(case.epochs)
        for batch in parallel_rows.parts_of(
            parallel_rows.order_of(range(case.rows), epoch, 0), BATCH
        )
    ]


def in_a_process(threads: int) -> Ask:
    """Answers requests in a fresh process each."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "benchmarks.lens.worker", json.dumps(request)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing was said (out of memory?)"]
            return {"error": said[-1][:300]}
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    return ask


def _request(case: Case, scheme: str, folder: Path, threads: int, *, first: bool) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "folder": str(folder),
        "case": case.to_json(),
        "threads": threads,
        "order": order_of(case),
        "weights": str(_weights(folder, case, scheme)) if first else None,
    }


def _weights(folder: Path, case: Case, scheme: str) -> Path:
    """Where a worker leaves what it trained."""
    return folder / f"{case.key}-{scheme}.safetensors"


def _once(result: Measured, ask: Ask, request: dict[str, Any], repetition: int) -> None:
    if result.error is not None:
        return
    got = ask(request)
    if "error" in got:
        result.error = got["error"]
    else:
        result.runs.append(got)
    last = result.error or f"{result.training()[-1]:.2f} s"
    line = f"{result.case.title}: {result.scheme} [{repetition + 1}] {last}"
    print(line, file=sys.stderr, flush=True)


def _compare(found: dict[str, Measured], folder: Path) -> None:
    """Losses and weights of every scheme beside those of the released one."""
    base = found[RELEASED]
    for name, result in found.items():
        if name != RELEASED and result.error is None and base.error is None:
            case = result.case
            result.agreement = agreement(
                result.runs[0],
                base.runs[0],
                _weights(folder, case, name),
                _weights(folder, case, RELEASED),
                folder / "model" / "model.safetensors",
            )


def targets_met(results: Sequence[Measured], empty: int) -> list[dict[str, Any]]:
    """What was aimed at, and what came of it: medians of ratios within repetitions."""
    from statistics import median

    by_case: dict[Case, dict[str, Measured]] = {}
    for result in results:
        by_case.setdefault(result.case, {})[result.scheme] = result
    told: list[dict[str, Any]] = []
    for case, found in by_case.items():
        ours, base = found[OURS], found[RELEASED]
        if len(case.targets) > 1 or ours.error or base.error:
            continue
        if not case.memory_only:
            aim = 1.7 if case.epochs == 1 else 3.0
            times = median(ratios(base.training(), ours.training()))
            told.append(
                {"what": f"time, {case.title}", "aim": aim, "is": times, "met": times >= aim}
            )
        held = median(ratios(ours.peaks(empty), base.peaks(empty)))
        told.append({"what": f"memory, {case.title}", "aim": 0.6, "is": held, "met": held <= 0.6})
    return told


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Within each repetition, whose runs were made close to each other."""
    return [one / other for one, other in zip(over, under, strict=True)]
