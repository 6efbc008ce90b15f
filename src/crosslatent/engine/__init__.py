"""The engine: rows of many prompts at once, on the fastest path that is right for the model.

Attention is causal and only the end of the prompt is edited, so what comes before is the same for
every row of a sweep: it is read once (docs/methods.md, 2). Requests go into batches: several small
ones together, a large one in parts, halved if memory runs out. Same contract as
`engine.oracle.run_rows`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, islice
from typing import TypeVar

from crosslatent.core.errors import MemoryShortError, ModelError
from crosslatent.core.specs import UNITS
from crosslatent.engine import memory
from crosslatent.engine.decoding import Decoded, silent
from crosslatent.engine.paths import (
    EnginePath,
    best_path,
    chosen_path,
    difference,
    path_of,
    why_not,
)
from crosslatent.engine.prefix_attention import Unshareable
from crosslatent.engine.requests import Answered, Pick, Prompts, Request
from crosslatent.interventions.intervention import Intervention
from crosslatent.model import Model
from crosslatent.model.modes import answering

__all__ = [
    "Answered",
    "EnginePath",
    "best_path",
    "chosen_path",
    "difference",
    "run",
    "run_rows",
    "why_not",
]

Timed = tuple[Decoded, float]
"""An answer, and its share of the seconds of its batch."""

Part = tuple[tuple[int, ...], Request]
"""A part of a request whose rows read the prompt alike, with the places of its rows."""

TOGETHER = 32
"""Requests in several parts that are taken at once, so that alike parts share batches."""

_Value = TypeVar("_Value")


@dataclass(slots=True)
class Batches:
    """Answers requests in batches.

    Attributes:
        model: the model.
        path: how rows are computed, where a request does not need another way.
        max_new_tokens: most new tokens, the end token counted in.
        rows: rows per batch; None for what memory holds.
        chunk: prompt tokens per forward; None for all at once.
        advance: called with the number of rows answered, fractions of unfinished ones included.
    """

    model: Model
    path: EnginePath
    max_new_tokens: int
    rows: int | None = None
    chunk: int | None = None
    advance: Callable[[float], None] = silent
    _ceiling: float = field(default=math.inf, init=False)
    """Half of what was too much for memory."""
    _done: int = field(default=0, init=False)
    """Rows that have been answered."""

    def run(self, requests: Iterable[Request]) -> Iterator[Answered]:
        """Answer requests in their order.

        Raises:
            MemoryShortError: memory does not even suffice for one row.
        """
        taken = ((request, request.alike()) for request in requests)
        for several, found in groupby(taken, key=lambda one: len(one[1]) > 1):
            if not several:
                yield from self._run(request for request, _ in found)
            while several and (some := list(islice(found, TOGETHER))):
                yield from self._sorted(some)

    def _sorted(self, taken: Sequence[tuple[Request, list[Part]]]) -> Iterator[Answered]:
        """Requests in parts: those of several requests that read their prompts alike together."""
        parts = [part for _, alike in taken for part in alike]
        first: dict[tuple[int, ...], int] = {}
        kinds = [first.setdefault(tuple(map(id, part.common)), len(first)) for _, part in parts]
        order = sorted(range(len(parts)), key=kinds.__getitem__)
        answers = self._run(parts[at][1] for at in order)
        found = dict(zip(order, answers, strict=True))
        numbers = iter(range(len(parts)))
        for request, alike in taken:
            mine = [found[next(numbers)] for _ in alike]
            yield _merged(len(request.rows), [places for places, _ in alike], mine)

    def _run(self, requests: Iterable[Request]) -> Iterator[Answered]:
        for path, group in self._groups(requests):
            # Rows are arranged by prompt: it helps if prompts with as many rows are neighbours.
            order = sorted(range(len(group)), key=lambda at: -len(group[at].rows))
            found = dict(zip(order, self._answer(path, [group[at] for at in order]), strict=True))
            yield from (found[at] for at in range(len(group)))

    def _groups(self, requests: Iterable[Request]) -> Iterator[tuple[EnginePath, list[Request]]]:
        """Consecutive requests that fit into one batch, or a single one that does not."""
        group: list[Request] = []
        path, most = self.path, 0
        for request in requests:
            # Neurons and heads are found now: the probe for them must not run within a batch.
            for component in {
                each.site.component for row in request.rows for each in row
            }.intersection(UNITS):
                self.model.units(component)
            its_path = path_of(self.model, self.path, request, self.max_new_tokens)
            if group and not (its_path == path and self._fits(path, [*group, request], most)):
                yield path, group
                group = []
            if not group:
                path, most = its_path, self._most_rows(its_path, [request])
            group.append(request)
        if group:
            yield path, group

    def _fits(self, path: EnginePath, group: Sequence[Request], most: int) -> bool:
        return (
            len(group) <= path.prompts_together
            and group[0].tail == group[-1].tail
            and list(map(id, group[0].common)) == list(map(id, group[-1].common))
            and max(len(request.main) for request in group) * len(group)
            <= memory.most_tokens(self.model)
            and sum(len(request.rows) for request in group) <= most
        )

    def _most_rows(self, path: EnginePath, requests: Sequence[Request]) -> int:
        most = self.rows or memory.rows_that_fit(
            self.model, requests, self.max_new_tokens, copies_prefix=path.copies_prefix
        )
        return int(min(most, self._ceiling))

    def _answer(self, path: EnginePath, group: list[Request]) -> list[Answered]:
        """All rows of a group; fewer prompts, then fewer rows at a time, if memory runs out."""
        todo = [(at, row) for at, request in enumerate(group) for row in range(len(request.rows))]
        answers: dict[Pick, Timed] = {}
        prompts: Prompts | None = None
        while todo:
            # Parts of equal size, since a small last one would be slow.
            parts = math.ceil(len(todo) / self._most_rows(path, group))
            part = todo[: math.ceil(len(todo) / parts)]
            work = partial(self._part, path, group, prompts, part)
            done, failed = memory.attempt(work)
            if done is not None:
                prompts, rows = done
                answers.update(zip(part, rows, strict=True))
                todo = todo[len(part) :]
                self._done += len(part)
                continue
            # What was read may hold buffers for as many rows: it is read again.
            del work
            prompts = None
            memory.release(self.model.devices)
            self._shrink(len(part), len(group), failed)
            if len(group) > 1:
                self._done -= len(answers)
                middle = len(group) // 2
                return self._answer(path, group[:middle]) + self._answer(path, group[middle:])
        self.advance(self._done)
        return [_answered(path, at, request, answers) for at, request in enumerate(group)]

    def _part(
        self,
        path: EnginePath,
        group: Sequence[Request],
        prompts: Prompts | None,
        part: Sequence[Pick],
    ) -> tuple[Prompts, list[Timed]]:
        """Some rows of a group, and its prompts, which are read if they have not been yet."""
        started = time.monotonic()
        try:
            with answering(self.model.hf):
                prompts = prompts or path.open(self.model, group, self.chunk)
                decoded = prompts.answer(
                    part,
                    self.max_new_tokens,
                    lambda share: self.advance(self._done + share * len(part)),
                )
        except Unshareable as reason:
            raise ModelError(
                "The engine 'shared-prefix' passed its trial, but this model's rows cannot share a "
                f"prefix ({reason}): use --engine expanded-cache."
            ) from reason
        each = (time.monotonic() - started) / len(part)
        return prompts, [(row, each) for row in decoded]

    def _shrink(self, rows: int, prompts: int, reason: str) -> None:
        """Remember that a batch was too much for memory."""
        if rows == prompts == 1:
            raise MemoryShortError(
                "Memory does not suffice for one row of this model "
                f"({reason}): use a smaller dtype or model, shorter prompts, or another device."
            )
        self._ceiling = max(1, rows // 2)


def _answered(path: EnginePath, at: int, request: Request, answers: dict[Pick, Timed]) -> Answered:
    mine = [answers[at, row] for row in range(len(request.rows))]
    return Answered(
        [row for row, _ in mine],
        [path.name] * len(mine),
        [seconds for _, seconds in mine],
        path.reason,
    )


def _merged(rows: int, places: Sequence[Sequence[int]], parts: Sequence[Answered]) -> Answered:
    """The answers of the parts of a request, in the order of its rows."""
    at = [place for some in places for place in some]
    order = sorted(range(rows), key=at.__getitem__)

    def sort(values: Iterable[list[_Value]]) -> list[_Value]:
        flat = list(chain.from_iterable(values))
        return [flat[place] for place in order]

    return Answered(
        sort(part.rows for part in parts),
        sort(part.paths for part in parts),
        sort(part.seconds for part in parts),
        "; ".join(dict.fromkeys(part.reason for part in parts if part.reason)),
    )


def run(
    model: Model,
    requests: Iterable[Request],
    *,
    max_new_tokens: int,
    path: EnginePath | None = None,
    chunk: int | None = None,
    batch_rows: int | None = None,
    advance: Callable[[float], None] = silent,
) -> Iterator[Answered]:
    """Answer requests, in their order; rows of several share a batch.

    Args:
        model: the model.
        requests: prompts with their rows; taken as they are needed.
        max_new_tokens: most new tokens, the end token counted in.
        path: how rows are computed; None for `best_path`.
        chunk: prompt tokens per forward; None for all at once.
        batch_rows: rows per batch; None for what memory holds. The answers do not depend on it,
            but for exact near-ties.
        advance: called with the number of rows answered, fractions of unfinished ones included.

    Yields:
        The answers to one request.

    Raises:
        MemoryShortError: memory does not suffice for one row.
    """
    batches = Batches(model, path or best_path(model), max_new_tokens, batch_rows, chunk, advance)
    yield from batches.run(requests)


def run_rows(
    model: Model,
    main: Sequence[int],
    rows: Sequence[tuple[Intervention, ...]],
    *,
    max_new_tokens: int,
    watch: Sequence[int] = (),
    options: Sequence[Sequence[int]] = (),
    path: EnginePath | None = None,
    chunk: int | None = None,
    batch_rows: int | None = None,
) -> list[Decoded]:
    """Answer `main` once for each row of interventions; see `run` and `engine.oracle.run_rows`."""
    request = Request(tuple(main), tuple(rows), tuple(watch), tuple(map(tuple, options)))
    (answered,) = run(
        model,
        [request],
        max_new_tokens=max_new_tokens,
        path=path,
        chunk=chunk,
        batch_rows=batch_rows,
    )
    return answered.rows
