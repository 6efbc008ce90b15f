"""The engine: rows of many prompts at once, on the fastest path that is right for the model.

Attention is causal and only the end of the prompt is edited, so what comes before is the same for
every row of a sweep: it is read once (docs/methods.md, 2). Same contract as
    `engine.oracle.run_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from crosslatent.engine.batches import Batches
from crosslatent.engine.decoding import Decoded, silent
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.engine.paths import EnginePath, best_path, chosen_path, difference, why_not
from crosslatent.engine.requests import Answered, Request
from crosslatent.interventions.intervention import Intervention
from crosslatent.model import Model

__all__ = [
    "Answered",
    "EnginePath",
    "TieBreaker",
    "best_path",
    "chosen_path",
    "difference",
    "run",
    "run_rows",
    "why_not",
]


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
