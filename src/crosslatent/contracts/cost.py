"""The estimated cost of running the contracts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from crosslatent.contracts.answers import COMPARED
from crosslatent.contracts.subject import Subject
from crosslatent.core.specs import COMPONENTS
from crosslatent.engine.decoding import prefill
from crosslatent.model import encode_batch

_OPTIONS = 3
"""Continuations that `answers.fast_equals_oracle` scores for every row, a forward each."""
_TRIAL = 140
"""Forwards in which the engine tries its paths on a model that has not been tried yet."""
_PAIRS = 3
"""Pairs of layers that `answers.generate_equals_decoding` compares for each component."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What running the contracts takes at most, if no answer ends early and nothing is broken.

    Attributes:
        forwards: passes through the model, each over one prompt or one new token; those of a
            batch are counted by its rows.
        tokens: of the longest prompt.
        seconds: what one pass over a prompt took just now.
    """

    forwards: int
    tokens: int
    seconds: float

    @property
    def total(self) -> float:
        """Estimated seconds of all forwards; an upper estimate, since most read a single token."""
        return self.forwards * self.seconds


def cost(subject: Subject) -> Cost:
    """Estimate what the contracts take on a subject; runs two forwards."""
    seconds = min(_forward(subject) for _ in range(2))
    longest = max(map(len, subject.prompts))
    return Cost(sum(forwards(subject).values()), longest, seconds)


def forwards(subject: Subject) -> Mapping[str, int]:
    """How many forwards each contract makes at most; a batch counts as the rows in it."""
    layers, new, prompts = len(subject.layers), subject.new_tokens, len(subject.prompts)
    every, compared = len(subject.kinds(COMPONENTS)), len(subject.kinds(COMPARED))
    rows = 1 + compared * layers**2
    some = -(-rows // (2 * layers - 1))
    return {
        "self-transplant": 1 + (1 + every * layers) * new + layers,
        "fast-equals-oracle": _TRIAL + 1 + rows * (2 * new + _OPTIONS + 1),
        "padding": 2 * (prompts * (every + 3) + 1),
        "batch-size": 1 + prompts * (1 + some * (2 * new + 1)),
        "hooks-removed": 40,
        "generate": 1 + every * (new + 1) * (1 + 2 * _PAIRS),
        "independent-capture": 3 + prompts + 6 * new,
    }


def _forward(subject: Subject) -> float:
    started = time.monotonic()
    logits = prefill(subject.model, encode_batch(subject.model, [subject.main])).logits
    logits.flatten()[0].item()  # waits for an accelerator
    return time.monotonic() - started
