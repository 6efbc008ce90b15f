"""Not a scheme: the arithmetic limit, counted operations over the measured rate of products."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import counting, rates
from benchmarks.task import Answers, Run, Shape, Task

TINY = 256
"""Width below which a model is there to show that everything runs: small products do."""


def prepare(folder: Path) -> Run:
    """Read the shape; the returned function measures the rate and gives the time at that rate."""
    import torch

    shape = shape_of(folder)
    squares, seconds = (rates.SQUARES, 0.05) if shape.hidden >= TINY else ((TINY,), 0.005)

    def run(task: Task) -> Answers:
        sizes = rates.products(shape, len(task.pairs), len(task.main), squares)
        rate = rates.best_rate(sizes, torch.float32, seconds=seconds)
        return Answers((), estimate=counting.of_task(shape, task).flop / rate)

    return run


def shape_of(folder: Path) -> Shape:
    """The shape that a model folder's config tells."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        vocab=config["vocab_size"],
    )
