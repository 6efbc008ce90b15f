"""`ask`: prompts under interventions in, judged rows out. All answers come through here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from crosslatent import engine
from crosslatent.answering.scoring import ItemScorer
from crosslatent.engine import Answered, EnginePath, TieBreaker
from crosslatent.engine.decoding import Decoded, silent
from crosslatent.engine.requests import Request
from crosslatent.interventions.intervention import Intervention
from crosslatent.model import Model


@dataclass(frozen=True, slots=True)
class Prompted:
    """One prompt, the interventions of each of its answers, and what judges these.

    Attributes:
        prompt: token ids.
        rows: the interventions of each answer; an empty row is the unmodified model.
        scorer: what judges; None where the caller reads the answers itself.
        options: continuations that are scored where there is no scorer.
        watch: tokens whose log-probability as first token is wanted where there is no scorer.
        least_tail: see `engine.requests.Request`.
    """

    prompt: tuple[int, ...]
    rows: tuple[tuple[Intervention, ...], ...]
    scorer: ItemScorer | None = None
    options: tuple[tuple[int, ...], ...] = ()
    watch: tuple[int, ...] = ()
    least_tail: int = 1

    @property
    def request(self) -> Request:
        """What the engine is asked.

        Raises:
            PairError: a row changes what the prompt does not have.
        """
        judge = self.scorer
        if judge is None:
            return Request(self.prompt, self.rows, self.watch, self.options, self.least_tail)
        return Request(
            self.prompt,
            self.rows,
            tuple(judge.watch),
            judge.continuations,
            self.least_tail,
            plain_only=not judge.whole,
        )


class JudgedRow(NamedTuple):
    """One answer.

    Attributes:
        record: the columns of `runs.schema.ROWS` that follow from the answer; empty without judge.
        decoded: the answer as it was decoded.
        path: how it was computed, one of `specs.PATHS`, or `specs.EXACT`.
        seconds: its share of the wall time of its batch.
        engine: the path of its batch, with the reason why no faster one was taken.
    """

    record: dict[str, Any]
    decoded: Decoded
    path: str
    seconds: float
    engine: EnginePath


def ask(
    model: Model,
    prompts: Iterable[Prompted],
    *,
    max_new_tokens: int,
    path: EnginePath | None = None,
    batch_rows: int | None = None,
    exact: TieBreaker | None = None,
    advance: Callable[[float], None] = silent,
) -> Iterator[tuple[JudgedRow, ...]]:
    """Answer prompts under their interventions, and judge the answers.

    Args:
        model: who answers.
        prompts: taken as they are needed; rows of several share a batch.
        max_new_tokens: most new tokens, the end token counted in.
        path: how rows are computed; None for the fastest that serves the model.
        batch_rows: rows per batch; None for what memory holds.
        exact: answers near-ties again; None to leave them.
        advance: gets how many rows have been answered, parts of those under way included.

    Yields:
        The rows of one prompt, in the order of the prompts.

    Raises:
        MemoryShortError: memory does not suffice for one row.
        PairError: a row changes what its prompt does not have.
    """
    waiting: deque[tuple[Prompted, Request]] = deque()

    def requests() -> Iterator[Request]:
        for prompted in prompts:
            request = prompted.request
            waiting.append((prompted, request))
            yield request

    answers = engine.run(
        model,
        requests(),
        max_new_tokens=max_new_tokens,
        path=path,
        batch_rows=batch_rows,
        advance=advance,
    )
    for answered in answers:
        prompted, request = waiting.popleft()
        taken = EnginePath(answered.paths[0], answered.reason) if answered.paths else EnginePath("")
        yield tuple(_judged(prompted, _settled(prompted, request, answered, exact), taken))


def _settled(
    prompted: Prompted, request: Request, answered: Answered, exact: TieBreaker | None
) -> Answered:
    """The answers with near-ties answered again, if that is wanted."""
    if exact is None:
        return answered
    judge = prompted.scorer
    margins = [row.min_margin if judge is None else judge.margin(row) for row in answered.rows]
    return exact.settle(request, answered, margins)


def _judged(prompted: Prompted, answered: Answered, taken: EnginePath) -> Iterator[JudgedRow]:
    judge = prompted.scorer
    for row, path, seconds in zip(answered.rows, answered.paths, answered.seconds, strict=True):
        yield JudgedRow({} if judge is None else judge.record(row), row, path, seconds, taken)
