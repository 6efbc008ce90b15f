"""Near-ties: answers that depend on the last bits are computed again, independent of the batch.

Batched arithmetic rounds otherwise than single rows. Where the two highest logits of a step (or two
options) are almost equal, the batch can decide which wins; such rows are counted, and with
`--exact` answered again by the oracle in float32.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import EXACT, ORACLE, near_tie_margin
from crosslatent.engine import oracle
from crosslatent.engine.memory import is_out_of_memory
from crosslatent.engine.requests import Answered, Request
from crosslatent.model import Model
from crosslatent.model.blocks import resolve
from crosslatent.model.quantized import method_of


class TieBreaker:
    """Answers near-ties again, in float32 on the oracle path.

    A model that is not float32 is held a second time, in float32.
    """

    def __init__(self, model: Model, max_new_tokens: int) -> None:
        """Prepare.

        Raises:
            ModelError: memory does not suffice for the model in float32, or its weights cannot be
                made float32.
        """
        self._threshold = near_tie_margin(str(model.arithmetic).removeprefix("torch."))
        self._is_exact = model.arithmetic == torch.float32
        self._model = model if self._is_exact else _in_float32(model)
        self._max_new_tokens = max_new_tokens

    def settle(self, request: Request, answered: Answered, margins: Sequence[float]) -> Answered:
        """The answers to a request, near-ties among them given again."""
        rows, paths, seconds = list(answered.rows), list(answered.paths), list(answered.seconds)
        for at, margin in enumerate(margins):
            if not margin < self._threshold:
                continue
            if not (paths[at] == ORACLE and self._is_exact):
                started = time.monotonic()
                (rows[at],) = oracle.run_rows(
                    self._model,
                    request.main,
                    [tuple(each.in_float32() for each in request.rows[at])],
                    max_new_tokens=self._max_new_tokens,
                    watch=request.watch,
                    options=request.options_of(at),
                )
                seconds[at] = time.monotonic() - started
            paths[at] = EXACT
        return Answered(rows, paths, seconds, answered.reason)


def _in_float32(model: Model) -> Model:
    method = method_of(model.hf)
    held = method and f"quantised ({method})"
    if held is None and any(weight.device.type == "meta" for weight in model.hf.parameters()):
        held = "offloaded until they are used"
    if held is not None:
        raise ModelError(
            f"--exact needs the model in float32, but weights of {model.name} are {held}: leave "
            "--exact out, or load the model as it is stored, in float32 and on one device."
        )
    try:
        hf = copy.deepcopy(model.hf).float()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            "Memory does not suffice for the model in float32 beside itself, which --exact needs: "
            "load it with --dtype float32, or leave --exact out."
        ) from error
    parts = resolve(hf, model.modules)
    return replace(model, hf=hf, blocks=parts.blocks, norm=parts.norm, head=parts.head)
