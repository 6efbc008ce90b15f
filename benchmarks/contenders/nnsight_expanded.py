"""nnsight, all pairs as rows of one batch over an expanded cache.

The prefix (all prompt tokens but the last) is read once, its cache is repeated for every row, and
`generate` takes it as `past_key_values`; in the one trace every target block's rows are replaced.
nnsight passes both through, which is the cheapest batched form that it allows.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.contenders import hf, nnsight_common
from benchmarks.contenders.expanded import prefix_cache
from benchmarks.task import Answers, Run, Task


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers all pairs in one batch."""
    model = nnsight_common.load(folder)

    @torch.no_grad()
    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = nnsight_common.captured(model, task)
        once = time.perf_counter() - started
        cache = prefix_cache(model._module, task)  # noqa: SLF001  nnsight has no public name for it
        edits = [
            (nnsight_common.module_of(model, task.component, target), rows, values)
            for target, (rows, values) in hf.rows_by_target(task.pairs, vectors).items()
        ]
        attention = task.component == "attn"
        if task.watch:
            last = torch.full((len(task.pairs), 1), task.main[-1])
            with model.trace(last, past_key_values=cache, use_cache=True, logits_to_keep=1):
                for module, rows, values in edits:
                    (module.output[0] if attention else module.output)[rows, -1] = values
                logits = model.output.logits[:, -1].save()
            ids = logits.argmax(-1)[:, None].tolist()
            return Answers(ids, hf.watched(logits, task.watch), once)
        prompts = torch.tensor([task.main] * len(task.pairs))
        with model.generate(
            prompts, past_key_values=cache, **nnsight_common.greedily(task)
        ) as tracer:
            for module, rows, values in edits:
                (module.output[0] if attention else module.output)[rows, -1] = values
            out = tracer.result.save()
        return Answers(out[:, len(task.main) :].tolist(), [], once)

    return run
