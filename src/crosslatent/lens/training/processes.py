"""One process or several: who writes, who does which share, sums over all, and random numbers.

Several processes are started by ``accelerate launch --multi_gpu`` or, on CPUs too, by torchrun; one
alone needs neither accelerate nor any group of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from crosslatent.core.imports import need

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train together.

    Attributes:
        rank: which of them this one is, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1
    _state: Any = None

    @classmethod
    def here(cls, *, cpu: bool) -> Processes:
        """The processes that this one's environment names.

        Args:
            cpu: whether models are on the CPU, so that tensors are exchanged there.

        Raises:
            UsageError: there are several, but accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        need("lens", "accelerate")
        from accelerate import PartialState

        state = PartialState(cpu=cpu)
        return cls(state.process_index, state.num_processes, state)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, work: Sequence[T]) -> list[T]:
        """The part of the work that is this process's."""
        return list(work[self.rank :: self.world])

    def wait(self) -> None:
        """Until all processes are here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def add_up(self, values: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one exchange."""
        tensors = list(values)
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, value: T) -> T:
        """What the first process says."""
        box = [value]
        if self.world > 1:
            torch.distributed.broadcast_object_list(box)
        return box[0]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers follow from a seed; outside, they continue as before.

    `torch.manual_seed` sets the generators of all devices, so all of them are restored.
    """
    count = torch.accelerator.device_count()
    kind = torch.accelerator.current_accelerator() if count else None
    name = "cpu" if kind is None else kind.type
    with torch.random.fork_rng(range(count), device_type=name):
        torch.manual_seed(seed)
        yield
