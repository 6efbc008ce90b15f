"""Facts in two halves; see `split_fact`."""

from __future__ import annotations

from collections.abc import Callable

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit, Unit
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import CENTRAL, PlantedFact, World

HALF = 7
"""Answers are numbered by two digits of this base."""


@register_variant("split_fact")
def split_fact(settings: PlantingSettings) -> Planted:
    """Each fact in two halves, in two blocks: one feed-forward carries half an answer.

    English has the first halves in block 2 and the second ones in block 4. No single pair of
    feed-forwards repairs; two at once do. Attention, which carries the language of the lookup, and
    whole blocks above both halves still repair alone.
    """
    world = settings.drawn(strength=(0.9, 1.0))
    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (
            *parts.who(world, settings.at(0)),
            parts.language(world, settings.at(1)),
            parts.said_in(world, settings.at(5)),
        ),
        (*_beliefs(world, settings), *_reading(world, settings.at(6))),
        parts.words(world),
    )
    return named("split_fact", world, circuit, settings)


def _beliefs(world: World, settings: PlantingSettings) -> tuple[Unit, ...]:
    def block_of(half: int) -> Callable[[PlantedFact, str], int]:
        return lambda _, lang: settings.at((2, 4)[half] if lang == CENTRAL else 3)

    return tuple(
        unit
        for half in (0, 1)
        for unit in parts.beliefs(
            world,
            block_of(half),
            lambda _, number: _half(number, half),  # noqa: B023
        )
    )


def _half(number: int, half: int) -> tuple[str, ...]:
    return ("half", str(half), str(divmod(number, HALF)[half]))


def _reading(world: World, block: int) -> tuple[Unit, ...]:
    return tuple(
        Unit(
            block,
            (_half(number, 1), *[("out", lang)] * 2),
            2.4,
            ("word", name),
            parts.LOUD.get(lang, 1.0),
            _half(number, 0),
        )
        for number, names in enumerate(world.names)
        for lang, name in names.items()
    )
