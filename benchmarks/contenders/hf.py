"""What contenders on plain transformers share: loading, greedy steps, module hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.task import Answers, Component

Change = Callable[[Tensor], Tensor | None]
"""Takes a module's output (batch pos d_model); returns another one, or None to leave it."""


def load(folder: Path) -> Any:
    """The causal language model of a folder, float32, on the CPU, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def module_of(model: Any, component: Component, layer: int) -> nn.Module:
    """The attention or feed-forward module of a block."""
    block = model.model.layers[layer]
    module: nn.Module = block.self_attn if component == "attn" else block.mlp
    return module


@contextmanager
def hooked(module: nn.Module, change: Change) -> Iterator[None]:
    """Let `change` see, and perhaps replace, the output of a module."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not isinstance(output, tuple):
            return change(output)
        changed = change(output[0])
        return None if changed is None else (changed, *output[1:])

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def forward(model: Any, ids: Tensor, cache: Any = None) -> Any:
    """One forward that computes the logits of the last column only."""
    # transformers calls it past_key_values up to 5.23, and cache from 5.24 on.
    name = "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
    return model(input_ids=ids, use_cache=cache is not None, logits_to_keep=1, **{name: cache})


def greedy(model: Any, logits: Tensor, cache: Any, new_tokens: int) -> list[list[int]]:
    """Greedy ids of each row, from the logits (batch vocab) after the prompt; never stops early."""
    tokens = [logits.argmax(-1)]
    while len(tokens) < new_tokens:
        tokens.append(forward(model, tokens[-1][:, None], cache).logits[:, -1].argmax(-1))
    return torch.stack(tokens, dim=1).tolist()


def watched(logits: Tensor, watch: Sequence[int]) -> list[list[float]]:
    """Log-probabilities (nats) of tokens, batch watch, from logits (batch vocab)."""
    if not watch:
        return []
    return logits.float().log_softmax(-1)[:, list(watch)].tolist()


def joined(rows: Sequence[tuple[list[list[int]], list[list[float]]]], once: float) -> Answers:
    """Answers that came row by row, as one."""
    ids = [one for row_ids, _ in rows for one in row_ids]
    scores = [one for _, row_scores in rows for one in row_scores]
    return Answers(ids, scores, once)


def rows_by_target(
    pairs: Sequence[tuple[int, int]], vectors: Tensor
) -> dict[int, tuple[list[int], Tensor]]:
    """For each target block the rows that edit it, and their vectors (rows d_model)."""
    rows: dict[int, list[int]] = {}
    for row, (_, target) in enumerate(pairs):
        rows.setdefault(target, []).append(row)
    sources = torch.tensor([source for source, _ in pairs])
    return {target: (which, vectors[sources[which]]) for target, which in sorted(rows.items())}
