"""The sweep itself: every item, every variant, every (source, target) pair, into a run folder.

The engine answers the planned rows on one of its paths; the answers are judged and stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosslatent.controls import Vectors
from crosslatent.engine import EnginePath, TieBreaker, chosen_path
from crosslatent.engine import run as answer
from crosslatent.errors import TaskError
from crosslatent.model import Model
from crosslatent.requests import Request
from crosslatent.specs import AUTO, near_tie_margin
from crosslatent.store import RunFolder
from crosslatent.store.schema import Failure
from crosslatent.sweeps.extras import run_extras
from crosslatent.sweeps.manifest import build_manifest
from crosslatent.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from crosslatent.sweeps.progress import Progress, Show, Tracker
from crosslatent.sweeps.questions import Question
from crosslatent.sweeps.tokens import Ends
from crosslatent.tasks import Item, Task


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What a sweep left behind.

    Attributes:
        path: the run folder.
        rows: rows written by this call.
        failures: item -> reason, for items that could not be run.
        seconds: wall time of this call.
        paths: how rows were computed by this call, and why no faster way was taken.
        status: totals of the whole run, as in run.json.
    """

    path: Path
    rows: int
    failures: dict[str, str]
    seconds: float
    paths: tuple[EnginePath, ...]
    status: dict[str, Any]


def run_sweep(
    model: Model,
    task: Task,
    spec: SweepSpec,
    out: Path,
    *,
    progress: Show | None = None,
    requested: dict[str, Any] | None = None,
    failures: Mapping[str, str] | None = None,
    headline: dict[str, Any] | None = None,
    new: bool = False,
    strict: bool = False,
    engine: str = AUTO,
    batch_rows: int | None = None,
) -> SweepOutcome:
    """Run a sweep into a run folder, or what is missing of it.

    Args:
        model: the model.
        task: the questions.
        spec: what to run.
        out: the run folder; a run of the same arguments that is there is resumed.
        progress: called after every step of every batch.
        requested: the arguments as the user gave them, kept in run.json.
        failures: item -> why it cannot be run, as far as that is known already.
        headline: a comparison declared before any row exists, kept in run.json.
        new: start over instead of resuming.
        strict: an item that cannot be run stops the sweep.
        engine: "auto", or one of `specs.PATHS`.
        batch_rows: rows per batch; None for what memory holds.

    Raises:
        UsageError: see `plan_sweep`; an engine that does not serve the model; with `strict`, an
            item that cannot be run.
        ModelError: memory does not suffice for one row.
        RunFolderError: the folder cannot be written, or holds something else.
    """
    plan = plan_sweep(model, task, spec, failures)
    if strict and plan.failures:
        name, reason = next(iter(plan.failures.items()))
        raise TaskError(f"Item {name!r} cannot be run: {reason}")
    path = chosen_path(model, engine)
    manifest = build_manifest(plan, requested, headline)
    started = time.monotonic()
    with RunFolder.open(out, manifest, new=new) as folder:
        ends = plan.tokens.ends
        folder.write_items([_item_row(model, item, ends.get(item.id)) for item in task.items])
        rows, paths = _run_items(plan, folder, path, batch_rows, progress)
        folder.write_failures(
            [Failure(item, "prompt", reason) for item, reason in plan.failures.items()]
        )
        counts = {"items": len(folder.done), "failures": len(plan.failures)}
        status = {**folder.totals(near_tie_margin(manifest["model"]["dtype"])), **counts}
        folder.write_status(status)
        run_extras(plan, folder, progress or _silent)
    return SweepOutcome(out, rows, plan.failures, time.monotonic() - started, paths, status)


def _run_items(
    plan: SweepPlan,
    folder: RunFolder,
    path: EnginePath,
    batch_rows: int | None,
    progress: Show | None,
) -> tuple[int, tuple[EnginePath, ...]]:
    items = [item for item in plan.task.items if item.id in plan.tokens]
    todo = [item for item in items if item.id not in folder.done]
    if not todo:
        return 0, ()
    tracker = Tracker(progress or _silent, len(items) - len(todo), len(items), plan.rows_of(todo))
    rows = 0
    paths: dict[EnginePath, None] = {}
    with _buffered(folder) as buffer:
        for records, taken in _answered(plan, items, todo, path, batch_rows, tracker):
            rows += buffer.add(records)
            paths.update(dict.fromkeys(taken))
            tracker.finished()
    return rows, tuple(paths)


class _PartBuffer:
    """Rows of whole items on their way into parts, so that a crash loses some seconds of work."""

    def __init__(self, folder: RunFolder, seconds: float = 20.0) -> None:
        self._folder = folder
        self._seconds = seconds
        self._rows: list[dict[str, Any]] = []
        self._number = 0
        self._flushed = time.monotonic()

    def add(self, rows: list[dict[str, Any]]) -> int:
        self._rows += rows
        if time.monotonic() - self._flushed > self._seconds:
            self.flush()
        return len(rows)

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._folder.rows.write(self._folder.part_name(self._number), rows)
            self._folder.done.update(row["item"] for row in rows)
            self._number += 1
        self._flushed = time.monotonic()


@contextmanager
def _buffered(folder: RunFolder) -> Iterator[_PartBuffer]:
    """What is collected is written on leaving, interrupted or not."""
    buffer = _PartBuffer(folder)
    try:
        yield buffer
    finally:
        buffer.flush()


def _silent(_state: Progress) -> None:
    """What shows the progress that nobody asked to see."""


def _answered(
    plan: SweepPlan,
    items: Sequence[Item],
    todo: Sequence[Item],
    path: EnginePath,
    batch_rows: int | None,
    tracker: Tracker,
) -> Iterator[tuple[list[dict[str, Any]], list[EnginePath]]]:
    """The rows of each item that is to do, in order, and the paths that they took."""
    vectors = Vectors(
        plan.model,
        items,
        plan.tokens,
        plan.components,
        plan.controls,
        plan.seed,
        positions=plan.positions,
        paraphrase=plan.tokens.paraphrase,
        # Padding rounds otherwise than no padding: exact answers come from prompts run alone.
        batch_size=1 if plan.exact else 16,
        advance=tracker.captured,
    )
    waiting: deque[Question] = deque()

    def requests() -> Iterator[Request]:
        for item in todo:
            question = Question.of(plan, item, vectors)
            waiting.append(question)
            yield from question.requests

    breaker = TieBreaker(plan.model, plan.max_new_tokens) if plan.exact else None
    answers = answer(
        plan.model,
        requests(),
        max_new_tokens=plan.max_new_tokens,
        path=path,
        batch_rows=batch_rows,
        advance=tracker.answered,
    )
    for main in answers:
        both = [main, next(answers)]
        question = waiting.popleft()
        taken = [EnginePath(answered.paths[0], answered.reason) for answered in both]
        if breaker is not None:
            both = [
                breaker.settle(request, answered, question.margins(request, answered))
                for request, answered in zip(question.requests, both, strict=True)
            ]
        yield question.records(both), taken


def _item_row(model: Model, item: Item, ends: Ends | None) -> dict[str, Any]:
    data = item.to_dict()
    data["item"] = data.pop("id")
    data["strata"] = dict(item.strata)
    return {
        **data,
        "main_token": model.token_text(ends.main_token) if ends else "",
        "aux_token": model.token_text(ends.aux_token) if ends else "",
        "main_length": ends.main_length if ends else 0,
        "aux_length": ends.aux_length if ends else 0,
    }
