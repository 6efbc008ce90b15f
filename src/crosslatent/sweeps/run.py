"""The sweep itself: every item, every variant, every (source, target) pair, into a run folder.

A row runner (`engine.run_rows` or `oracle.run_rows`, same contract) answers the planned rows; the
answers are judged and stored. A faster runner needs no change here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from crosslatent import engine as batched
from crosslatent import oracle
from crosslatent.controls import Tokens, Variant, Vectors
from crosslatent.decoding import Decoded
from crosslatent.edits import Edit, Row
from crosslatent.errors import TaskError
from crosslatent.model import Model
from crosslatent.scoring import ItemScorer
from crosslatent.specs import Component, Site
from crosslatent.store import RunFolder
from crosslatent.sweeps.manifest import build_manifest
from crosslatent.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from crosslatent.tasks import Item, Task

EngineName = Literal["batched", "oracle"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is: items done (in earlier runs too), all items, rows of this run."""

    done: int
    total: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What a sweep left behind.

    Attributes:
        path: the run folder.
        rows: rows written by this call.
        failures: item -> reason, for items that could not be run.
        seconds: wall time of this call.
    """

    path: Path
    rows: int
    failures: dict[str, str]
    seconds: float


class RowRunner(Protocol):
    """Answers one prompt once for each row; the seam between the sweep and its engines."""

    def __call__(
        self,
        model: Model,
        main: Sequence[int],
        rows: Sequence[Row],
        *,
        max_new_tokens: int,
        watch: Sequence[int] = (),
    ) -> list[Decoded]:
        """Return one answer per row, in order."""
        ...


_RUNNERS: dict[EngineName, tuple[RowRunner, str]] = {
    "batched": (batched.run_rows, batched.PATH),
    "oracle": (oracle.run_rows, oracle.PATH),
}


def run_sweep(
    model: Model,
    task: Task,
    spec: SweepSpec,
    out: Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    requested: dict[str, Any] | None = None,
    headline: dict[str, Any] | None = None,
    new: bool = False,
    strict: bool = False,
    engine: EngineName = "batched",
) -> SweepOutcome:
    """Run a sweep into a run folder, or what is missing of it.

    Args:
        model: the model.
        task: the questions.
        spec: what to run.
        out: the run folder; a run of the same arguments that is there is resumed.
        progress: called after every item.
        requested: the arguments as the user gave them, kept in run.json.
        headline: a comparison declared before any row exists, kept in run.json.
        new: start over instead of resuming.
        strict: an item that cannot be run stops the sweep.
        engine: which row runner answers.

    Raises:
        UsageError: see `plan_sweep`; with `strict`, an item that cannot be run.
        RunFolderError: the folder cannot be written, or holds something else.
    """
    plan = plan_sweep(model, task, spec)
    if strict and plan.failures:
        name, reason = next(iter(plan.failures.items()))
        raise TaskError(f"Item {name!r} cannot be run ({reason})")
    manifest = build_manifest(model, task, plan.spec(), requested, headline)
    started = time.monotonic()
    with closing(RunFolder.open(out, manifest, new=new)) as folder:
        folder.write_items([_item_row(model, item, plan.tokens) for item in task.items])
        rows = _run_items(plan, folder, engine, progress)
        folder.write_failures(plan.failures)
        counts = {"items": len(folder.done), "failures": len(plan.failures)}
        folder.write_status({**folder.totals(), **counts})
    return SweepOutcome(out, rows, plan.failures, time.monotonic() - started)


def _run_items(
    plan: SweepPlan,
    folder: RunFolder,
    engine: EngineName,
    progress: Callable[[Progress], None] | None,
) -> int:
    items = [item for item in plan.task.items if item.id in plan.tokens]
    todo = [item for item in items if item.id not in folder.done]
    if not todo:
        return 0
    vectors = Vectors(plan.model, items, plan.tokens, plan.components, plan.controls, plan.seed)
    started = time.monotonic()
    rows = 0
    with folder.buffered() as buffer:
        for number, item in enumerate(todo, start=1):
            rows += buffer.add(_run_item(plan, item, vectors, engine))
            if progress is not None:
                done = len(items) - len(todo) + number
                progress(Progress(done, len(items), rows, time.monotonic() - started))
    return rows


def _run_item(
    plan: SweepPlan, item: Item, vectors: Vectors, engine: EngineName
) -> list[dict[str, Any]]:
    """All rows of one item: vanilla, translate-test, and every variant of every pair."""
    runner, path = _RUNNERS[engine]
    started = time.monotonic()
    scorer = ItemScorer(plan.model, item, plan.task.rule)
    heads: list[dict[str, Any]] = [_head(item, Variant("vanilla"))]
    rows: list[Row] = [()]
    for head, row in _planned(plan, item, vectors):
        heads.append(head)
        rows.append(row)
    main, aux = plan.tokens[item.id]
    options: dict[str, Any] = {"max_new_tokens": plan.max_new_tokens, "watch": scorer.watch}
    decoded = runner(plan.model, main, rows, **options)
    heads.append(_head(item, Variant("translate_test")))
    decoded += runner(plan.model, aux, [()], **options)
    seconds = (time.monotonic() - started) / len(heads)
    return [
        {**head, **scorer.record(answer), "path": path, "seconds": seconds}
        for head, answer in zip(heads, decoded, strict=True)
    ]


def _planned(plan: SweepPlan, item: Item, vectors: Vectors) -> Iterator[tuple[dict[str, Any], Row]]:
    for variant in vectors.variants(item, plan.controls_for(item)):
        for component in plan.components:
            layers = vectors.layers(item, variant, component)
            for source, target in plan.pairs.for_language(item.lang):
                edit = Edit(Site(component, target), layers[source])
                yield _head(item, variant, component, (source, target)), (edit,)


def _head(
    item: Item,
    variant: Variant,
    component: Component | None = None,
    pair: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
    """The columns that say what a row is."""
    return {
        "item": item.id,
        "lang": item.lang,
        "component": component,
        "source": pair[0],
        "target": pair[1],
        "control": variant.control,
        "stratum": variant.stratum,
        "donor": variant.donor,
    }


def _item_row(model: Model, item: Item, tokens: Tokens) -> dict[str, Any]:
    data = item.to_dict()
    data["item"] = data.pop("id")
    data["strata"] = dict(item.strata)
    main, aux = tokens.get(item.id, ([], []))
    return {
        **data,
        "main_token": model.token_text(main[-1]) if main else "",
        "aux_token": model.token_text(aux[-1]) if aux else "",
        "main_length": len(main),
        "aux_length": len(aux),
    }
