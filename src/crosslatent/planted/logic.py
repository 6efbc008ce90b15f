"""What a planted model must answer, computed from its circuit without a weight.

A state is a number for each named feature of the last token. Of the network the program knows one
thing beyond the circuit: RMSNorm divides by the length of the state, which follows from the
features, since their directions are orthonormal (those of words nearly so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslatent.planted.circuit import END, LEAST, SILENCE, SILENT, Circuit, Unit

Floats = NDArray[np.float64]

CONSTANT = 16.0
"""Length of the constant part of every token, on which the scale of RMSNorm rests."""
FEATURES = 4.0
"""Squared length of the features beside it for which the weights are made."""
BALLAST = 16.0
"""Length that modules add before a norm of their own, so that it does not follow the features."""

COMPONENTS = ("attn", "ffn", "block")


@dataclass(frozen=True)
class Edit:
    """An output of some block that is replaced in each of the runs.

    Attributes:
        component: `COMPONENTS`.
        target: block of each run.
        values: what replaces it, shape (runs, features).
    """

    component: str
    target: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class CircuitRun:
    """What came of some runs.

    Attributes:
        words: the answers; `SILENCE` where no word is written.
        outputs: of each component, shape (blocks, runs, features).
    """

    words: list[str]
    outputs: dict[str, Floats]


@dataclass(frozen=True)
class _Layer:
    """The units of one feed-forward as matrices."""

    read: Floats
    threshold: Floats
    times: Floats
    write: Floats


class Logic:
    """A circuit that answers prompts, many at once.

    Args:
        circuit: what is computed.
        norms_after: modules have a norm of their own after them.
    """

    def __init__(self, circuit: Circuit, *, norms_after: bool = False) -> None:
        """Prepare the matrices of all blocks."""
        self._circuit = circuit
        self._norms_after = norms_after
        self._place = {feature: n for n, feature in enumerate(circuit.features)}
        self._layers = {
            block: self._layer(units)
            for block in range(circuit.depth)
            if (units := [unit for unit in circuit.units if unit.block == block])
        }
        read = {SILENCE: SILENT, **circuit.words}
        self._words = list(read)
        self._read = [self._place[feature] for feature in read.values()]
        self._loud = np.array([circuit.loudness.get(word, 1.0) for word in read])

    def run(self, prompts: Sequence[Sequence[str]], edits: Sequence[Edit] = ()) -> CircuitRun:
        """Answer prompts, given as tokens without the first one, that all models add.

        Args:
            prompts: one for each run.
            edits: outputs that are replaced, each in every run.
        """
        state = np.zeros((len(prompts), len(self._place)))
        state[:, self._place[END]] = 1.0
        state[:, self._place[SILENT]] = LEAST
        outputs: dict[str, list[Floats]] = {component: [] for component in COMPONENTS}
        for block in range(self._circuit.depth):
            for component in ("attn", "ffn"):
                read = self._attention if component == "attn" else self._feed_forward
                found = _edited(read(block, state, prompts), edits, component, block)
                outputs[component].append(found)
                state = state + self._normed(found)
            state = _edited(state, edits, "block", block)
            outputs["block"].append(state)
        words = [self._words[place] for place in (state[:, self._read] * self._loud).argmax(1)]
        return CircuitRun(words, {name: np.stack(found) for name, found in outputs.items()})

    def _attention(self, block: int, state: Floats, prompts: Sequence[Sequence[str]]) -> Floats:
        found = np.zeros_like(state)
        for head in self._circuit.heads:
            if head.block != block:
                continue
            for row, prompt in enumerate(prompts):
                carried = next(
                    (
                        features
                        for token in prompt
                        if head.flag in (features := self._circuit.tokens.get(token, {}))
                    ),
                    {},
                )
                scale = _scale(sum(value**2 for value in carried.values()), 0)
                for one in head.copies:
                    value = carried.get(one.read, 0.0) * scale
                    found[row, self._place[one.write]] += one.strength * value
        return found

    def _feed_forward(self, block: int, state: Floats, _: Sequence[Sequence[str]]) -> Floats:
        layer = self._layers.get(block)
        if layer is None:
            return np.zeros_like(state)
        scale = _scale((state**2).sum(1, keepdims=True), BALLAST**2 if self._norms_after else 0)
        x = self._circuit.sharpness * scale * (state @ layer.read - layer.threshold)
        times = scale * (state @ layer.times[:-1] + layer.times[-1])
        return np.asarray(_silu(x) * times @ layer.write)

    def _normed(self, output: Floats) -> Floats:
        """A module's output as it is added to the state."""
        if not self._norms_after:
            return output
        size = (output**2).sum(1, keepdims=True)
        return np.asarray(output * np.sqrt(BALLAST**2 / (BALLAST**2 + size)))

    def _layer(self, units: Sequence[Unit]) -> _Layer:
        size = len(self._place)
        read, write = np.zeros((size, len(units))), np.zeros((len(units), size))
        times = np.zeros((size + 1, len(units)))
        for n, unit in enumerate(units):
            for feature in unit.reads:
                read[self._place[feature], n] += 1.0
            times[size if unit.times is None else self._place[unit.times], n] = 1.0
            full = _silu(np.array(self._circuit.sharpness * unit.margin))
            write[n, self._place[unit.write]] = unit.strength / full
        return _Layer(read, np.array([unit.threshold for unit in units]), times, write)


def _edited(values: Floats, edits: Sequence[Edit], component: str, block: int) -> Floats:
    for edit in edits:
        if edit.component == component:
            values = np.where((edit.target == block)[:, None], edit.values, values)
    return values


def _scale(size: Floats | float, ballast: float) -> Floats:
    """What RMSNorm leaves of a feature, beside what the weights are made for.

    Args:
        size: squared length of the features.
        ballast: squared length of what is there beside features and constant.
    """
    fixed = CONSTANT**2 + ballast
    return np.asarray(np.sqrt((fixed + FEATURES) / (fixed + size)))


def _silu(x: Floats) -> Floats:
    return np.asarray(x / (1 + np.exp(-np.clip(x, -60, 60))))
