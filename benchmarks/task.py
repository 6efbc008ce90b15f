"""What a contender is asked and what it answers: plain values that cross processes as JSON.

Imports nothing but the standard library, so that every contender's environment can read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Component = Literal["attn", "ffn"]
Mode = Literal["full", "scoring"]


@dataclass(frozen=True, slots=True)
class Task:
    """One instance of a sweep.

    Attributes:
        component: module whose output at the last prompt token is carried across.
        main: token ids of the prompt that is answered.
        aux: token ids of the prompt that the vectors come from.
        pairs: (source, target) blocks, counted from 0; one row each, answered in this order.
        new_tokens: greedy tokens per row; no row ends earlier.
        watch: token ids whose log-probability (nats) as the first new token is wanted.
    """

    component: Component
    main: tuple[int, ...]
    aux: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    new_tokens: int
    watch: tuple[int, ...] = ()

    def sample(self, count: int) -> Task:
        """The same task on `count` pairs, evenly spaced over the list."""
        total = len(self.pairs)
        chosen = [self.pairs[(2 * number + 1) * total // (2 * count)] for number in range(count)]
        return replace(self, pairs=tuple(chosen))

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a worker's standard input."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Task:
        """Back from `to_json`, by way of JSON (which knows lists only)."""
        pairs = tuple((source, target) for source, target in data["pairs"])
        lists = {name: tuple(data[name]) for name in ("main", "aux", "watch")}
        return cls(data["component"], pairs=pairs, new_tokens=data["new_tokens"], **lists)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a contender generated.

    Attributes:
        ids: new token ids of each row.
        watched: log-probabilities (nats) of the watched tokens, row by row.
        once: seconds spent on what does not grow with the number of pairs (reading aux); a sampled
            run is scaled without them.
        estimate: seconds that stand for a run that was not made (the limit); None if it was made.
    """

    ids: Sequence[Sequence[int]]
    watched: Sequence[Sequence[float]] = ()
    once: float = 0.0
    estimate: float | None = None


Run = Callable[[Task], Answers]
Prepare = Callable[[Path], Run]
"""A contender: loads the model of a folder, and returns what answers a task with it."""
