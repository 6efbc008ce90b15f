"""The objective "lens": rows of parallel texts to the terms of the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosslatent.core.specs import Layer
from crosslatent.lens.training.batches import Ids, Row, pieces_of
from crosslatent.lens.training.frozen_cache import FrozenCache, batches
from crosslatent.lens.training.losses import (
    ALIGN,
    RETAIN,
    SEPARATE,
    Projections,
    last_token,
    retain,
    token_mean,
)
from crosslatent.lens.training.trained_blocks import TrainedBlocks, autocast
from crosslatent.model import Model, encode_batch

LAST, MEAN = "last", "mean"
PIECE_TOKENS = {"cpu": 512}
"""Tokens whose activations are kept for the gradient at a time: a CPU is no faster with more. Other
devices take a batch at once."""

Pooled = dict[tuple[Layer, str], Tensor]
"""By layer and pooling, texts d_model."""


@dataclass(frozen=True, slots=True)
class LensObjective:
    """The losses of Lens on rows of parallel texts.

    Attributes:
        model: the fork that is trained.
        top: its trained blocks and what is above them.
        rows: parallel texts.
        central: the central language.
        trunks: what enters `top`, and the reference, by language.
        projections: the subspaces, by layer; terms are averaged over these.
        weights: of each term.
        precision: "float32" or "bfloat16", in which the blocks run; losses are in float32.
    """

    model: Model
    top: TrainedBlocks
    rows: Sequence[Row]
    central: str
    trunks: Mapping[str, FrozenCache]
    projections: Mapping[Layer, Projections]
    weights: Mapping[str, float]
    precision: str

    def sizes(self, rows: Sequence[int]) -> dict[str, float]:
        """What sums over these rows are divided by: rows by language."""
        counts = Counter(lang for row in rows for lang in self.rows[row].targets)
        return {lang: float(count) for lang, count in counts.items()} | {
            self.central: float(len(rows))
        }

    def pieces(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows in pieces that fit into memory together with what their gradient takes."""
        tokens = {row: padded_tokens(self.rows[row]) for row in rows}
        return pieces_of(rows, tokens, PIECE_TOKENS.get(self.model.device.type))

    def terms(self, rows: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Tensor]:
        """What some rows contribute to the terms of all rows that `sizes` is about.

        Contributions of parts add up to what all rows give at once: a mean over the rows that have
        a language, summed over languages, averaged over layers.

        Args:
            rows: numbers of the rows.
            sizes: of all rows of the step, of which these may be a part.
        """
        chosen = [self.rows[row] for row in rows]
        central = self._states([row.central for row in chosen], self.central)
        terms = {RETAIN: self._retain(chosen, central, sizes)}
        terms |= {name: torch.zeros_like(terms[RETAIN]) for name in (ALIGN, SEPARATE)}
        for lang in sorted({lang for row in chosen for lang in row.targets}):
            having = [number for number, row in enumerate(chosen) if lang in row.targets]
            ids = [chosen[number].targets[lang] for number in having]
            states = self._states(ids, lang)
            for layer, space in self.projections.items():
                middle = central[layer, LAST][having]
                target, share = states[layer, LAST], len(self.projections) * sizes[lang]
                before = self._reference(ids, lang, layer, LAST).to(target)
                terms[ALIGN] = terms[ALIGN] + space.align(middle, target) / share
                apart = space.separate(target, before, lang)
                terms[SEPARATE] = terms[SEPARATE] + apart / share
        return terms

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def _retain(self, rows: Sequence[Row], central: Pooled, sizes: Mapping[str, float]) -> Tensor:
        ids = [row.central for row in rows]
        sums = []
        for layer in self.projections:
            states = central[layer, MEAN]
            before = self._reference(ids, self.central, layer, MEAN).to(states)
            sums.append(retain(states, before))
        return torch.stack(sums).sum() / (len(sums) * sizes[self.central])

    def _states(self, texts: Sequence[Ids], lang: str) -> Pooled:
        """States of texts at every layer, in the order of `texts`; with gradients."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts: dict[tuple[Layer, str], list[Tensor]] = {}
        for ids in batches([texts[place] for place in order], self.model, _ROOM):
            for key, value in self._forward(ids, lang).items():
                parts.setdefault(key, []).append(value)
        back = torch.tensor(order, device=self.model.device).argsort()
        return {key: torch.cat(values)[back] for key, values in parts.items()}

    def _forward(self, texts: Sequence[Sequence[int]], lang: str) -> Pooled:
        batch = encode_batch(self.model, texts, "right")
        lengths = batch.mask.sum(1)
        entering = gather(self.trunks[lang], texts, self.model.device) if self.top.first else None
        with autocast(self.model, self.precision):
            states = self.top(batch, entering)
        pooled: Pooled = {}
        for layer, value in states.items():
            last = last_token(value, lengths)
            pooled[layer, LAST] = last.to(torch.promote_types(last.dtype, torch.float32))
            if lang == self.central:
                pooled[layer, MEAN] = token_mean(value, lengths)
        return pooled

    def _reference(self, texts: Sequence[Ids], lang: str, layer: Layer, pooling: str) -> Tensor:
        trunk = self.trunks[lang]
        return torch.stack([trunk.reference(ids, layer, pooling) for ids in texts])


_ROOM = 2**62
"""A batch is what the user says; texts are parted for their rotary embeddings alone."""


def padded_tokens(row: Row) -> int:
    """Tokens of a row's texts, all padded to the longest."""
    texts = (row.central, *row.targets.values())
    return len(texts) * max(map(len, texts))


def gather(trunk: FrozenCache, texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """What enters the first trained block for some texts, padded right, batch pos d_model."""
    states = [trunk.entering(tuple(ids)) for ids in texts]
    return torch.nn.utils.rnn.pad_sequence(states, batch_first=True).to(device)
