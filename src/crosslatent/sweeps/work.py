"""Runs work units of a sweep with a model: rows, and the extras that were requested.

The same in one process and in the workers of a cluster. An item that raises something is tried by
itself, and if it fails again it is left out with its reason, so that the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from crosslatent.answering.ask import JudgedRow, Prompted, ask
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers
from crosslatent.core.errors import ITEM_FAULTS
from crosslatent.core.specs import Component, Site
from crosslatent.engine import EnginePath
from crosslatent.engine.decoding import silent
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.runs.schema import Failure
from crosslatent.sweeps.bookkeeping import Streak, failure_of
from crosslatent.sweeps.control import Variant
from crosslatent.sweeps.extras import Extra, make_extra
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.vectors import PREPARED_TOGETHER, Vectors
from crosslatent.sweeps.work_units import Kind, PlannedRow, RowRange
from crosslatent.tasks import Item


@dataclass(frozen=True, slots=True)
class Done:
    """What came of some rows of an item.

    Attributes:
        row_range: which rows.
        rows: its rows, as `runs.schema.ROWS` has them; none if it failed.
        paths: the ways that were taken, and why no faster ones.
        failure: why it could not be run.
    """

    row_range: RowRange
    rows: list[dict[str, Any]] = field(default_factory=list)
    paths: tuple[EnginePath, ...] = ()
    failure: Failure | None = None


class RowWorker:
    """Answers the rows of a sweep."""

    def __init__(
        self,
        plan: SweepPlan,
        path: EnginePath,
        batch_rows: int | None = None,
        captured: Callable[[int, int], None] | None = None,
    ) -> None:
        """Prepare to answer, in batches of `batch_rows` (None for what memory holds).

        `captured` is called with the number of prompts read for a pool's mean, and their total.
        """
        self._plan, self._path, self._batch_rows = plan, path, batch_rows
        self._items = plan.grid.donors.items
        self._streak = Streak()
        self._failed: set[str] = set()
        self._breaker = TieBreaker(plan.model, plan.max_new_tokens) if plan.spec["exact"] else None
        self._vectors = Vectors(
            plan.model,
            plan.grid.donors,
            plan.tokens,
            plan.components,
            seed=plan.spec["seed"],
            positions=plan.spec["positions"],
            paraphrase=plan.tokens.paraphrase,
            # Padding rounds otherwise than no padding: exact answers come from prompts run alone.
            batch_size=1 if plan.spec["exact"] else 16,
            advance=captured,
        )

    def answer(
        self, ranges: Sequence[RowRange], advance: Callable[[float], None] = silent
    ) -> Iterator[Done]:
        """Answer ranges, in their order.

        Args:
            ranges: which rows of which items.
            advance: called with the number of these rows that have been answered.

        Raises:
            SweepError: one item after another fails.
        """
        todo = deque(row_range for row_range in ranges if row_range.item not in self._failed)
        done = 0
        while todo:
            started: list[RowRange] = []
            before = done
            try:
                for found in self._together(list(todo), started, _beyond(before, advance)):
                    todo.popleft()
                    done += len(found.rows)
                    self._streak.add(None)
                    yield found
            except ITEM_FAULTS as error:
                suspects = [todo.popleft() for _ in started] or [todo.popleft()]
                for row_range in suspects:
                    found = self._alone(row_range, error if len(suspects) == 1 else None)
                    done += len(found.rows)
                    yield found
            # An item that failed is not tried again with its other rows.
            todo = deque(row_range for row_range in todo if row_range.item not in self._failed)

    def _alone(self, row_range: RowRange, error: Exception | None) -> Done:
        """A row range that was under way when something failed; it may be innocent."""
        if row_range.item in self._failed:
            return Done(row_range)
        if error is None:
            try:
                (done,) = self._together([row_range], [], silent)
            except ITEM_FAULTS as again:
                error = again
            else:
                self._streak.add(None)
                return done
        failure = failure_of(row_range.item, error)
        self._failed.add(row_range.item)
        self._streak.add(failure)
        return Done(row_range, failure=failure)

    def _together(
        self, ranges: Sequence[RowRange], started: list[RowRange], advance: Callable[[float], None]
    ) -> Iterator[Done]:
        """Answer ranges in common batches; `started` has those under way."""
        waiting: deque[tuple[RowRange, tuple[AskedPrompt, ...]]] = deque()

        def prompts() -> Iterator[Prompted]:
            for row_range, parts in self._prepared(ranges, started):
                waiting.append((row_range, parts))
                yield from (part.prompted for part in parts)

        answers = ask(
            self._plan.model,
            prompts(),
            max_new_tokens=self._plan.max_new_tokens,
            path=self._path,
            batch_rows=self._batch_rows,
            exact=self._breaker,
            advance=advance,
        )
        for first in answers:
            row_range, parts = waiting.popleft()
            answered = [first, *(next(answers) for _ in parts[1:])]
            paths = tuple(judged[0].engine for judged in answered)
            rows = [
                row
                for part, judged in zip(parts, answered, strict=True)
                for row in part.records(judged)
            ]
            started.remove(row_range)
            yield Done(row_range, rows, paths)

    def _prepared(
        self, ranges: Sequence[RowRange], started: list[RowRange]
    ) -> Iterator[tuple[RowRange, tuple[AskedPrompt, ...]]]:
        """Blocks with their requests; the vectors of some items are captured together."""
        grid = self._plan.grid
        for group in _groups(ranges):
            started += group
            items = [self._items[row_range.item] for row_range in group]
            variants = [grid.variants(item) for item in items]
            donors = [one.donor for found in variants for one in found if one.donor is not None]
            self._plan.tokens.fetch([*(item.id for item in items), *donors])
            self._vectors.prepare(zip(items, variants, strict=True))
            for row_range, item in zip(group, items, strict=True):
                planned = grid.planned(item)
                rows = [planned[place] for place in row_range.places]
                yield row_range, asked(self._plan, item, rows, self._vectors)


def _groups(ranges: Sequence[RowRange]) -> Iterator[Sequence[RowRange]]:
    for start in range(0, len(ranges), PREPARED_TOGETHER):
        yield ranges[start : start + PREPARED_TOGETHER]


def _beyond(before: int, advance: Callable[[float], None]) -> Callable[[float], None]:
    return lambda rows: advance(before + rows)


def extras(
    plan: SweepPlan, kind: Kind, ranges: Sequence[RowRange], streak: Streak
) -> Iterator[tuple[Extra | None, Failure | None]]:
    """What one of the tables beside the rows says of some items; one by one if that fails.

    Yields:
        Rows of several items, or of one; or the failure of one.

    Raises:
        SweepError: one item after another fails.
    """
    try:
        yield make_extra(plan, kind, ranges), None
    except ITEM_FAULTS:
        for row_range in ranges:
            made, failure = _extra_of_one(plan, kind, row_range)
            streak.add(failure)
            yield made, failure


def _extra_of_one(
    plan: SweepPlan, kind: Kind, row_range: RowRange
) -> tuple[Extra | None, Failure | None]:
    try:
        return make_extra(plan, kind, [row_range]), None
    except ITEM_FAULTS as error:
        return None, failure_of(row_range.item, error)


@dataclass(frozen=True, slots=True)
class AskedPrompt:
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
) -> tuple[AskedPrompt, ...]:
    """Some rows of an item as requests: those over main, then the one over aux."""
    main, aux = (tuple(ids) for ids in plan.tokens[item.id])
    over_aux = [row for row in rows if row.variant.control == "translate_test"]
    over_main = [row for row in rows if row.variant.control != "translate_test"]
    # An answer to aux is in the language of aux, so it is judged by what is right there.
    answers = plan.tokens.answers[item.id]
    parts = [(main, item, answers.main, over_main), (aux, item.as_aux(), answers.aux, over_aux)]
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
) -> AskedPrompt:
    edits = tuple(_edits(plan, item, rows, vectors))
    prompted = Prompted(prompt, edits, scorer, least_tail=plan.spec["positions"])
    return AskedPrompt(item, prompted, tuple(rows))


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
