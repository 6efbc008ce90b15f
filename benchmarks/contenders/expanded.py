"""By hand, without a library: all rows as one batch over the prefix's cache, copied per row.

The prefix (all prompt tokens but the last) goes through the model once and its cache is repeated
for every row; the last token goes through with one hook per target block that edits its rows. Not
a package, but the form that a careful user of plain transformers ends up with.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import hf
from benchmarks.task import Answers, Run, Task


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers all pairs in one batch."""
    model = hf.load(folder)

    @torch.no_grad()
    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = captured(model, task)
        once = time.perf_counter() - started
        cache = prefix_cache(model, task)
        with ExitStack() as stack:
            for target, (rows, values) in hf.rows_by_target(task.pairs, vectors).items():
                change = replace_rows(rows, values)
                stack.enter_context(hf.hooked(hf.module_of(model, task.component, target), change))
            last = torch.full((len(task.pairs), 1), task.main[-1])
            logits = hf.forward(model, last, cache).logits[:, -1]
        ids = hf.greedy(model, logits, cache, task.new_tokens)
        return Answers(ids, hf.watched(logits, task.watch), once)

    return run


def captured(model: Any, task: Task) -> Tensor:
    """The component's output at the last token of aux in every block, layers d_model."""
    kept: list[Tensor] = []

    def keep(output: Tensor) -> None:
        kept.append(output[0, -1].clone())

    with ExitStack() as stack:
        for layer in range(model.config.num_hidden_layers):
            stack.enter_context(hf.hooked(hf.module_of(model, task.component, layer), keep))
        hf.forward(model, torch.tensor([task.aux]))
    return torch.stack(kept)


def prefix_cache(model: Any, task: Task) -> Any:
    """Keys and values of all prompt tokens but the last, repeated for every row."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    hf.forward(model, torch.tensor([task.main[:-1]]), cache)
    cache.batch_repeat_interleave(len(task.pairs))
    return cache


def replace_rows(rows: list[int], values: Tensor) -> hf.Change:
    """Put `values` (rows d_model) in the place of the last column of `rows`."""

    def change(output: Tensor) -> Tensor:
        output[rows, -1] = values
        return output

    return change
