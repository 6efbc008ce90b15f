"""Only pair 0 -> 0 repairs; see `diagonal`."""

from __future__ import annotations

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant


@register_variant("diagonal")
def diagonal(settings: PlantingSettings) -> Planted:
    """Only the pair 0 -> 0 repairs, in every component.

    Block 0 copies and knows everything, block 1 reads the answer off; the others do nothing.
    """
    world = settings.drawn()
    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (*parts.who(world, 0), parts.language(world, 0), parts.said_in(world, 1)),
        (
            *parts.beliefs(world, lambda _fact, _lang: 0),
            *parts.guesses(world, 0),
            *parts.reading(world, 1),
        ),
        parts.words(world),
    )
    return named("diagonal", world, circuit, settings)
