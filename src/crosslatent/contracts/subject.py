"""The model under test, with the prompts and layers that the contracts use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosslatent.activations import capture_ids
from crosslatent.contracts.outcome import Broken
from crosslatent.decoding import Decoded
from crosslatent.edits import Edit, Row
from crosslatent.engine import difference
from crosslatent.model import Model, encode
from crosslatent.model.structure import text_config
from crosslatent.specs import Component, Site

TEXTS = (
    "Mji mkuu wa Kenya ni upi? Jibu:",
    "What is the capital of Kenya? Answer:",
    "Habari?",
)
"""What is asked: a question, its counterpart, and a shorter text to stand beside them."""

_WATCHED = 64
_MOST_LAYERS = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it is asked.

    Attributes:
        model: the model.
        prompts: token ids of main, aux and a shorter text.
        layers: blocks that are edited, rising; all of a small model.
        new_tokens: tokens that an answer has at most.
    """

    model: Model
    prompts: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...]
    new_tokens: int = 4

    @classmethod
    def of(cls, model: Model, texts: Sequence[str] = TEXTS, new_tokens: int = 4) -> Subject:
        """Encode the texts; of many blocks, take some from the first to the last.

        Raises:
            PromptError: the model's context is too short for a text.
        """
        ids = [encode(model, text, new_tokens=new_tokens) for text in texts]
        last, steps = model.n_layers - 1, min(model.n_layers, _MOST_LAYERS)
        layers = {round(last * step / max(steps - 1, 1)) for step in range(steps)}
        return cls(model, tuple(map(tuple, ids)), tuple(sorted(layers)), new_tokens)

    @property
    def main(self) -> tuple[int, ...]:
        """The prompt that is answered."""
        return self.prompts[0]

    @property
    def aux(self) -> tuple[int, ...]:
        """The prompt that vectors are taken from."""
        return self.prompts[1]

    @property
    def watch(self) -> tuple[int, ...]:
        """Tokens whose log-probabilities are compared: spread over the vocabulary."""
        vocab = int(text_config(self.model.hf).vocab_size)
        return tuple(range(0, vocab, max(vocab // _WATCHED, 1)))[:_WATCHED]

    def vectors(self, prompt: Sequence[int], kinds: Sequence[Component]) -> dict[Component, Tensor]:
        """What `capture` gives for one prompt, layers d_model."""
        captured = capture_ids(self.model, [prompt], kinds)
        return {kind: vectors[0] for kind, vectors in captured.items()}

    def rows(self, kinds: Sequence[Component]) -> list[Row]:
        """The unmodified row, then all pairs of layers of each component."""
        vectors = self.vectors(self.aux, kinds)
        rows: list[Row] = [()]
        rows += [
            (Edit(Site(kind, target), vectors[kind][source]),)
            for kind in kinds
            for source in self.layers
            for target in self.layers
        ]
        return rows

    def check_equal(self, expected: Sequence[Decoded], found: Sequence[Decoded], what: str) -> None:
        """Compare answers and log-probabilities, up to rounding and near-ties.

        Raises:
            Broken: they differ.
        """
        reason = difference(expected, found, self.model.dtype)
        if reason:
            raise Broken(f"{what}: {reason}")

    def check_close(self, expected: Tensor, found: Tensor, what: str) -> None:
        """Compare tensors, relative to the largest number in them.

        Raises:
            Broken: they differ beyond rounding.
        """
        scale = expected.double().abs().max().clamp_min(1e-6)
        error = float((expected.double() - found.double()).abs().max() / scale)
        allowed = 1e-4 if self.model.dtype in (torch.float32, torch.float64) else 5e-2
        if not error <= allowed:
            raise Broken(f"{what}: the numbers differ by {error:.1e} (relative)")
