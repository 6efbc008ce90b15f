"""What the paths of the engine have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from crosslatent.engine.decoding import Decoded, Tick, silent

Pick = tuple[int, int]
"""(request, row): one requested answer."""


class Prompts(Protocol):
    """Prompts that have been read, on one of the paths."""

    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked rows together, in their order; tell `tick` how far it is."""
        ...


@dataclass(slots=True)
class Answered:
    """The answers to one request, one entry a row.

    Attributes:
        rows: the answers.
        paths: how each was computed; see `core.specs.PATHS`.
        seconds: its share of the wall time of its batch.
        reason: why no faster path was taken; empty for the fastest.
    """

    rows: list[Decoded]
    paths: list[str]
    seconds: list[float]
    reason: str = ""
