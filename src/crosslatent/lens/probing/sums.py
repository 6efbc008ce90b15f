"""Running sums of the states of a stream of texts, and a sample of texts drawn by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from heapq import heappush, heappushpop

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray

from crosslatent.core.subspace import Floats

States = Float[NDArray[np.floating], "layers d_model"]
"""Of one text."""


@dataclass(slots=True)
class Sums:
    """Of the states of one language, in float64.

    Attributes:
        total: sum of the states.
        squares: sum of their squared lengths.
        n: how many they are.
    """

    total: Float64[Floats, "layers d_model"]
    squares: Float64[Floats, " layers"]
    n: int = 0

    @classmethod
    def zero(cls, layers: int, d_model: int) -> Sums:
        """Of no states."""
        return cls(np.zeros((layers, d_model)), np.zeros(layers))

    def add(self, state: States) -> None:
        """One more text."""
        value = state.astype(np.float64)
        self.total += value
        self.squares += np.einsum("ld,ld->l", value, value)
        self.n += 1

    @property
    def mean(self) -> Float64[Floats, "layers d_model"]:
        """Of the states."""
        mean: Floats = self.total / self.n
        return mean

    @property
    def variance(self) -> Float64[Floats, " layers"]:
        """Mean squared distance of a state from the mean."""
        variance: Floats = np.maximum(self.squares / self.n - (self.mean**2).sum(axis=1), 0.0)
        return variance


def between(sums: Sequence[Sums]) -> list[float | None]:
    """Per layer, the share of the variance of states that lies between the languages' means.

    Every language counts alike. None where there is no variance.
    """
    means = np.stack([one.mean for one in sums])
    across = ((means - means.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)
    total = across + np.mean([one.variance for one in sums], axis=0)
    return [float(a / t) if t > 0 else None for a, t in zip(across, total, strict=True)]


@dataclass(frozen=True, slots=True)
class Held:
    """A text that may be held out.

    Attributes:
        key: see `key_of`.
        row: number of the row that holds the text.
        state: of all layers.
    """

    key: int
    row: int
    state: States


@dataclass(slots=True)
class Drawn:
    """The texts of one language with the smallest keys, at most `room` of them.

    Which ones these are does not depend on the order in which they come.
    """

    room: int
    _seen: int = 0
    _heap: list[tuple[int, int, Held]] = field(default_factory=list)

    def put(self, held: Held) -> Held | None:
        """Take one more; returns the one that there is no room for."""
        if not self.room or (self._full and held.key >= -self._heap[0][0]):
            return held
        # Not a view, which would keep the states of a whole batch in memory.
        own = replace(held, state=held.state.copy())
        # The running number keeps states from being compared where keys are equal.
        self._seen += 1
        entry = (-held.key, self._seen, own)
        if self._full:
            return heappushpop(self._heap, entry)[2]
        heappush(self._heap, entry)
        return None

    def smallest_first(self) -> list[Held]:
        """All of them, by their keys."""
        return sorted((entry[2] for entry in self._heap), key=lambda held: held.key)

    @property
    def _full(self) -> bool:
        return len(self._heap) >= self.room


def key_of(text: str, seed: int) -> int:
    """A number from 0 to 2^64 - 1 that a text's content and the seed decide."""
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8, key=str(seed).encode())
    return int.from_bytes(digest.digest())
