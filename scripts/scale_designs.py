"""What large sweeps cost, by what is swept: the arithmetic of docs/scale.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crosslatent.core import costs
from crosslatent.core.costs import Shape
from crosslatent.core.hardware import MACHINES, SIZES
from crosslatent.core.pairs import resolve_pairs
from crosslatent.distributed import LARGEST

PEAK = MACHINES["h100"].peak
"""Operations per second of an H100 in bfloat16, dense, as its maker states."""
UTILISATION = (0.4, 0.1)
"""Share of the peak that is reached, good and poor; an assumption."""
PROMPTS = 300
"""Tokens of main and aux together."""
NEW_TOKENS = 20
OPTIONS = 4
SLICE_SECONDS = 20.0
"""Work in one part, if that many rows are not more than `LARGEST`."""
VARIANTS = 6
"""A true transplant, and the controls shuffled (twice), noise, mean and self."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model.

    Attributes:
        shape: its sizes.
        gpus: of 80 GB that one copy needs in bfloat16.
    """

    shape: Shape
    gpus: int


SMALL = Size(SIZES["7B"], 1)
LARGE = Size(SIZES["70B"], 2)


@dataclass(frozen=True, slots=True)
class Design:
    """A sweep.

    Attributes:
        name: for the table.
        model: what answers.
        items: questions.
        pairs: layer pairs, as `--pairs` takes them.
        variants: transplants for each pair: components, with as many controls as there are.
        new_tokens: of an answer; 1 where options are only scored.
    """

    name: str
    model: Size
    items: int
    pairs: str
    variants: int
    new_tokens: int = NEW_TOKENS

    @property
    def targets(self) -> list[int]:
        """The edited layer of each pair."""
        return [target for _, target in resolve_pairs(self.pairs, self.model.shape.layers).default]

    @property
    def rows(self) -> int:
        """Rows of all questions: vanilla, translate_test and every transplant."""
        return self.items * (2 + self.variants * len(self.targets))

    @property
    def tokens(self) -> float:
        """Tokens through the model."""
        left = costs.share_left(self.targets, self.model.shape.layers)
        return costs.tokens_through(self.items * PROMPTS, self.rows, self.new_tokens, left)

    @property
    def flops(self) -> float:
        """Floating-point operations: weights, and attention over half of a prompt pair."""
        context = PROMPTS / 2 + self.new_tokens / 2
        shape = self.model.shape
        width = shape.heads * shape.head_dim
        attention = costs.attention_operations(self.tokens, context, shape.layers, width)
        return costs.operations(self.tokens, shape.parameters) + attention

    @property
    def gpu_hours(self) -> tuple[float, float]:
        """At good and at poor utilisation."""
        good, poor = (costs.gpu_hours(self.flops, PEAK, share) for share in UTILISATION)
        return good, poor

    @property
    def storage(self) -> costs.Storage:
        """Of the rows on disk."""
        decoded = self.new_tokens if self.new_tokens > 1 else 0
        return costs.storage(self.rows, decoded, OPTIONS, scored=self.new_tokens == 1)

    @property
    def slices(self) -> int:
        """Pieces of work of `SLICE_SECONDS`, at good utilisation, and of `LARGEST` rows at most."""
        seconds = self.gpu_hours[0] * 3600 / self.model.gpus
        return max(round(seconds / SLICE_SECONDS), math.ceil(self.rows / LARGEST))


def designs(size: Size, items: int) -> list[Design]:
    """What can be run of all questions: from every pair with controls to a single pair."""
    return [
        Design("all pairs, 2 components, controls", size, items, "all", 2 * VARIANTS),
        Design("all pairs, 2 components", size, items, "all", 2),
        Design("target-first, 2 components, controls", size, items, "target-first", 2 * VARIANTS),
        Design("source-last, 2 components, controls", size, items, "source-last", 2 * VARIANTS),
        Design("target-first, 2 components", size, items, "target-first", 2),
        Design("source-last, 2 components", size, items, "source-last", 2),
        Design("a preset pair, controls", size, items, "preset:generation", VARIANTS),
    ]
