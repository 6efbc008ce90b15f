"""The oracle: one row at a time, the whole prompt through the model, one hook.

Plain on purpose. Every faster path is tested to give the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.decoding import Decoded, greedy, prefill
from crosslatent.edits import Row, Window, replace_in
from crosslatent.model import Model, encode_batch, rewriting

PATH = "oracle"


def run_rows(
    model: Model,
    main: Sequence[int],
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    watch: Sequence[int] = (),
    chunk: int | None = None,
) -> list[Decoded]:
    """Answer `main` once for each row, with that row's edits (XTransplant, arXiv 2412.12686, 3.1).

    Args:
        model: the model.
        main: token ids of the prompt.
        rows: the edits of each answer; an empty row is the unmodified run.
        max_new_tokens: most new tokens, the end token counted in.
        watch: token ids whose log-probability as first token is wanted.
        chunk: prompt tokens per forward; None for all at once.
    """
    return [_run_row(model, main, row, max_new_tokens, watch, chunk) for row in rows]


def _run_row(
    model: Model,
    main: Sequence[int],
    row: Row,
    max_new_tokens: int,
    watch: Sequence[int],
    chunk: int | None,
) -> Decoded:
    prompt = encode_batch(model, [main])
    window = Window(prompt.last)
    edits = {edit.site: replace_in(window, edit.vector) for edit in row}
    with rewriting(model, edits):
        start = prefill(model, prompt, chunk=chunk, window=window)
    return greedy(model, start, max_new_tokens, watch)[0]
