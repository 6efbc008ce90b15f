"""Not a scheme: the arithmetic limit, counted operations over the measured rate of products."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.task import Answers, Run, Task
from crosslatent.core import hardware
from crosslatent.core.costs import Counted, Shape, Workload, count

TINY = 256
"""Width below which a model is there to show that everything runs: small products do."""


def prepare(folder: Path) -> Run:
    """Read the shape; the returned function measures the rate and gives the time at that rate."""
    import torch

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = hardware.shape_of(config)
    squares, seconds = (hardware.SQUARES, 0.05) if shape.hidden >= TINY else ((TINY,), 0.005)

    def run(task: Task) -> Answers:
        sizes = hardware.products(shape, len(task.pairs), len(task.main), squares)
        rate = hardware.best_rate(sizes, torch.float32, seconds=seconds)
        return Answers((), estimate=of_task(shape, task).flop / rate)

    return run


def of_task(shape: Shape, task: Task) -> Counted:
    """The least work of a task: aux and main once, then every row from the last token on."""
    return count(shape, workload(task), task.new_tokens)


def workload(task: Task) -> Workload:
    """What a task puts through the model at least; half of the model is left above a target."""
    return Workload(read=(len(task.aux),), answered=(len(task.main),), forks=len(task.pairs))
