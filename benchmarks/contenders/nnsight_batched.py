"""nnsight, all pairs as rows of one batch: the prompt is repeated, and read, once for every row.

The form in which the library is usually batched: a list of prompts, and a trace that edits each
row. `nnsight_expanded` is the cheaper one, whose cache is made outside the library.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.contenders import hf, nnsight_common
from benchmarks.task import Answers, Run, Task


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers all pairs in one batch."""
    model = nnsight_common.load(folder)

    @torch.no_grad()
    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = nnsight_common.captured(model, task)
        once = time.perf_counter() - started
        edits = [
            (nnsight_common.module_of(model, task.component, target), rows, values)
            for target, (rows, values) in hf.rows_by_target(task.pairs, vectors).items()
        ]
        attention = task.component == "attn"
        prompts = torch.tensor([task.main] * len(task.pairs))
        if task.watch:
            with model.trace(prompts, use_cache=False, logits_to_keep=1):
                for module, rows, values in edits:
                    (module.output[0] if attention else module.output)[rows, -1] = values
                logits = model.output.logits[:, -1].save()
            ids = logits.argmax(-1)[:, None].tolist()
            return Answers(ids, hf.watched(logits, task.watch), once)
        with model.generate(prompts, **nnsight_common.greedily(task)) as tracer:
            for module, rows, values in edits:
                (module.output[0] if attention else module.output)[rows, -1] = values
            out = tracer.result.save()
        return Answers(out[:, len(task.main) :].tolist(), [], once)

    return run
