"""Prompts, vectors and rows that tests of the row runners share."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from crosslatent import wrap
from crosslatent.core.specs import OF_EVERY_MODEL, Component, Site
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import Model
from support.models import tiny_model

MAIN = "Mji mkuu wa Kenya ni upi? Jibu:"
AUX = "What is the capital of Kenya? Answer:"


def wrapped(family: str = "llama", seed: int = 0, **overrides: object) -> Model:
    """A tiny model of `family`, wrapped."""
    hf, tokenizer = tiny_model(family, seed, **overrides)
    return wrap(hf, tokenizer)


def ids_of(model: Model, text: str) -> list[int]:
    """Token ids of a text."""
    ids: list[int] = model.tokenizer(text)["input_ids"]
    return ids


def all_rows(
    model: Model, aux: Sequence[int], components: Sequence[Component] = OF_EVERY_MODEL
) -> list[tuple[Intervention, ...]]:
    """The unmodified row, then every (component, source, target) of true transplants."""
    vectors = capture_ids(model, [aux], components)
    layers = range(model.n_layers)
    rows: list[tuple[Intervention, ...]] = [()]
    rows += [
        (Transplant(Site(kind, target), vectors[kind][0, source]),)
        for kind in components
        for source in layers
        for target in layers
    ]
    return rows


def answers(decoded: Sequence[Decoded]) -> list[tuple[int, ...]]:
    """The generated ids of every row."""
    return [answer.ids for answer in decoded]


def assert_equal(fast: Sequence[Decoded], slow: Sequence[Decoded]) -> None:
    """Same tokens, and the same numbers up to the rounding of float32."""
    assert answers(fast) == answers(slow)
    for one, other in zip(fast, slow, strict=True):
        assert one.watched == pytest.approx(other.watched, abs=1e-3)
        assert one.scores == pytest.approx(other.scores, abs=1e-3)
        assert one.min_margin == pytest.approx(other.min_margin, abs=1e-3)
        assert one.first == pytest.approx(other.first, abs=1e-3)
        assert one.finite == other.finite
