"""A circuit on named features: what a planted model is to compute, before it is made of weights.

All of it happens at the last token. Heads copy features there from tokens that carry a flag;
units of the feed-forwards multiply and compare features; words are read off at the end. Two
programs that know nothing of each other read a circuit: `planted.weights` writes a model down, and
`planted.logic` says what it must answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from crosslatent.core.errors import UsageError

Feature = tuple[str, ...]
"""The name of a direction of the residual stream, such as ``("lang", "en")``."""

END: Feature = ("flag", "end")
SINK: Feature = ("flag", "sink")
"""Flags of the last token, and of the first one, which every token looks at that copies nothing."""
LAST, FIRST = ":", "<s>"
"""The tokens that carry them."""
SILENT: Feature = ("silent",)
SILENCE, LEAST = "?", 0.3
"""What is answered if no word is written, and how much of a word is a word: half a guess, so that
noise says none."""


class Copied(NamedTuple):
    """A feature of another token that a head writes at the last one, times a strength."""

    read: Feature
    write: Feature
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class CopyHead:
    """A head by which the last token looks at the token with a flag.

    Attributes:
        block: where it is.
        flag: of the token that it looks at.
        copies: what it takes from there.
    """

    block: int
    flag: Feature
    copies: tuple[Copied, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of a feed-forward: an AND of features, times one more feature, written to another.

    Its output is ``strength * silu(K x) / silu(K m) * times``, where x is the sum of `reads` minus
    `threshold`, m is x if all of them are 1, and K is the circuit's sharpness.

    Attributes:
        block: where it is.
        reads: features that are summed; one that is named several times counts as often.
        threshold: what their sum must exceed.
        write: the feature that is written.
        strength: how much of it if all `reads` and `times` are 1.
        times: a feature that multiplies; None = 1.
    """

    block: int
    reads: tuple[Feature, ...]
    threshold: float
    write: Feature
    strength: float = 1.0
    times: Feature | None = None

    @property
    def margin(self) -> float:
        """How far the sum lies above the threshold if all of `reads` are 1."""
        return len(self.reads) - self.threshold


@dataclass(frozen=True)
class Circuit:
    """All that a planted model computes.

    Attributes:
        depth: how many blocks it has.
        tokens: the features of each token but those two of `LAST` and `FIRST`.
        heads: the copying ones.
        units: of the feed-forwards.
        words: the feature of each word that can be answered.
        sharpness: K, of `Unit`.
        loudness: of words that are read off with another weight than 1.
    """

    depth: int
    tokens: dict[str, dict[Feature, float]]
    heads: tuple[CopyHead, ...]
    units: tuple[Unit, ...]
    words: Mapping[str, Feature]
    sharpness: float = 12.0
    loudness: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a circuit that does not fit its blocks, or reads what is never written.

        Raises:
            UsageError: which part it is, and why.
        """
        for block in sorted({part.block for parts in (self.heads, self.units) for part in parts}):
            if not 0 <= block < self.depth:
                raise UsageError(
                    f"A planted part is in block {block}, but the model has {self.depth} blocks: "
                    "give it more, or another place."
                )

    @cached_property
    def superposed(self) -> tuple[Feature, ...]:
        """Features of words, each once, but for those that heads copy."""
        copied = {feature for head in self.heads for one in head.copies for feature in one[:2]}
        return tuple(dict.fromkeys(one for one in self.words.values() if one not in copied))

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Every feature, each once, those of `superposed` last."""
        named: dict[Feature, None] = dict.fromkeys([END, SINK, SILENT])
        for carried in self.tokens.values():
            named.update(dict.fromkeys(carried))
        for head in self.heads:
            copied = [feature for one in head.copies for feature in (one.read, one.write)]
            named.update(dict.fromkeys([head.flag, *copied]))
        for unit in self.units:
            times = () if unit.times is None else (unit.times,)
            named.update(dict.fromkeys([*unit.reads, unit.write, *times]))
        read = set(self.superposed)
        return (*(one for one in named if one not in read), *self.superposed)
