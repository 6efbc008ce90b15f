"""The activations captured from a prompt depend on that prompt alone."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from crosslatent import engine
from crosslatent.contracts.subject import Subject
from crosslatent.core.specs import COMPONENTS, Component
from crosslatent.engine.decoding import prefill
from crosslatent.interventions.activations import capture_ids
from crosslatent.model import encode_batch
from crosslatent.model.prompts import Side

_SIDES: tuple[Side, ...] = ("left", "right")


def padding_agrees(subject: Subject) -> dict[str, str | int]:
    """Left-padded, right-padded and unpadded: same captures, same logits at the last real token.

    Raises:
        Broken: they differ.
    """
    model, prompts, kinds = subject.model, subject.prompts, subject.kinds(COMPONENTS)

    def alone(kind: Component) -> Tensor:
        return torch.cat([capture_ids(model, [ids], [kind])[kind] for ids in prompts])

    def logits() -> Tensor:
        return torch.cat([_last_logits(subject, (ids,), "left") for ids in prompts])

    for side in _SIDES:
        together = capture_ids(model, prompts, kinds, side=side)
        for kind in kinds:
            again = partial(alone, kind)
            subject.check_close(again(), together[kind], f"{kind}, {side}-padded", again)
        padded = _last_logits(subject, prompts, side)
        subject.check_close(logits(), padded, f"logits, {side}-padded", logits)
    return {"prompts": len(prompts)}


def _last_logits(subject: Subject, prompts: tuple[tuple[int, ...], ...], side: Side) -> Tensor:
    batch = encode_batch(subject.model, prompts, side)
    return prefill(subject.model, batch).logits.cpu()


def captures_are_independent(subject: Subject) -> dict[str, str | int]:
    """A capture gives the same numbers regardless of earlier calls of the model.

    Raises:
        Broken: it does not.
    """
    kinds = subject.kinds(COMPONENTS)
    before = subject.vectors(subject.aux, kinds)
    rows = subject.rows(subject.kinds(("attn", "ffn")))[:6]
    engine.run_rows(subject.model, subject.main, rows, max_new_tokens=subject.new_tokens)
    capture_ids(subject.model, list(reversed(subject.prompts)), kinds, chunk=3)
    after = subject.vectors(subject.aux, kinds)
    for kind in kinds:
        subject.check_close(before[kind], after[kind], f"{kind}, captured again")
    return {"components": len(kinds)}
