"""What a scheme gives the worker that measures it. Imports the standard library alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Trained:
    """One training.

    Attributes:
        losses: terms of the loss in each step, before it.
        weights: the trained ones by name.
        trunk: "texts", of which "computed" and "reused"; empty where there is no such thing.
    """

    losses: list[dict[str, float]]
    weights: dict[str, Any]
    trunk: dict[str, int] = field(default_factory=dict)


class Train(Protocol):
    """Trains for one target language."""

    def __call__(
        self, target: str, epochs: int, rows: list[dict[str, str]], order: list[list[int]]
    ) -> Trained:
        """Train.

        Args:
            target: the language.
            epochs: passes over the rows.
            rows: parallel rows.
            order: rows of every step of every epoch.
        """
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A scheme with everything loaded.

    Attributes:
        train: trains for one target language.
        reset: makes the model the untrained one again.
        models: modules that are in memory.
    """

    train: Train
    reset: Callable[[], None]
    models: tuple[Any, ...]
