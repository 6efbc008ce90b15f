"""A transplant of a prompt into itself, layer by layer, changes nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from crosslatent.contracts.outcome import Broken
from crosslatent.contracts.subject import Subject
from crosslatent.core.specs import Component, Site
from crosslatent.engine import oracle
from crosslatent.engine.decoding import log_probabilities
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import encode_batch
from crosslatent.model.conditions import answering
from crosslatent.model.tensors import block_input, hidden_of, with_hidden

_IDENTICAL: tuple[Component, ...] = ("attn", "ffn", "block", "cross_attn")


def self_transplant(subject: Subject) -> dict[str, int]:
    """Same prompt, i = j: nothing for ``attn``, ``ffn``, ``block`` and ``cross_attn``.

    For ``attn_residual`` it equals a forward in which the residual is added twice by hand
    (docs/methods.md, 1.1).

    Raises:
        Broken: a number differs.
    """
    kinds = subject.kinds((*_IDENTICAL, "attn_residual"))
    vectors = subject.vectors(subject.main, kinds)
    edits = [Transplant(Site(kind, j), vectors[kind][j]) for kind in kinds for j in subject.layers]
    vanilla, *rows = oracle.run_rows(
        subject.model,
        subject.main,
        [(), *((edit,) for edit in edits)],
        max_new_tokens=subject.new_tokens,
        watch=subject.watch,
    )
    moved = 0
    for edit, row in zip(edits, rows, strict=True):
        what = f"{edit.site.component} of block {edit.site.layer} into itself"
        if edit.site.component in _IDENTICAL:
            subject.check_equal([vanilla], [row], what)
            continue
        by_hand = _residual_twice(subject, edit.site.layer)
        subject.check_close(
            by_hand, torch.tensor(row.watched), f"{what}, against a forward by hand"
        )
        moved += row.watched != vanilla.watched
    if "attn_residual" in kinds and not moved:
        raise Broken("attn_residual of no block changed anything, so its rows prove nothing")
    return {"rows": len(edits)}


def _residual_twice(subject: Subject, layer: int) -> Tensor:
    """Log-probabilities if attention of one block gives residual + output at the last token."""
    block = subject.model.blocks[layer]
    entered: list[Tensor] = []

    def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
        entered[:] = [block_input(args, kwargs)[0, -1].clone()]

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output).clone()
        hidden[..., -1, :] += entered[0].to(hidden.device)
        return with_hidden(output, hidden)

    with ExitStack() as hooks:
        handle = block.whole.register_forward_pre_hook(before, with_kwargs=True)
        hooks.callback(handle.remove)
        hooks.callback(block.attn.register_forward_hook(after).remove)
        ((_, inputs),) = encode_batch(subject.model, [subject.main]).parts()
        with answering(subject.model.hf):
            logits = subject.model.hf(**inputs, use_cache=False).logits[:, -1]
    return torch.tensor(log_probabilities(logits, subject.watch)[0])
