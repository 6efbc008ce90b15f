"""Random numbers that follow from a seed, on every device, without a trace afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers follow from a seed; outside, they go on as if unasked.

    `torch.manual_seed` sets the generators of all devices, whichever the model is on, so all of
    them are given back.
    """
    count = torch.accelerator.device_count()
    kind = torch.accelerator.current_accelerator() if count else None
    name = "cpu" if kind is None else kind.type
    with torch.random.fork_rng(range(count), device_type=name):
        torch.manual_seed(seed)
        yield
