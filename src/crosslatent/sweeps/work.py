"""Doing slices of a sweep with a model: rows, and what is asked for beside them.

The same in one process and in the workers of a cluster. An item that raises something is tried by
itself, and if it fails again it is left out with its reason, so that the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosslatent.controls import PREPARED_TOGETHER, Vectors
from crosslatent.decoding import silent
from crosslatent.engine import EnginePath, TieBreaker
from crosslatent.engine import run as answer
from crosslatent.requests import Request
from crosslatent.store.schema import Failure
from crosslatent.sweeps.extras import Extra, make_extra
from crosslatent.sweeps.faults import ITEM_FAULTS, Streak, failure_of
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.questions import Asked, asked
from crosslatent.sweeps.slices import Block, Kind


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a block.

    Attributes:
        block: the block.
        rows: its rows, as `store.schema.ROWS` has them; none if it failed.
        paths: the ways that were taken, and why no faster ones.
        failure: why it could not be run.
    """

    block: Block
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
        """Prepare to answer.

        Args:
            plan: the sweep.
            path: how rows are computed.
            batch_rows: rows per batch; None for what memory holds.
            captured: told how many prompts of how many have been read for a pool's mean.
        """
        self._plan, self._path, self._batch_rows = plan, path, batch_rows
        self._items = plan.grid.donors.items
        self._streak = Streak()
        self._failed: set[str] = set()
        self._breaker = TieBreaker(plan.model, plan.max_new_tokens) if plan.exact else None
        self._vectors = Vectors(
            plan.model,
            plan.grid.donors,
            plan.tokens,
            plan.components,
            seed=plan.seed,
            positions=plan.positions,
            paraphrase=plan.tokens.paraphrase,
            # Padding rounds otherwise than no padding: exact answers come from prompts run alone.
            batch_size=1 if plan.exact else 16,
            advance=captured,
        )

    def answer(
        self, blocks: Sequence[Block], advance: Callable[[float], None] = silent
    ) -> Iterator[Done]:
        """Answer blocks, in their order.

        Args:
            blocks: which rows of which items.
            advance: told how many of these rows have been answered.

        Raises:
            SweepError: one item after another fails.
        """
        todo = deque(block for block in blocks if block.item not in self._failed)
        done = 0
        while todo:
            started: list[Block] = []
            before = done
            try:
                for found in self._together(list(todo), started, _beyond(before, advance)):
                    todo.popleft()
                    done += len(found.rows)
                    self._streak.add(None)
                    yield found
            except ITEM_FAULTS as error:
                suspects = [todo.popleft() for _ in started] or [todo.popleft()]
                for block in suspects:
                    found = self._alone(block, error if len(suspects) == 1 else None)
                    done += len(found.rows)
                    yield found
            # An item that failed is not tried again with its other rows.
            todo = deque(block for block in todo if block.item not in self._failed)

    def _alone(self, block: Block, error: Exception | None) -> Done:
        """A block that was under way when something failed; it may be innocent."""
        if block.item in self._failed:
            return Done(block)
        if error is None:
            try:
                (done,) = self._together([block], [], silent)
            except ITEM_FAULTS as again:
                error = again
            else:
                self._streak.add(None)
                return done
        failure = failure_of(block.item, error)
        self._failed.add(block.item)
        self._streak.add(failure)
        return Done(block, failure=failure)

    def _together(
        self, blocks: Sequence[Block], started: list[Block], advance: Callable[[float], None]
    ) -> Iterator[Done]:
        """Answer blocks in common batches; `started` has those under way."""
        waiting: deque[tuple[Block, tuple[Asked, ...]]] = deque()

        def requests() -> Iterator[Request]:
            for block, parts in self._prepared(blocks, started):
                waiting.append((block, parts))
                yield from (part.request for part in parts)

        answers = answer(
            self._plan.model,
            requests(),
            max_new_tokens=self._plan.max_new_tokens,
            path=self._path,
            batch_rows=self._batch_rows,
            advance=advance,
        )
        for first in answers:
            block, parts = waiting.popleft()
            answered = [first, *(next(answers) for _ in parts[1:])]
            paths = tuple(EnginePath(each.paths[0], each.reason) for each in answered)
            rows = [
                row
                for part, each in zip(parts, answered, strict=True)
                for row in part.records(self._settled(part, each))
            ]
            started.remove(block)
            yield Done(block, rows, paths)

    def _settled(self, part: Asked, answered: Any) -> Any:
        """The answers with near-ties answered again, if that was asked for."""
        if self._breaker is None:
            return answered
        return self._breaker.settle(part.request, answered, part.margins(answered))

    def _prepared(
        self, blocks: Sequence[Block], started: list[Block]
    ) -> Iterator[tuple[Block, tuple[Asked, ...]]]:
        """Blocks with their requests; the vectors of some items are captured together."""
        grid = self._plan.grid
        for group in _groups(blocks):
            started += group
            items = [self._items[block.item] for block in group]
            variants = [grid.variants(item) for item in items]
            donors = [one.donor for found in variants for one in found if one.donor is not None]
            self._plan.tokens.fetch([*(item.id for item in items), *donors])
            self._vectors.prepare(zip(items, variants, strict=True))
            for block, item in zip(group, items, strict=True):
                planned = grid.planned(item)
                rows = [planned[place] for place in block.places]
                yield block, asked(self._plan, item, rows, self._vectors)


def _groups(blocks: Sequence[Block]) -> Iterator[Sequence[Block]]:
    for start in range(0, len(blocks), PREPARED_TOGETHER):
        yield blocks[start : start + PREPARED_TOGETHER]


def _beyond(before: int, advance: Callable[[float], None]) -> Callable[[float], None]:
    return lambda rows: advance(before + rows)


def extras(
    plan: SweepPlan, kind: Kind, blocks: Sequence[Block], streak: Streak
) -> Iterator[tuple[Extra | None, Failure | None]]:
    """What one of the tables beside the rows says of some items; one by one if that fails.

    Yields:
        Rows of several items, or of one; or the failure of one.

    Raises:
        SweepError: one item after another fails.
    """
    try:
        yield make_extra(plan, kind, blocks), None
    except ITEM_FAULTS:
        for block in blocks:
            made, failure = _extra_of_one(plan, kind, block)
            streak.add(failure)
            yield made, failure


def _extra_of_one(plan: SweepPlan, kind: Kind, block: Block) -> tuple[Extra | None, Failure | None]:
    try:
        return make_extra(plan, kind, [block]), None
    except ITEM_FAULTS as error:
        return None, failure_of(block.item, error)
