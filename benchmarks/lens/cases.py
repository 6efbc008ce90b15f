"""What is measured: model shapes, and trainings by number of epochs and target languages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from crosslatent.core.costs import Shape

CENTRAL = "en"
TARGETS = ("sw", "bn")
LANGUAGES = (CENTRAL, *TARGETS)
TRAINED = 2
"""Blocks that are trained, from the top."""

SHORTEST, LONGEST = 20, 60
"""Tokens of a text, drawn evenly from this range; the texts of a row have lengths of their own."""

BATCH = 8

FULL = Shape(
    layers=24, hidden=512, intermediate=1376, heads=8, kv_heads=8, head_dim=64, vocab=32_000
)
WIDE = Shape(
    layers=24, hidden=1024, intermediate=2752, heads=16, kv_heads=16, head_dim=64, vocab=32_000
)
"""Four times as many numbers in a block, so that the libraries' memory counts for less."""

TINY = Shape(layers=4, hidden=32, intermediate=64, heads=4, kv_heads=2, head_dim=8, vocab=300)


@dataclass(frozen=True, slots=True)
class Case:
    """One training, or several one after the other, each from the untrained model.

    Attributes:
        epochs: passes over the rows.
        targets: languages, one training each.
        rows: parallel rows.
        shape: of the model.
        memory_only: whether there are too few rows to say anything about time.
    """

    epochs: int
    targets: tuple[str, ...]
    rows: int
    shape: Shape
    memory_only: bool = False

    @property
    def title(self) -> str:
        """What tells it from the other cases."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        many = len(self.targets)
        told = f"{epochs}, {f'{many} target languages' if many > 1 else '1 target language'}"
        return f"{told}, width {self.shape.hidden}"

    @property
    def key(self) -> str:
        """The same for file names and the command line."""
        return "wide" if self.memory_only else f"{self.epochs}x{len(self.targets)}"

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Case:
        """Back from `to_json`, by way of JSON (which knows lists only)."""
        lists = {"targets": tuple(data["targets"]), "shape": Shape(**data["shape"])}
        return cls(**(data | lists))


def cases(*, quick: bool, rows: int | None = None) -> tuple[Case, ...]:
    """One epoch; three; one epoch for each of two target languages; a wider model's memory.

    `rows` are those of the cases that say something about time; 200 by default.
    """
    shape, usual = (TINY, 24) if quick else (FULL, 200)
    rows = rows or usual
    wide, few = (TINY, 16) if quick else (WIDE, 24)
    return (
        Case(1, TARGETS[:1], rows, shape),
        Case(3, TARGETS[:1], rows, shape),
        Case(1, TARGETS, rows, shape),
        Case(1, TARGETS[:1], few, wide, memory_only=True),
    )
