"""The authors' scheme: for every pair, aux through the model, main with the replacement, decode.

Source: XTransplant (arXiv 2412.12686) and its released scripts, which wrap one module, run the
auxiliary prompt, wrap another, and generate: one pair after the other, nothing kept between pairs.
Here without what would slow them for no reason: logits of the last token only, no stopping rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import hf
from benchmarks.task import Answers, Run, Task


def prepare(folder: Path) -> Run:
    """Load the model; see `on`."""
    return on(hf.load(folder))


def on(model: Any) -> Run:
    """What answers tasks with a model, pair by pair, on the device that the model is on."""
    from transformers import DynamicCache

    def answer(task: Task, source: int, target: int) -> tuple[list[list[int]], list[list[float]]]:
        kept: list[Tensor] = []

        def keep(output: Tensor) -> None:
            kept.append(output[:, -1].clone())

        def replace(output: Tensor) -> Tensor:
            output[:, -1] = kept[0]
            return output

        with hf.hooked(hf.module_of(model, task.component, source), keep):
            hf.forward(model, torch.tensor([task.aux], device=model.device))
        cache = DynamicCache(config=model.config)
        with hf.hooked(hf.module_of(model, task.component, target), replace):
            prompt = torch.tensor([task.main], device=model.device)
            logits = hf.forward(model, prompt, cache).logits[:, -1]
        return hf.greedy(model, logits, cache, task.new_tokens), hf.watched(logits, task.watch)

    @torch.no_grad()
    def run(task: Task) -> Answers:
        return hf.joined([answer(task, *pair) for pair in task.pairs], once=0.0)

    return run
