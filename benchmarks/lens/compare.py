"""Whether two schemes do the same: losses of the first step, and weights after the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LOSSES_APART = 1e-4
"""Most that a term of the first step may differ, relative to the total."""

WEIGHTS_APART = 1e-3
"""Most that trained weights may differ, relative to how far training moved them. Not as small as
for losses: AdamW divides by the gradient's size, so where one is near zero its rounding counts."""


def agreement(
    mine: dict[str, Any], theirs: dict[str, Any], here: Path, there: Path, untrained: Path
) -> dict[str, float]:
    """How far apart two schemes are.

    Args:
        mine: a worker's result.
        theirs: the other's.
        here: trained weights of the first.
        there: of the second.
        untrained: the model's weights before.

    Returns:
        "first_loss" and "last_loss": largest difference of a term, relative to the sum of terms.
        "weights": size of the difference, relative to the size of the second's change.
        "moved": that change, relative to the size of the weights.
    """
    from safetensors.torch import load_file

    first, second, before = load_file(here), load_file(there), load_file(untrained)
    if set(first) != set(second):
        raise ValueError(f"different weights were trained: {sorted(set(first) ^ set(second))[:3]}")
    apart = sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5
    moved = sum(float((second[name] - before[name]).square().sum()) for name in first) ** 0.5
    size = sum(float(before[name].square().sum()) for name in first) ** 0.5
    return {
        "first_loss": _losses_apart(mine, theirs, "first"),
        "last_loss": _losses_apart(mine, theirs, "last"),
        "weights": apart / moved,
        "moved": moved / size,
    }


def agrees(found: dict[str, float]) -> bool:
    """Whether that is near enough."""
    return found["first_loss"] <= LOSSES_APART and found["weights"] <= WEIGHTS_APART


def _losses_apart(mine: dict[str, Any], theirs: dict[str, Any], step: str) -> float:
    one, other = mine["trainings"][0][step], theirs["trainings"][0][step]
    apart = max(abs(one[name] - value) for name, value in other.items())
    return float(apart / sum(other.values()))
