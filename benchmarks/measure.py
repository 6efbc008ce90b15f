"""The protocol: every contender in turn, again and again, and a check that all answer the same."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, LIMIT, REFERENCE, Contender
from benchmarks.instance import save_model
from benchmarks.process import Worker
from benchmarks.task import Task
from crosslatent.core.costs import Shape

Rows = dict[tuple[int, int], dict[str, Any]]
"""What a contender answered, by pair: "ids" and "watched"."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure; sample None leaves it to the cases, 0 is all pairs everywhere."""

    venvs: Path
    repetitions: int = 3
    threads: int = 1
    sample: int | None = None


@dataclass(slots=True)
class Measured:
    """One contender in one case.

    Attributes:
        case: which.
        contender: who.
        seconds: of each repetition; scaled to all pairs where only some were run.
        pairs: pairs that were run.
        of: pairs of the case.
        differing: rows whose ids are not those of the reference, among `checked`.
        checked: rows that both answered.
        apart: largest difference of a watched log-probability (nats).
        peak: most resident bytes during a run.
        resident: resident bytes with the model loaded.
        peak_reset: whether `peak` is of the run alone; else it counts from the process's start.
        versions: of the libraries.
        error: why there is no number.
    """

    case: Case
    contender: str
    seconds: list[float] = field(default_factory=list)
    pairs: int = 0
    of: int = 0
    differing: int | None = None
    checked: int = 0
    apart: float | None = None
    peak: int = 0
    resident: int = 0
    peak_reset: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    error: str | None = None


def measure(
    cases: Sequence[Case], settings: Settings, start: Callable[..., Any] = Worker
) -> list[Measured]:
    """All cases; those of one shape share a model and its workers, which `start` starts."""
    ordered = sorted(cases, key=lambda case: case.shape.layers)
    return [
        result
        for shape, same in groupby(ordered, key=lambda case: case.shape)
        for result in _of_shape(shape, list(same), settings, start)
    ]


def _of_shape(
    shape: Shape, cases: list[Case], settings: Settings, start: Callable[..., Any]
) -> Iterator[Measured]:
    names = [name for name in CONTENDERS if any(name in case.contenders for case in cases)]
    with tempfile.TemporaryDirectory() as name:
        folder = save_model(Path(name), shape)
        workers = {
            name: start(CONTENDERS[name], folder, settings.venvs, settings.threads)
            for name in names
        }
        try:
            for worker in workers.values():
                worker.ready()
            yield from _rounds(cases, workers, settings)
        finally:
            for worker in workers.values():
                worker.stop()


def _rounds(
    cases: list[Case], workers: dict[str, Worker], settings: Settings
) -> Iterator[Measured]:
    """Repetition by repetition, all cases; every contender in turn, the first one moving on."""
    found = {
        (number, name): _blank(case, name, workers[name], settings)
        for number, case in enumerate(cases)
        for name in workers
        if name in case.contenders
    }
    answers: dict[int, dict[str, Rows]] = {number: {} for number in range(len(cases))}
    for repetition in range(settings.repetitions):
        for number, case in enumerate(cases):
            names = [name for name in workers if name in case.contenders]
            shift = repetition % len(names)
            for name in names[shift:] + names[:shift]:
                result = found[number, name]
                _once(result, workers[name], settings, answers[number])
                _progress(result, repetition)
    for (number, name), result in found.items():
        if name != LIMIT:
            _compare(result, answers[number])
        yield result


def _blank(case: Case, name: str, worker: Worker, settings: Settings) -> Measured:
    task = case.task()
    run = _task_of(CONTENDERS[name], case, task, settings)
    return Measured(
        case,
        name,
        pairs=len(run.pairs),
        of=len(task.pairs),
        resident=worker.resident,
        versions=worker.versions,
        error=worker.error or _too_large(CONTENDERS[name], case),
    )


def _task_of(contender: Contender, case: Case, task: Task, settings: Settings) -> Task:
    sample = case.sample if settings.sample is None else settings.sample
    if not contender.by_pair or not sample or sample >= len(task.pairs):
        return task
    return task.sample(sample)


def _once(result: Measured, worker: Worker, settings: Settings, answers: dict[str, Rows]) -> None:
    """One run; the first one's answers are kept."""
    if result.error is not None:
        return
    task = _task_of(CONTENDERS[result.contender], result.case, result.case.task(), settings)
    got = worker.measure(task, answers=not result.seconds)
    if "error" in got:
        result.error = got["error"]
        return
    result.seconds.append(got["once"] + (got["seconds"] - got["once"]) * result.of / result.pairs)
    result.peak = max(result.peak, got["peak"])
    result.peak_reset = got["peak_reset"]
    if got.get("ids"):
        watched = got["watched"] or [[]] * len(got["ids"])
        rows = ({"ids": i, "watched": w} for i, w in zip(got["ids"], watched, strict=True))
        answers[result.contender] = dict(zip(task.pairs, rows, strict=True))


def _compare(result: Measured, answers: dict[str, Rows]) -> None:
    """Against the reference, or against whoever answered first where it takes no part."""
    mine = answers.get(result.contender)
    theirs = answers.get(REFERENCE) or next(iter(answers.values()), None)
    if mine is None or theirs is None:
        return
    both = [(mine[pair], theirs[pair]) for pair in mine if pair in theirs]
    result.checked = len(both)
    result.differing = sum(a["ids"] != b["ids"] for a, b in both)
    result.apart = max(
        (abs(x - y) for a, b in both for x, y in zip(a["watched"], b["watched"], strict=True)),
        default=None,
    )


def _too_large(contender: Contender, case: Case) -> str | None:
    """Why a contender that repeats the prompt's cache for every row cannot run, if so."""
    if not contender.expands:
        return None
    shape, task = case.shape, case.task()
    numbers = len(task.pairs) * (len(task.main) + task.new_tokens) * shape.layers
    needed = 4 * 2 * numbers * shape.kv_heads * shape.head_dim
    if 1.5 * needed <= memory.available():
        return None
    return f"not run: its cache alone is {needed / 2**30:.1f} GiB, more than fits here"


def _progress(result: Measured, repetition: int) -> None:
    last = result.error or f"{result.seconds[-1]:.3f} s"
    line = f"{result.case.group}: {result.case.title}: {result.contender} [{repetition + 1}] {last}"
    print(line, file=sys.stderr, flush=True)
