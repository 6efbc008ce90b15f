"""Some rows of an item as requests to the engine, and its answers as rows of the run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from crosslatent.answering.ask import JudgedRow, Prompted
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers
from crosslatent.core.specs import Component, Site
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds import Transplant
from crosslatent.sweeps.control import Variant
from crosslatent.sweeps.grid import PlannedRow
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.vectors import Vectors
from crosslatent.tasks import Item


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of an item with rows: over main, or over aux."""

    item: Item
    prompted: Prompted
    rows: tuple[PlannedRow, ...]

    def records(self, answers: Sequence[JudgedRow]) -> Iterator[dict[str, Any]]:
        """The rows of `runs.schema.ROWS`."""
        for row, answer in zip(self.rows, answers, strict=True):
            yield {
                **_head(self.item, row),
                **answer.record,
                "path": answer.path,
                "seconds": answer.seconds,
            }


def asked(
    plan: SweepPlan, item: Item, rows: Sequence[PlannedRow], vectors: Vectors
) -> tuple[Asked, ...]:
    """Some rows of an item as requests: those over main, then the one over aux."""
    main, aux = (tuple(ids) for ids in plan.tokens[item.id])
    over_aux = [row for row in rows if row.variant.control == "translate_test"]
    over_main = [row for row in rows if row.variant.control != "translate_test"]
    # An answer to aux is in the language of aux, so it is judged by what is right there.
    answers = plan.tokens.answers[item.id]
    parts = [
        (main, item, answers.main, over_main),
        (aux, item.as_aux(), answers.aux, over_aux),
    ]
    return tuple(
        _asked(plan, item, prompt, _scorer(plan, judged, spelled), of_prompt, vectors)
        for prompt, judged, spelled, of_prompt in parts
        if of_prompt
    )


def _scorer(plan: SweepPlan, judged: Item, spelled: SpelledAnswers) -> ItemScorer:
    return ItemScorer(
        plan.model,
        judged,
        plan.rule,
        plan.task.metric,
        whole=plan.scoring,
        # What is longer than an answer may be could not be sampled, and might not fit.
        plain=plan.max_new_tokens,
        spelled=spelled,
    )


def _asked(
    plan: SweepPlan,
    item: Item,
    prompt: tuple[int, ...],
    scorer: ItemScorer,
    rows: Sequence[PlannedRow],
    vectors: Vectors,
) -> Asked:
    edits = tuple(_edits(plan, item, rows, vectors))
    prompted = Prompted(prompt, edits, scorer, least_tail=plan.spec["positions"])
    return Asked(item, prompted, tuple(rows))


def _edits(
    plan: SweepPlan, item: Item, rows: Sequence[PlannedRow], vectors: Vectors
) -> Iterator[tuple[Intervention, ...]]:
    """What each row changes; the vectors of a variant are made once for all its pairs."""
    made: dict[tuple[Variant, Component], Tensor] = {}
    conditions = {one.id: one.row for one in plan.conditions}
    for row in rows:
        if row.condition is not None:
            yield conditions[row.condition]
            continue
        if row.component is None or row.source is None or row.target is None:
            yield ()
            continue
        place = (row.variant, row.component)
        if place not in made:
            made[place] = vectors.layers(item, *place)
        site = Site(row.component, row.target)
        yield (Transplant(site, made[place][row.source], plan.spec["strength"]),)


def _head(item: Item, row: PlannedRow) -> dict[str, Any]:
    """The columns that say what a row is."""
    return {
        "item": item.id,
        "lang": item.lang,
        "component": row.component,
        "source": row.source,
        "target": row.target,
        "control": row.variant.control,
        "stratum": row.variant.stratum,
        "donor": row.variant.donor,
        "condition": row.condition,
    }
