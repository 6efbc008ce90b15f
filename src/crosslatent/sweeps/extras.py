"""What a sweep adds to its rows if asked: attribution of all pairs, and sampled answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crosslatent.attribution import Score, Scores, attributions
from crosslatent.sampling import sample
from crosslatent.scoring import distinct_starts
from crosslatent.store.extras import (
    attribution_table,
    items_in,
)
from crosslatent.store.folder import RunFolder
from crosslatent.store.parts import PartTable
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.progress import Show, Tracker
from crosslatent.tasks import RULES, Item

_TOGETHER = 64
"""Items whose prompts are held as token ids at once."""


def run_extras(plan: SweepPlan, folder: RunFolder, show: Show) -> None:
    """Write what the plan asks for beside the rows, as far as it is not there yet.

    Args:
        plan: the sweep.
        folder: its run folder, open for writing by this process.
        show: gets the progress; prompts that are read count as captured, samples as rows.
    """
    if plan.attribution:
        _attribution(plan, folder, show)
    if plan.samples:
        _samples(plan, folder, show)


def score_of(plan: SweepPlan, item: Item) -> Score:
    """What is estimated for an item: its options where their first tokens tell them apart."""
    starts = distinct_starts(plan.model, item.options or ())
    options = tuple(tuple(tokens) for tokens in starts.values() if tokens)
    return Score(options=options if len(options) > 1 else ())


def _attribution(plan: SweepPlan, folder: RunFolder, show: Show) -> None:
    todo = _missing(plan, folder.attribution)
    if not todo:
        return
    tracker = Tracker(show, 0, len(todo), 0)
    done = 0
    for number, part in enumerate(_parts(todo)):
        found = attributions(
            plan.model,
            [(plan.tokens[item.id].main, plan.tokens[item.id].aux) for item in part],
            plan.components,
            scores=[score_of(plan, item) for item in part],
            positions=plan.positions,
            strength=plan.strength,
            # Padding rounds otherwise than no padding: exact numbers come from prompts run alone.
            batch_size=1 if plan.exact else 16,
        )
        scores: dict[str, Scores] = {}
        for item, by_component in zip(part, found, strict=True):
            scores[item.id] = by_component
            done += 1
            tracker.captured(done, len(todo))
        folder.attribution.write(folder.part_name(number), attribution_table(scores))


def _samples(plan: SweepPlan, folder: RunFolder, show: Show) -> None:
    todo = _missing(plan, folder.samples)
    if not todo:
        return
    tracker = Tracker(show, 0, len(todo), len(todo) * plan.samples)
    done = 0
    for number, part in enumerate(_parts(todo)):
        rows: list[dict[str, Any]] = []
        answers = sample(
            plan.model,
            [plan.tokens[item.id].main for item in part],
            [item.id for item in part],
            samples=plan.samples,
            max_new_tokens=plan.max_new_tokens,
            seed=plan.seed,
        )
        for item, outputs in zip(part, answers, strict=True):
            rows += _judged(plan, item, outputs)
            done += plan.samples
            tracker.answered(done)
            tracker.finished()
        folder.samples.write(folder.part_name(number), rows)


def _judged(plan: SweepPlan, item: Item, outputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, output in enumerate(outputs):
        verdict = RULES[plan.rule].judge(output, item)
        yield {
            "item": item.id,
            "number": number,
            "output": output,
            "prediction": verdict.prediction,
            "correct": verdict.correct,
        }


def _missing(plan: SweepPlan, table: PartTable) -> list[Item]:
    """The items that a table lacks."""
    known = items_in(table.read(["item"]))
    items = [item for item in plan.task.items if item.id in plan.tokens]
    return [item for item in items if item.id not in known]


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _TOGETHER):
        yield items[start : start + _TOGETHER]
