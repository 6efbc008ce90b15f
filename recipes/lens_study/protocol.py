"""What is tried and how it is chosen; fixed before the final questions are asked.

Questions of three splits that share no fact: on `TRAIN` models are trained, spaces probed and the
layer pair is picked; `CHOOSE` decides between settings; `REPORT` is asked once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from crosslatent.lens import LoraSpec, TrainSpec

TASK = "demo-facts"
TRAIN, CHOOSE, REPORT = "pilot", "unseen", "final"
CENTRAL = "en"
SEEDS = (0, 1, 2)

MOST_LOST = 0.02
"""Settings that lose more of the central language than this on `CHOOSE` are not chosen."""

PAPER = TrainSpec()
"""The released training of Lens: last two blocks, one epoch, learning rate 1e-5."""

HARD = replace(PAPER, lr=1e-3, epochs=10)
"""The most of what is tried; shown whether or not it is chosen, so that Lens is seen to act."""

_LORA = LoraSpec(rank=8, alpha=16.0)
_EPOCHS = (1, 10)
_RATES = (1e-5, 1e-4, 1e-3)
_LORA_RATES = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train, with the settings that are tried.

    Attributes:
        name: in the table.
        objective: "lens" or "answers".
        settings: what is tried; one of them is chosen.
    """

    name: str
    objective: str
    settings: tuple[TrainSpec, ...]


def methods() -> Iterator[Method]:
    """Every way to train; all on the same questions and blocks, and objectives in as many steps."""
    full = tuple(replace(PAPER, lr=lr, epochs=n) for n in _EPOCHS for lr in _RATES)
    lora = tuple(replace(PAPER, lr=lr, epochs=n, lora=_LORA) for n in _EPOCHS for lr in _LORA_RATES)
    yield Method("Lens, settings of the paper", "lens", (PAPER,))
    yield Method("Lens, 100 times the rate, 10 epochs", "lens", (HARD,))
    yield Method("Lens, chosen", "lens", full)
    yield Method("Lens, LoRA, chosen", "lens", lora)
    yield Method("fine-tuning on answers, chosen", "answers", full)
    yield Method("fine-tuning on answers, LoRA, chosen", "answers", lora)


STEER_ALPHAS = {"direction": (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0), "agnostic": (0.5, 1.0)}
"""What is tried of each part, in every single block."""
