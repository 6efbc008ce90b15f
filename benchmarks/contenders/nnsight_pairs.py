"""nnsight, aux read once, one pair at a time."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.contenders import hf, nnsight_common
from benchmarks.task import Answers, Run, Task


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers pair by pair."""
    model = nnsight_common.load(folder)

    def answer(
        task: Task, vector: torch.Tensor, target: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        prompt = torch.tensor([task.main])
        module = nnsight_common.module_of(model, task.component, target)
        attention = task.component == "attn"
        if task.watch:
            with model.trace(prompt, logits_to_keep=1, use_cache=False):
                (module.output[0] if attention else module.output)[:, -1] = vector
                logits = model.output.logits[:, -1].save()
            return logits.argmax(-1)[:, None].tolist(), hf.watched(logits, task.watch)
        with model.generate(prompt, **nnsight_common.greedily(task)) as tracer:
            (module.output[0] if attention else module.output)[:, -1] = vector
            ids = tracer.result.save()
        return ids[:, len(task.main) :].tolist(), []

    @torch.no_grad()
    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = nnsight_common.captured(model, task)
        once = time.perf_counter() - started
        return hf.joined([answer(task, vectors[i], j) for i, j in task.pairs], once)

    return run
