"""Optional results of a sweep beside its rows: attribution scores, sampled answers, vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crosslatent.answering.ask import sample
from crosslatent.answering.gradients import AttributionScore, attributions
from crosslatent.answering.scoring import distinct_starts
from crosslatent.core.specs import Component
from crosslatent.interventions.activations import capture_ids
from crosslatent.runs.schema import ATTRIBUTION
from crosslatent.runs.vector_parts import CapturedVectors
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.work_units import Kind, RowRange
from crosslatent.tasks import RULES, Item

Extra: TypeAlias = pa.Table | list[dict[str, Any]] | CapturedVectors
"""What a part of one of the tables beside the rows is made of."""

ITEMS_TOGETHER = 64
"""Items that are worked on at once; what is made of them becomes one part."""


def make_extra(plan: SweepPlan, kind: Kind, ranges: Sequence[RowRange]) -> Extra:
    """What one of the tables beside the rows says of some items."""
    items = [plan.grid.donors.items[row_range.item] for row_range in ranges]
    plan.tokens.fetch(item.id for item in items)
    return _MAKERS[kind](plan, items)


def joined(made: Sequence[Extra]) -> Extra | None:
    """Rows of one table that were made one after another; None if there are none."""
    tables = [part for part in made if isinstance(part, pa.Table)]
    vectors = [part for part in made if isinstance(part, CapturedVectors)]
    if tables:
        return pa.concat_tables(tables).unify_dictionaries()
    if vectors:
        return CapturedVectors(
            [item for part in vectors for item in part.items],
            {
                kind: np.concatenate([part.arrays[kind] for part in vectors])
                for kind in vectors[0].arrays
            },
        )
    return [row for part in made if isinstance(part, list) for row in part] or None


def attribution_of(plan: SweepPlan, items: Sequence[Item]) -> pa.Table:
    """Attribution scores of some items, rows of `runs.schema.ATTRIBUTION`."""
    found = attributions(
        plan.model,
        [(plan.tokens[item.id].main, plan.tokens[item.id].aux) for item in items],
        plan.components,
        scores=[score_of(plan, item) for item in items],
        positions=plan.spec["positions"],
        strength=plan.spec["strength"],
        # Padding rounds otherwise than no padding: exact numbers come from prompts run alone.
        batch_size=1 if plan.spec["exact"] else 16,
    )
    return attribution_table({item.id: scores for item, scores in zip(items, found, strict=True)})


def score_of(plan: SweepPlan, item: Item) -> AttributionScore:
    """What is estimated for an item: its options where their first tokens tell them apart."""
    # Without options the answers that are looked for are gold ones, which must not be known here.
    starts = distinct_starts(plan.tokens.answers[item.id].main) if item.options else {}
    options = tuple(tuple(tokens) for tokens in starts.values() if tokens)
    return AttributionScore(options=options if len(options) > 1 else ())


def samples_of(plan: SweepPlan, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Sampled answers of some items, rows of `runs.schema.SAMPLES`."""
    answers = sample(
        plan.model,
        [plan.tokens[item.id].main for item in items],
        [item.id for item in items],
        samples=plan.spec["samples"],
        max_new_tokens=plan.max_new_tokens,
        seed=plan.spec["seed"],
    )
    return [
        row
        for item, outputs in zip(items, answers, strict=True)
        for row in _judged(plan, item, outputs)
    ]


def vectors_of(plan: SweepPlan, items: Sequence[Item]) -> CapturedVectors:
    """What was captured from aux at its last tokens, and is carried over."""
    captured = capture_ids(
        plan.model,
        [plan.tokens[item.id].aux for item in items],
        plan.components,
        positions=plan.spec["positions"],
        batch_size=1 if plan.spec["exact"] else 16,
    )
    arrays = {str(kind): vectors.float().numpy() for kind, vectors in captured.items()}
    return CapturedVectors([item.id for item in items], arrays)


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


_MAKERS: Mapping[Kind, Callable[[SweepPlan, Sequence[Item]], Extra]] = {
    "attribution": attribution_of,
    "samples": samples_of,
    "vectors": vectors_of,
}


def attribution_table(scores: Mapping[str, Mapping[Component, NDArray[np.float32]]]) -> pa.Table:
    """Scores as rows of `schema.ATTRIBUTION`.

    Args:
        scores: item -> component -> N sources N targets.
    """
    tables = [
        _cells(item, component, grid)
        for item, by_component in scores.items()
        for component, grid in by_component.items()
    ]
    if not tables:
        return ATTRIBUTION.empty_table()
    return pa.concat_tables(tables).unify_dictionaries().cast(ATTRIBUTION)


def _cells(item: str, component: str, grid: NDArray[np.float32]) -> pa.Table:
    sources, targets = np.indices(grid.shape, dtype=np.int16)
    columns = [
        _repeated(item, grid.size),
        _repeated(component, grid.size),
        pa.array(sources.ravel()),
        pa.array(targets.ravel()),
        pa.array(grid.ravel().astype(np.float32)),
    ]
    return pa.table(columns, schema=ATTRIBUTION)


def _repeated(text: str, times: int) -> pa.Array:
    indices = pa.array(np.zeros(times, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text]))
