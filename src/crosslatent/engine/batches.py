"""Requests into batches: several small ones together, a large one in parts, halved if too large."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from crosslatent.decoding import Decoded, Tick, silent
from crosslatent.engine import memory
from crosslatent.engine.contract import Answered, Pick, Prompts
from crosslatent.engine.paths import Path, path_of
from crosslatent.errors import ModelError
from crosslatent.model import Model
from crosslatent.requests import Request


@dataclass(frozen=True, slots=True)
class Batches:
    """Answers requests in batches.

    Attributes:
        model: the model.
        path: how rows are computed, where a request does not need another way.
        max_new_tokens: most new tokens, the end token counted in.
        rows: rows per batch; None for what memory holds.
        chunk: prompt tokens per forward; None for all at once.
        advance: told how many rows have been answered, parts of those under way included.
    """

    model: Model
    path: Path
    max_new_tokens: int
    rows: int | None = None
    chunk: int | None = None
    advance: Callable[[float], None] = silent

    def run(self, requests: Iterable[Request]) -> Iterator[Answered]:
        """Answer requests in their order.

        Raises:
            ModelError: memory does not even suffice for one row.
        """
        before = 0
        for path, group in self._groups(requests):
            yield from self._answer(path, group, before)
            before += sum(len(request.rows) for request in group)

    def _groups(self, requests: Iterable[Request]) -> Iterator[tuple[Path, list[Request]]]:
        """Consecutive requests that fit into one batch, or a single one that does not."""
        group: list[Request] = []
        path, most = self.path, 0
        for request in requests:
            its_path = path_of(self.model, self.path, request, self.max_new_tokens)
            if group and not (its_path == path and self._fits(path, [*group, request], most)):
                yield path, group
                group = []
            if not group:
                path, most = its_path, self._most_rows([request])
            group.append(request)
        if group:
            yield path, group

    def _fits(self, path: Path, group: Sequence[Request], most: int) -> bool:
        return (
            len(group) <= path.prompts_together
            and len({request.tail for request in group}) == 1
            and max(len(request.main) for request in group) * len(group)
            <= memory.most_tokens(self.model)
            and sum(len(request.rows) for request in group) <= most
        )

    def _most_rows(self, requests: Sequence[Request]) -> int:
        if self.rows is not None:
            return self.rows
        return memory.rows_that_fit(self.model, requests, self.max_new_tokens)

    def _answer(self, path: Path, group: list[Request], before: int) -> list[Answered]:
        """All rows of a group, after `before` others; smaller batches if memory runs out."""
        picks = [(at, row) for at, request in enumerate(group) for row in range(len(request.rows))]
        size = min(self._most_rows(group), max(len(picks), 1))
        answers: dict[Pick, tuple[Decoded, float]] = {}
        prompts: Prompts | None = None
        while len(answers) < len(picks):
            part = _next_part(picks[len(answers) :], size)
            tick = self._ticker(before + len(answers), len(part))
            failed = None
            started = time.monotonic()
            try:
                prompts = prompts or path.open(self.model, group, self.chunk)
                decoded = prompts.answer(part, self.max_new_tokens, tick)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
                failed = str(error)
            if failed is None:
                each = (time.monotonic() - started) / len(part)
                answers.update((pick, (row, each)) for pick, row in zip(part, decoded, strict=True))
                continue
            # Outside the handler: the exception holds on to the tensors of the batch that failed.
            memory.release(self.model)
            if prompts is None and len(group) > 1:
                middle = len(group) // 2
                first = self._answer(path, group[:middle], before)
                before += sum(len(request.rows) for request in group[:middle])
                return first + self._answer(path, group[middle:], before)
            size = _half(size, failed if prompts is None or size == 1 else None)
        self.advance(before + len(picks))
        return [_answered(path, at, request, answers) for at, request in enumerate(group)]

    def _ticker(self, done: int, rows: int) -> Tick:
        return lambda share: self.advance(done + share * rows)


def _next_part(todo: Sequence[Pick], size: int) -> Sequence[Pick]:
    """The rows of the next batch: parts of equal size, since a small last one would be slow."""
    return todo[: math.ceil(len(todo) / math.ceil(len(todo) / size))]


def _half(size: int, reason: str | None) -> int:
    if reason is not None:
        raise ModelError(
            f"Memory does not suffice for one row of this model ({reason.splitlines()[0]}): use a "
            "smaller dtype or model, shorter prompts, or another device."
        )
    return size // 2


def _answered(
    path: Path, at: int, request: Request, answers: dict[Pick, tuple[Decoded, float]]
) -> Answered:
    mine = [answers[at, row] for row in range(len(request.rows))]
    return Answered(
        [row for row, _ in mine], [path.name] * len(mine), [seconds for _, seconds in mine]
    )
