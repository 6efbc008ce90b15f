"""Answers that hang on the last bits, run again where they do not depend on the batch.

Batched arithmetic rounds otherwise than single rows. Where the two highest logits of a step are
almost equal, the batch can decide which wins; such rows are counted, and with `--exact` answered
again by the oracle in float32.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from crosslatent import oracle
from crosslatent.decoding import Decoded
from crosslatent.edits import Edit
from crosslatent.engine.contract import Answered
from crosslatent.model import Model
from crosslatent.model.adapter import resolve
from crosslatent.requests import Request
from crosslatent.specs import near_tie_margin


class TieBreaker:
    """Answers near-ties again, in float32 on the oracle path.

    A model that is not float32 is held a second time, in float32.
    """

    def __init__(self, model: Model, max_new_tokens: int) -> None:
        """Prepare.

        Args:
            model: the model that answered.
            max_new_tokens: most new tokens, the end token counted in.
        """
        self._margin = near_tie_margin(str(model.dtype).removeprefix("torch."))
        self._model = model if model.dtype == torch.float32 else _in_float32(model)
        self._max_new_tokens = max_new_tokens

    def settle(self, request: Request, answered: Answered) -> Answered:
        """The answers to a request, near-ties among them run again."""
        rows, paths, seconds = list(answered.rows), list(answered.paths), list(answered.seconds)
        for at, decoded in enumerate(rows):
            if paths[at] == oracle.PATH or not is_near_tie(decoded, request, self._margin):
                continue
            started = time.monotonic()
            rows[at], paths[at] = self._again(request, at), oracle.PATH
            seconds[at] = time.monotonic() - started
        return Answered(rows, paths, seconds)

    def _again(self, request: Request, at: int) -> Decoded:
        edits = [Edit(edit.site, edit.vector.float(), edit.strength) for edit in request.rows[at]]
        (decoded,) = oracle.run_rows(
            self._model,
            request.main,
            [tuple(edits)],
            max_new_tokens=self._max_new_tokens,
            watch=request.watch,
            options=request.options,
        )
        return decoded


def is_near_tie(decoded: Decoded, request: Request, margin: float) -> bool:
    """Whether the next token of a step, or the likeliest option, was decided by less than `margin`.

    Options are compared by their whole and by their mean log-probability.
    """
    if decoded.min_margin < margin:
        return True
    means = [
        score / len(option) for score, option in zip(decoded.scores, request.options, strict=True)
    ]
    return any(_gap(values) < margin for values in (decoded.scores, means))


def _gap(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.inf
    first, second = sorted(values, reverse=True)[:2]
    return first - second


def _in_float32(model: Model) -> Model:
    hf = copy.deepcopy(model.hf).float()
    return replace(model, hf=hf, blocks=resolve(hf))
